from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ganlib.core.dense import DenseGenerator
from ganlib.core.networks import Generator
from ganlib.registry.inference import for_inference, joined, one_input

LATENT = 7


def trained(network: nn.Module, classes: int = 0) -> nn.Module:
    """With batch-norm statistics that are not those of a fresh network."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 0.5, 0.2)
        network.train()
        network(torch.randn(64, LATENT), *given(64, classes))
    return network.eval()


def given(count: int, classes: int) -> tuple[torch.Tensor, ...]:
    return (torch.arange(count) % classes,) if classes else ()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    "what",
    [
        {"size": 32, "channels": 3},
        {"size": 28, "channels": 1},
        {"size": 28, "channels": 3, "extra_layers": 1},
        {"size": 28, "channels": 1, "classes": 3},
        {"size": 28, "channels": 1, "norm": "group"},
        {"size": 28, "channels": 1, "norm": "none"},
    ],
)
def test_folding_batch_norm_changes_no_picture(what: dict[str, Any]) -> None:
    classes = what.get("classes", 0)
    network = trained(Generator(latent_dim=LATENT, width=4, **what), classes)
    inputs = (torch.randn(9, LATENT, generator=torch.Generator().manual_seed(0)), *given(9, classes))
    before, ready = norms(network), for_inference(network)
    with torch.no_grad():
        expected, made = network(*inputs), ready(*inputs)
    assert norms(ready) == 0
    assert norms(network) == before  # the one that trains on is another
    assert float(expected.std()) > 0.1
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    assert not made.requires_grad
    assert not any(parameter.requires_grad for parameter in ready.parameters())


def test_what_has_no_batch_norm_stays_as_it_is() -> None:
    network = DenseGenerator(size=8, channels=1, latent_dim=LATENT, widths=(16,)).eval()
    noise = torch.randn(3, LATENT)
    torch.testing.assert_close(for_inference(network)(noise), network(noise), rtol=0, atol=0)


class Twice(nn.Module):
    """Uses one convolution with and without batch norm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(LATENT, LATENT, 1)
        self.normalized = nn.Sequential(self.convolution, nn.BatchNorm2d(LATENT))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        once: torch.Tensor = self.normalized(latents[:, :, None, None])
        return self.convolution(once)


def test_a_layer_that_is_used_elsewhere_too_is_not_touched() -> None:
    network = trained(Twice())
    noise = torch.randn(3, LATENT)
    torch.testing.assert_close(for_inference(network)(noise), network(noise), rtol=0, atol=0)


def test_a_conditional_generator_takes_its_label_as_a_last_number() -> None:
    network = trained(Generator(size=28, channels=1, latent_dim=LATENT, width=4, classes=300), 300)
    latents, labels = torch.randn(4, LATENT), torch.tensor([0, 299, 17, 256])
    single, example = one_input(network, (latents, labels))
    assert example.shape == (4, LATENT + 1)
    torch.testing.assert_close(single(example), network(latents, labels), rtol=0, atol=0)
    with pytest.raises(IndexError):
        single(joined(latents, torch.full((4,), 300)))


def test_an_unconditional_one_takes_latents_alone() -> None:
    network = trained(Generator(size=28, channels=1, latent_dim=LATENT, width=4))
    latents = torch.randn(4, LATENT)
    single, example = one_input(network, (latents,))
    assert single is network
    assert example is latents
