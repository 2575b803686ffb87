"""Distances between sets of features, against torch-fidelity's and against brute force."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import share_of
from ganlib.errors import DataError
from ganlib.quality import measure as module
from ganlib.quality.efficientnet import EfficientNetLite0
from ganlib.quality.kernel import gram
from ganlib.quality.measure import Reference, Within, within

pytestmark = pytest.mark.filterwarnings("ignore::ganlib.quality.distances.TooFewSamples")


measure = partial(module.measure, metric="fd_test")


def features(seed: int, count: int, dimensions: int, shift: float = 0.0) -> torch.Tensor:
    """As a network's: not negative, many of them 0, correlated."""
    mixing = torch.randn(dimensions, dimensions, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed))
    return (noise @ mixing / math.sqrt(dimensions) + 0.3 + shift).relu().float()


def theirs(fake: torch.Tensor, real: torch.Tensor) -> tuple[float, float, float, float]:
    """Fréchet distance, kernel distance, precision, recall as torch-fidelity has them, in float64."""
    fake, real = fake.double(), real.double()
    size = min(len(fake), len(real))
    a, b = fid_features_to_statistics(fake), fid_features_to_statistics(real)
    frechet = fid_statistics_to_metric(a, b, verbose=False)["frechet_inception_distance"]
    kernel = kid_features_to_metric(fake, real, kid_subsets=1, kid_subset_size=size, verbose=False)
    both = prc_features_to_metric(fake, real, verbose=False)
    kernel_distance = kernel["kernel_inception_distance_mean"]
    return frechet, kernel_distance, both["precision"], both["recall"]


@pytest.mark.parametrize(
    ("count", "dimensions", "shift"),
    [(400, 16, 0.05), (300, 64, 0.02), (60, 128, 0.1), (150, 128, 0.0)],
    ids=["many samples", "more", "fewer samples than dimensions", "the same distribution"],
)
def test_all_agree_with_torch_fidelity(count: int, dimensions: int, shift: float) -> None:
    fake, real = features(1, count, dimensions, shift), features(2, count, dimensions)
    found = measure(fake, Reference.from_features(real))
    frechet, kernel_distance, precision, recall = theirs(fake, real)
    assert found.value == pytest.approx(frechet, rel=1e-4)
    assert found.kernel_distance == pytest.approx(kernel_distance, rel=1e-4)
    assert found.precision == pytest.approx(precision, rel=1e-4)
    assert found.recall == pytest.approx(recall, rel=1e-4)
    assert 0 < found.precision < 1 or shift == 0


@pytest.mark.slow
def test_real_features_agree_with_torch_fidelity(lite0: EfficientNetLite0, digits: torch.Tensor) -> None:
    """Handwritten digits against the same ones with noise."""
    real, other = lite0(digits[:80]), digits[80:160].int()
    noise = torch.randint(-60, 61, other.shape, generator=torch.Generator().manual_seed(0))
    fake = lite0((other + noise).clamp(0, 255).to(torch.uint8))
    found = measure(fake, Reference.from_features(real))
    frechet, kernel_distance, precision, recall = theirs(fake, real)
    assert found.value == pytest.approx(frechet, rel=1e-4)
    assert found.kernel_distance == pytest.approx(kernel_distance, rel=1e-4)
    assert (found.precision, found.recall) == (pytest.approx(precision), pytest.approx(recall))


def test_precision_and_recall_of_unequal_numbers_agree_with_torch_fidelity() -> None:
    fake, real = features(1, 120, 8, 0.3), features(2, 350, 8)
    found = measure(fake, Reference.from_features(real))
    expected = prc_features_to_metric(fake.double(), real.double(), verbose=False)
    assert (found.precision, found.recall) == (
        pytest.approx(expected["precision"]),
        pytest.approx(expected["recall"]),
    )
    assert 0 < found.recall < 1


def test_the_kernel_distance_of_unequal_numbers_is_the_mean_over_all_pairs() -> None:
    fake, real = features(1, 30, 5, 0.1), features(2, 47, 5)
    x, y = fake.double().numpy(), real.double().numpy()

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        result: np.ndarray = (a @ b.T / 5 + 1) ** 3
        return result

    def apart(k: np.ndarray) -> float:
        return float(k[~np.eye(len(k), dtype=bool)].mean())

    expected = apart(kernel(x, x)) + apart(kernel(y, y)) - 2 * kernel(x, y).mean()
    assert measure(fake, Reference.from_features(real)).kernel_distance == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gram(fake, real).numpy(), kernel(x, y), rtol=1e-12)


def test_the_standard_error_is_the_jackknife_s_by_leaving_each_one_out() -> None:
    fake, real = features(1, 12, 4, 0.4), features(2, 9, 4)

    def value(x: torch.Tensor, y: torch.Tensor) -> float:
        return measure(x, Reference.from_features(y)).kernel_distance

    def without(values: torch.Tensor, index: int) -> torch.Tensor:
        return torch.cat([values[:index], values[index + 1 :]])

    left_x = np.array([value(without(fake, i), real) for i in range(12)])
    left_y = np.array([value(fake, without(real, j)) for j in range(9)])
    variance = sum((len(v) - 1) / len(v) * ((v - v.mean()) ** 2).sum() for v in (left_x, left_y))
    found = measure(fake, Reference.from_features(real)).kernel_distance_error
    assert found == pytest.approx(math.sqrt(variance), rel=1e-9)


def test_the_standard_error_is_the_spread_over_samples() -> None:
    found = [
        measure(features(2 * i, 80, 6, 0.6), Reference.from_features(features(2 * i + 1, 80, 6)))
        for i in range(100)
    ]
    spread = np.std([one.kernel_distance for one in found], ddof=1)
    assert np.mean([one.kernel_distance_error for one in found]) == pytest.approx(spread, rel=0.2)


def test_samples_of_one_distribution_have_a_kernel_distance_around_nothing() -> None:
    found = [
        measure(features(2 * i, 100, 6), Reference.from_features(features(2 * i + 1, 100, 6)))
        for i in range(40)
    ]
    values = np.array([one.kernel_distance for one in found])
    assert values.min() < 0 < values.max()
    assert abs(values.mean()) < 3 * values.std() / math.sqrt(len(values))
    assert np.mean(np.abs(values) < 2 * np.array([one.kernel_distance_error for one in found])) > 0.9


def test_what_lies_elsewhere_has_no_precision_and_one_picture_has_no_recall() -> None:
    real = Reference.from_features(features(2, 200, 8))
    far = measure(features(1, 100, 8) + 50, real)
    assert (far.precision, far.recall) == (0, 0)
    real_one = features(2, 200, 8)[:1].repeat(100, 1)
    collapsed = measure(real_one + 1e-4 * torch.randn(100, 8), real)
    assert collapsed.precision == 1
    assert collapsed.recall < 0.05


def test_blocks_and_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, real = features(1, 50, 7, 0.1), features(2, 61, 7)
    whole = measure(fake, Reference.from_features(real))
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 61 * 4)
    parts = [within(real, share_of(61, WorkerPlace(rank, 3))) for rank in range(3)]
    joined = Within(
        torch.cat([part.radii for part in parts]), torch.cat([part.kernel_sums for part in parts])
    )
    reference = Reference.from_features(real)
    torch.testing.assert_close(joined.radii, reference.within.radii, rtol=1e-12, atol=0)
    torch.testing.assert_close(joined.kernel_sums, reference.within.kernel_sums, rtol=1e-12, atol=0)
    again = measure(fake, reference)
    assert (again.metric, again.samples) == ("fd_test", 50)
    numbers = whole.model_dump(exclude={"metric"})
    assert again.model_dump(exclude={"metric"}) == pytest.approx(numbers, rel=1e-10)


def test_the_reference_keeps_the_first_features_and_the_statistics_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = features(2, 90, 4)
    monkeypatch.setattr(module, "REFERENCE_FEATURES", 50)
    reference = Reference.from_features(real)
    assert reference.statistics.count == 90
    assert torch.equal(reference.features, real[:50])
    assert len(reference.within.radii) == 50


def test_few_real_pictures_have_no_precision() -> None:
    found = measure(features(1, 20, 4), Reference.from_features(features(2, 3, 4)))
    assert math.isnan(found.precision)
    assert math.isfinite(found.recall)
    assert math.isfinite(found.kernel_distance)
    with pytest.raises(DataError, match="at least 3"):
        measure(features(1, 20, 4), Reference.from_features(features(2, 2, 4)))
