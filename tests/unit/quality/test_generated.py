from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ganlib.errors import TrainingError
from ganlib.quality.distances import Statistics, TooFewSamples, frechet_distance
from ganlib.quality.efficientnet import EfficientNetLite0
from ganlib.quality.generated import generate_features, to_uint8


def _generator() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.ConvTranspose2d(8, 16, 4),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, 2, 1),
        nn.Tanh(),
    ).eval()


def _latents(count: int) -> torch.Tensor:
    return torch.randn(count, 8, 1, 1, generator=torch.Generator().manual_seed(1))


def test_quantization_is_exact_at_every_level_and_clamped() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(levels.float() / 127.5 - 1), levels)
    assert to_uint8(torch.tensor([-1.0, 1.0, -7.0, 7.0, 0.3 / 127.5 - 1])).tolist() == [0, 255, 0, 255, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_are_refused(lite0: EfficientNetLite0, bad: float) -> None:
    def broken(latents: torch.Tensor) -> torch.Tensor:
        return torch.full((len(latents), 1, 8, 8), bad)

    with pytest.raises(TrainingError, match="not finite"):
        generate_features(broken, lite0, _latents(2))


def test_features_are_those_of_the_quantized_pictures(lite0: EfficientNetLite0) -> None:
    generator, latents = _generator(), _latents(11)
    with torch.inference_mode():
        expected = lite0(to_uint8(generator(latents)))
    result = generate_features(generator, lite0, latents, batch=4)
    assert result.shape == (11, 1280)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
    assert not any(parameter.grad is not None for parameter in generator.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ganlib.quality.distances.TooFewSamples")
def test_real_pictures_are_near_to_each_other_and_far_from_noise(
    lite0: EfficientNetLite0, digits: torch.Tensor
) -> None:
    reference = Statistics.from_features(lite0(digits[0:300:2]))
    real = frechet_distance(Statistics.from_features(lite0(digits[1:300:2])), reference)

    def noise(latents: torch.Tensor) -> torch.Tensor:
        return latents.reshape(-1, 1, 8, 8).clamp(-1, 1)

    latents = torch.randn(80, 64, generator=torch.Generator().manual_seed(2))
    far = frechet_distance(Statistics.from_features(generate_features(noise, lite0, latents)), reference)
    assert 0 < real < far / 5


def test_a_distance_from_few_samples_says_so(lite0: EfficientNetLite0, digits: torch.Tensor) -> None:
    reference = Statistics(np.zeros(1280), np.eye(1280), 5000)
    with pytest.warns(TooFewSamples, match="4 samples for 1280"):
        frechet_distance(
            Statistics.from_features(generate_features(_generator(), lite0, _latents(4))), reference
        )
