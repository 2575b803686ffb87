from __future__ import annotations

import math

import pytest
import torch

from ganlib.core.sampling import sample_latents, spherical


@pytest.mark.parametrize("truncation", [None, 0.5])
@pytest.mark.parametrize(("start", "count"), [(0, 1), (0, 64), (63, 2), (64, 5), (100, 200), (7, 1)])
def test_a_latent_depends_only_on_seed_and_number(start: int, count: int, truncation: float | None) -> None:
    all_of_them = sample_latents(3, 0, 300, 10, truncation)
    assert torch.equal(sample_latents(3, start, count, 10, truncation), all_of_them[start : start + count])
    assert not torch.equal(
        sample_latents(4, start, count, 10, truncation), all_of_them[start : start + count]
    )


def test_latents_are_normal_and_independent() -> None:
    drawn = sample_latents(0, 0, 5000, 8)
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    assert len(drawn.unique(dim=0)) == len(drawn)
    assert float((torch.corrcoef(drawn.T) - torch.eye(8)).abs().max()) < 0.07


@pytest.mark.parametrize("threshold", [0.04, 0.5, 2.0])
def test_truncated_latents_have_the_truncated_normal_distribution(threshold: float) -> None:
    plain, drawn = (sample_latents(0, 0, 5000, 8, t) for t in (None, threshold))
    inside = plain.abs() <= threshold
    assert torch.equal(drawn[inside], plain[inside])
    assert float(drawn.abs().max()) <= threshold
    # The truncated normal distribution has the variance 1 − 2tφ(t) / (2Φ(t) − 1).
    density = math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * threshold * density / math.erf(threshold / math.sqrt(2))
    assert float(drawn.var()) == pytest.approx(variance, rel=0.03)
    assert float(drawn[~inside].var()) == pytest.approx(variance, rel=0.1)
    assert abs(float(drawn.mean())) < 0.02


def test_interpolation_passes_through_the_given_latents_and_keeps_their_length() -> None:
    ends = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    way = spherical(ends, 7)
    assert way.shape == (22, 100)
    assert torch.equal(way[::7], ends)
    norms = way.norm(dim=1)
    assert float(norms.min()) > 0.9 * float(ends.norm(dim=1).min())
    # Three steps of equal angle make a quarter of a circle.
    quarter = spherical(torch.eye(2), 3)
    angles = torch.atan2(quarter[:, 1], quarter[:, 0])
    torch.testing.assert_close(angles, torch.tensor([0, 1, 2, 3]) * math.pi / 6)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_interpolation_between_parallel_latents_is_a_straight_line(steps: int) -> None:
    a = torch.tensor([1.0, 2.0])
    same = spherical(torch.stack([a, a]), steps)
    torch.testing.assert_close(same, a.expand(steps + 1, 2))
    for other in (3 * a, -a):
        way = spherical(torch.stack([a, other]), steps)
        assert bool(way.isfinite().all())
        torch.testing.assert_close(way[-1], other)
