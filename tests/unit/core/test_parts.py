from __future__ import annotations

import pytest
import torch

from ganlib.core.average import Averaging, update_average
from ganlib.core.cadence import Cadence
from ganlib.core.networks import GEOMETRY, Critic, Generator
from ganlib.core.precision import resolve_precision
from ganlib.core.sampling import calibrate_batch_norm, generate, latents
from ganlib.core.steps import Place, to_float


@pytest.mark.parametrize("size", sorted(GEOMETRY))
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_fit_each_other_at_every_size(size: int, channels: int) -> None:
    generator = Generator(size=size, channels=channels, latent_dim=5, width=4)
    pictures = generator(torch.randn(3, 5))
    assert pictures.shape == (3, channels, size, size)
    assert float(pictures.detach().abs().max()) <= 1
    assert Critic(size=size, channels=channels, width=4)(pictures).shape == (3,)


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_weights_begin_as_in_dcgan(norm: str) -> None:
    torch.manual_seed(0)
    critic = Critic(size=64, channels=3, width=32, norm=norm)
    convolution = critic.layers[2].weight
    assert float(convolution.detach().std()) == pytest.approx(0.02, rel=0.05)
    scales = [m.weight for m in critic.modules() if isinstance(m, (torch.nn.BatchNorm2d, torch.nn.GroupNorm))]
    assert len(scales) == (0 if norm == "none" else 3)
    for scale in scales:
        assert float(scale.detach().mean()) == pytest.approx(1, abs=0.02)


def test_the_cadence_of_the_reference() -> None:
    cadence = Cadence(5, bursts=True)
    assert [cadence.critic_steps(step) for step in (0, 24, 25, 499, 500, 501, 1000)] == [
        100, 100, 5, 5, 100, 5, 100,
    ]  # fmt: skip
    assert {Cadence(7).critic_steps(step) for step in (0, 24, 500)} == {7}


def test_latents_depend_on_seed_stream_and_step_only() -> None:
    first = latents(1, "critic", 7, 4, 3)
    assert torch.equal(first, latents(1, "critic", 7, 4, 3))
    for other in (
        latents(2, "critic", 7, 4, 3),
        latents(1, "generator", 7, 4, 3),
        latents(1, "critic", 8, 4, 3),
    ):
        assert not torch.equal(first, other)


def test_workers_share_a_batch_without_overlap() -> None:
    batch = torch.arange(12)
    shares = [Place(rank, 3).share(batch) for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch)


def test_bytes_span_minus_one_to_one() -> None:
    pictures = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert to_float(pictures, torch.device("cpu")).flatten().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("seen", "since", "expected"),
    [(1_000, 50, 0.5), (10_000_000, 10_000, 0.5), (0, 64, 0.0)],
)
def test_the_averages_half_life_warms_up(seen: int, since: int, expected: float) -> None:
    assert Averaging(10_000, warmup=0.05).decay(seen, since) == pytest.approx(expected)


def test_the_average_moves_by_the_decay() -> None:
    old, new = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.75 * old.weight.detach() + 0.25 * new.weight.detach()
    update_average(old, new, 0.75)
    torch.testing.assert_close(old.weight.detach(), expected)


def test_calibration_measures_the_statistics_of_the_weights_at_hand() -> None:
    torch.manual_seed(0)
    generator = Generator(size=28, channels=1, latent_dim=8, width=4)
    norm = next(m for m in generator.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_mean.fill_(9)  # type: ignore[union-attr]
    calibrate_batch_norm(generator, seed=0)
    noise = torch.cat([latents(0, "calibrate", step, 256, 8) for step in range(16)])
    expected = generator.layers[0](noise[:, :, None, None]).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected.detach(), atol=1e-5, rtol=1e-4)
    assert norm.momentum == pytest.approx(0.1)


def test_generating_leaves_the_mode_alone_and_does_not_depend_on_the_batch() -> None:
    generator = Generator(size=28, channels=1, latent_dim=8, width=4)
    noise = torch.randn(10, 8)
    torch.testing.assert_close(generate(generator, noise, batch=3), generate(generator, noise))
    assert generator.training


def test_auto_precision_asks_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert resolve_precision("auto", cpu) == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    assert resolve_precision("auto", cpu) == "fp32"
    assert resolve_precision("bf16", cpu) == "bf16"
