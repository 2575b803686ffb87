"""The first and last convolutions give the results of the torch layers that they derive from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ganlib.core.convolutions import FromLatent, FromPicture, ToPicture, ToScore


def plain_convolution(layer: nn.Conv2d | nn.ConvTranspose2d, given: Tensor) -> Tensor:
    call = functional.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else functional.conv2d
    result: Tensor = call(given, layer.weight, layer.bias, layer.stride, layer.padding)
    return result


LAYERS: dict[str, tuple[Callable[[], nn.Conv2d | nn.ConvTranspose2d], tuple[int, ...]]] = {
    "from a latent": (lambda: FromLatent(9, 6, 5, bias=False), (3, 9, 1, 1)),
    "from a latent, with bias": (lambda: FromLatent(9, 6, 5, bias=True), (3, 9, 1, 1)),
    "to a score": (lambda: ToScore(6, 5), (3, 6, 5, 5)),
    "from a grey picture": (lambda: FromPicture(1, 6), (3, 1, 10, 14)),
    "from a colour picture": (lambda: FromPicture(3, 6), (3, 3, 10, 14)),
    "to a grey picture": (lambda: ToPicture(6, 1), (3, 6, 5, 7)),
    "to a colour picture": (lambda: ToPicture(6, 3), (3, 6, 5, 7)),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_results_and_gradients_equal_torchs_convolution(kind: str, layout: torch.memory_format) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = make().double().to(memory_format=layout)  # type: ignore[call-overload]
    given = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    result, expected = layer(given), plain_convolution(layer, given)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(expected)
    inputs = [given, *layer.parameters()]
    for one, other in zip(
        torch.autograd.grad(result, inputs, towards),
        torch.autograd.grad(expected, inputs, towards),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["from a grey picture", "to a score"])
def test_second_derivatives_are_right_for_the_gradient_penalty(kind: str) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer = make().double()
    given = torch.randn((1, *shape[1:]), dtype=torch.float64, requires_grad=True)

    def smooth(pictures: Tensor) -> Tensor:
        return torch.tanh(layer(pictures)).sum()

    assert torch.autograd.gradgradcheck(smooth, given)


@pytest.mark.parametrize("kind", sorted(LAYERS))
def test_bfloat16_gives_the_convolution_up_to_rounding(kind: str) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer, given = make(), torch.randn(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = layer(given)
    torch.testing.assert_close(result.float(), plain_convolution(layer, given), rtol=0.05, atol=0.05)
    result.float().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_parameters_have_the_names_and_shapes_of_torchs_layer() -> None:
    plain = nn.ConvTranspose2d(6, 1, 4, 2, 1)
    assert {name: p.shape for name, p in ToPicture(6, 1).named_parameters()} == {
        name: p.shape for name, p in plain.named_parameters()
    }
