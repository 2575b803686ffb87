"""The Fréchet distance between two sets of features, and the statistics it needs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ganlib.errors import DataError

Array = npt.NDArray[np.float64]


class TooFewSamples(UserWarning):
    """A covariance rests on fewer samples than it has dimensions, so the distance is biased upwards.

    Such a distance may be compared with others of the same sample count, and with nothing else.
    """


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and covariance of features, in float64."""

    mean: Array
    """float64 [d]."""
    covariance: Array
    """float64 [d, d], symmetric, divided by ``count − 1``; zero for one sample."""
    count: int
    """Samples it was made from, at least 1."""

    def __post_init__(self) -> None:
        shapes = (self.mean.shape, self.covariance.shape)
        if self.mean.ndim != 1 or self.covariance.shape != self.mean.shape * 2 or self.count < 1:
            raise ValueError(f"mean [d], covariance [d, d], count >= 1 expected, got {shapes}, {self.count}")
        if self.mean.dtype != np.float64 or self.covariance.dtype != np.float64:
            raise ValueError(f"float64 expected, got {self.mean.dtype} and {self.covariance.dtype}")

    @property
    def dimensions(self) -> int:
        """Dimensions d of the features."""
        return int(self.mean.shape[0])

    @classmethod
    def from_features(cls, features: Tensor | npt.NDArray[np.floating]) -> Statistics:
        """Statistics of features [n, d] of any floating type, computed in float64.

        Raises:
            DataError: A feature is not finite.
        """
        if isinstance(features, Tensor):
            features = features.detach().cpu().double().numpy()
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or len(values) == 0:
            raise ValueError(f"features [n, d] with n >= 1 expected, got shape {values.shape}")
        count = len(values)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise DataError(
                f"{count - int(finite.sum())} of {count} feature vectors are not finite; no distance can be "
                "computed from them. Look at the pictures they come from"
            )
        mean = values.mean(axis=0)
        centred = values - mean
        return cls(mean, centred.T @ centred / max(count - 1, 1), count)

    @classmethod
    def restored(cls, mean: Array, covariance: Array, count: int, factor: Array) -> Statistics:
        """Statistics with the :attr:`factor` that was computed of them before.

        Raises:
            ValueError: The shapes do not go together.
        """
        statistics = cls(mean, covariance, count)
        if factor.ndim != 2 or len(factor) != statistics.dimensions or factor.dtype != np.float64:
            raise ValueError(f"factor float64 [{statistics.dimensions}, r] expected, got {factor.shape}")
        # Where cached_property keeps what it has computed.
        vars(statistics)["factor"] = factor
        return statistics

    @cached_property
    def factor(self) -> Array:
        """F, float64 [d, r], with F Fᵀ = covariance, where r is the covariance's numerical rank.

        Kept once computed: a reference that many samples are compared with is decomposed once.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        # Below this an eigenvalue is rounding error of the largest one, as in a matrix rank test.
        kept = values > max(values[-1], 0.0) * self.dimensions * np.finfo(np.float64).eps
        factor: Array = vectors[:, kept] * np.sqrt(values[kept])
        return factor


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Squared Fréchet distance between the Gaussians with these means and covariances.

    ``|μa − μb|² + tr(Σa + Σb − 2 (Σa Σb)^½)``: D. C. Dowson and B. V. Landau, "The Fréchet distance
    between multivariate normal distributions" (1982); for image features, M. Heusel et al., "GANs
    Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium" (2017).

    With Σb = F Fᵀ the eigenvalues of Σa Σb that are not zero are those of the symmetric matrix
    Fᵀ Σa F, so no square root of a non-symmetric matrix is taken and singular covariances are no
    special case. Give the statistics that are used again, such as the reference, as ``b``: its
    factor is kept.

    Args:
        a: Statistics of at least two samples.
        b: Statistics of at least two samples, of the same dimensions.

    Returns:
        A distance ≥ 0, in squared units of the features; exactly 0 for identical statistics.

    Raises:
        DataError: Fewer than two samples on one side.

    Warns:
        TooFewSamples: One side has fewer samples than dimensions.
    """
    if a.dimensions != b.dimensions:
        raise ValueError(f"features of {a.dimensions} and {b.dimensions} dimensions cannot be compared")
    fewest = min(a.count, b.count)
    if fewest < 2:
        raise DataError(
            f"a Fréchet distance needs at least 2 samples on each side, got {a.count} and {b.count}; add "
            "pictures to the dataset"
        )
    if fewest < a.dimensions:
        warnings.warn(
            f"{fewest} samples for {a.dimensions} features: the Fréchet distance is biased upwards; "
            "compare it only with distances of the same sample count, or use more samples",
            TooFewSamples,
            stacklevel=2,
        )
    if np.array_equal(a.mean, b.mean) and np.array_equal(a.covariance, b.covariance):
        return 0.0
    product = b.factor.T @ a.covariance @ b.factor
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    root_trace = np.sqrt(np.clip(eigenvalues, 0.0, None)).sum()
    shift = a.mean - b.mean
    distance = shift @ shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * root_trace
    return max(float(distance), 0.0)
