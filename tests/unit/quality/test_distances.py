from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.linalg
import torch

from ganlib.errors import DataError
from ganlib.quality.distances import Statistics, TooFewSamples, frechet_distance


def _features(seed: int, count: int, dimensions: int, scale: float = 1.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((dimensions, dimensions)) / np.sqrt(dimensions)
    mean = generator.standard_normal(dimensions)
    features: np.ndarray = scale * generator.standard_normal((count, dimensions)) @ mixing + mean
    return features


def _by_sqrtm(a: Statistics, b: Statistics) -> float:
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    shift = a.mean - b.mean
    return float(shift @ shift + np.trace(a.covariance + b.covariance - 2 * np.real(root)))


def test_statistics_are_numpy_s_mean_and_covariance() -> None:
    features = _features(0, 50, 7)
    statistics = Statistics.from_features(features)
    np.testing.assert_allclose(statistics.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance, np.cov(features.T), rtol=1e-10, atol=1e-14)
    assert (statistics.count, statistics.dimensions) == (50, 7)


def test_float32_tensors_are_summed_in_float64() -> None:
    features = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) + 1000
    statistics = Statistics.from_features(features)
    np.testing.assert_allclose(
        statistics.covariance, np.cov(features.double().numpy().T), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("dimensions", [3, 64, 200])
def test_it_agrees_with_the_matrix_square_root(dimensions: int) -> None:
    a = Statistics.from_features(_features(3, 4 * dimensions, dimensions))
    b = Statistics.from_features(_features(4, 5 * dimensions, dimensions, scale=2.0))
    assert frechet_distance(a, b) == pytest.approx(_by_sqrtm(a, b), rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_closed_form_of_gaussians_with_commuting_covariances() -> None:
    generator = np.random.default_rng(5)
    basis = np.linalg.qr(generator.standard_normal((40, 40)))[0]
    variances_a, variances_b = generator.uniform(0, 3, 40), generator.uniform(0, 3, 40)
    variances_a[:10] = 0  # singular, as the covariance of features that are always zero
    mean_a, mean_b = generator.standard_normal(40), generator.standard_normal(40)
    a = Statistics(mean_a, basis * variances_a @ basis.T, 1000)
    b = Statistics(mean_b, basis * variances_b @ basis.T, 1000)
    expected = ((mean_a - mean_b) ** 2).sum() + ((np.sqrt(variances_a) - np.sqrt(variances_b)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-6)


def test_closed_form_in_one_dimension() -> None:
    a = Statistics(np.array([1.0]), np.array([[4.0]]), 10)
    b = Statistics(np.array([-2.0]), np.array([[0.25]]), 10)
    assert frechet_distance(a, b) == pytest.approx(9 + (2 - 0.5) ** 2, rel=1e-12)


def test_identical_statistics_have_distance_zero() -> None:
    features = _features(6, 80, 30)
    a, b = Statistics.from_features(features), Statistics.from_features(features.copy())
    assert frechet_distance(a, b) == 0.0
    shuffled = Statistics.from_features(features[::-1])
    assert 0 <= frechet_distance(a, shuffled) < 1e-9


def test_constant_features_differ_by_their_means_alone() -> None:
    a = Statistics.from_features(np.full((5, 2), 1.0))
    b = Statistics.from_features(np.full((5, 2), 3.0))
    assert frechet_distance(a, b) == 8.0


def test_too_few_samples_are_told_of_and_still_give_the_exact_value() -> None:
    few, many = (
        Statistics.from_features(_features(7, 20, 50)),
        Statistics.from_features(_features(8, 400, 50)),
    )
    with pytest.warns(TooFewSamples, match="20 samples for 50 features"):
        distance = frechet_distance(few, many)
    # Of a rank-deficient product the singular values say the same by another way.
    product = few.factor.T @ many.factor
    root_trace = np.linalg.svd(product, compute_uv=False).sum()
    shift = few.mean - many.mean
    expected = shift @ shift + np.trace(few.covariance) + np.trace(many.covariance) - 2 * root_trace
    assert distance == pytest.approx(expected, rel=1e-6)
    assert few.factor.shape == (50, 19)


def test_enough_samples_give_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(*(Statistics.from_features(_features(seed, 10, 10)) for seed in (0, 1)))


def test_features_that_are_not_finite_are_refused() -> None:
    features = _features(9, 10, 3)
    features[4, 1] = np.nan
    features[7] = np.inf
    with pytest.raises(DataError, match="2 of 10"):
        Statistics.from_features(features)


def test_one_sample_has_no_distance() -> None:
    one, many = Statistics.from_features(_features(0, 1, 3)), Statistics.from_features(_features(0, 9, 3))
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(one, many)


def test_dimensions_must_agree() -> None:
    a, b = Statistics.from_features(_features(0, 9, 3)), Statistics.from_features(_features(0, 9, 4))
    with pytest.raises(ValueError, match="3 and 4"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match="expected"):
        Statistics(np.zeros(3), np.zeros((3, 4)), 5)
    with pytest.raises(ValueError, match="n >= 1"):
        Statistics.from_features(np.zeros((0, 3)))
