"""All distances of a set of features to a reference, in one pass over their pairs.

Kernel distance (:mod:`ganlib.quality.kernel`) and precision and recall both need the scalar products of
all pairs, which is most of the work; they are computed once, in float64, a block of rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ganlib.quality.distances import Statistics, frechet_distance
from ganlib.quality.kernel import affine_products, kernel_distance
from ganlib.quality.requirements import NEIGHBOURS
from ganlib.records import Measures

REFERENCE_FEATURES = 5000
"""Feature vectors of real pictures that are kept for what needs pairs; the first ones."""

BLOCK_BYTES = 32 * 2**20
"""Largest size of one block of pairs, bytes."""


class Within(NamedTuple):
    """Results from the pairs within one set of feature vectors, for n of its rows."""

    radii: Tensor
    """float64 [n]: distance to the nearest neighbour but :data:`NEIGHBOURS` − 1; NaN when there are fewer."""
    kernel_sums: Tensor
    """float64 [n]: sum of the kernel's values with all the others."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Real pictures to compare with, as :func:`measure` needs them."""

    statistics: Statistics
    """Mean and covariance of all pictures."""
    features: Tensor
    """float32 [m, d], of the first :data:`REFERENCE_FEATURES`."""
    within: Within
    """Results from the pairs within :attr:`features`."""

    @classmethod
    def from_features(cls, features: Tensor) -> Reference:
        """The reference of real features float32 [n, d], n ≥ 2.

        Raises:
            DataError: A feature is not finite.
        """
        statistics = Statistics.from_features(features)
        kept = features[:REFERENCE_FEATURES].clone()
        return cls(statistics, kept, within(kept))


def measure(features: Tensor, reference: Reference, metric: str) -> Measures:
    """Distances of generated features to a reference.

    Precision and recall are those of T. Kynkäänniemi et al., "Improved Precision and Recall Metric for
    Assessing Generative Models" (arXiv:1904.06991), eq. 1 and 2, with k = 3. Like the Fréchet distance
    they depend on the numbers of samples: compare values of equal numbers only.

    Args:
        features: Generated pictures' features, floating point [n, d], n ≥ 3.
        reference: Real pictures' features, of the same dimensions, at least 3.
        metric: Name of the Fréchet distance over these features.

    Returns:
        :func:`~ganlib.quality.distances.frechet_distance`,
        :func:`~ganlib.quality.kernel.kernel_distance` with its error, precision, and recall. Precision is
        NaN with fewer than 4 real samples, recall with fewer than 4 generated ones.

    Raises:
        DataError: A feature is not finite, or there are fewer than three samples on a side.

    Warns:
        TooFewSamples: As :func:`ganlib.quality.distances.frechet_distance`.
    """
    frechet = frechet_distance(Statistics.from_features(features), reference.statistics)
    own, real = within(features), reference.within
    x, y = features.double(), reference.features.double()
    to_real, to_generated = torch.zeros(len(x), dtype=x.dtype), torch.zeros(len(y), dtype=y.dtype)
    precise, recalled = torch.zeros(len(x), dtype=torch.bool), torch.zeros(len(y), dtype=torch.bool)
    for here, base, squared in _pairs(x, y, slice(0, len(x))):
        precise[here] = (squared <= real.radii.square()).any(dim=1)
        recalled |= (squared <= own.radii[here, None].square()).any(dim=0)
        kernel = base * base * base
        to_real[here] = kernel.sum(dim=1)
        to_generated += kernel.sum(dim=0)
    kernel_value = kernel_distance(own.kernel_sums, real.kernel_sums, to_real, to_generated)
    return Measures(
        metric=metric,
        samples=len(features),
        value=frechet,
        kernel_distance=kernel_value.value,
        kernel_distance_error=kernel_value.error,
        precision=_share(precise, real),
        recall=_share(recalled, own),
    )


def within(features: Tensor, rows: slice = slice(None)) -> Within:
    """Compute :class:`Within` for some rows; several workers can each take a part.

    Args:
        features: The whole set, floating point [n, d].
        rows: Rows to compute it for.
    """
    values = features.double()
    radii, sums = [], []
    for here, base, squared in _pairs(values, values, slice(*rows.indices(len(values)))):
        itself = torch.arange(here.start, here.stop)
        diagonal = (torch.arange(len(itself)), itself)
        # A vector is not its own neighbour.
        squared[diagonal] = math.inf
        if len(values) > NEIGHBOURS:
            radii.append(squared.kthvalue(NEIGHBOURS, dim=1).values.sqrt())
        else:
            radii.append(torch.full((len(itself),), math.nan, dtype=torch.float64))
        kernel = base * base * base
        sums.append(kernel.sum(dim=1) - kernel[diagonal])
    return Within(torch.cat(radii), torch.cat(sums))


def _pairs(a: Tensor, b: Tensor, rows: slice) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """For blocks of a's rows: the rows, ``x · y / d + 1``, and squared distances, both float64 [k, m]."""
    dimensions = a.shape[1]
    norms_a, norms_b = a.square().sum(dim=1), b.square().sum(dim=1)
    step = max(1, BLOCK_BYTES // (8 * len(b)))
    for start in range(rows.start, rows.stop, step):
        here = slice(start, min(start + step, rows.stop))
        base = affine_products(a[here], b)
        squared = torch.add(norms_a[here, None] + (2 * dimensions), base, alpha=-2 * dimensions)
        yield here, base, squared.add_(norms_b).clamp_(min=0)


def _share(hit: Tensor, balls: Within) -> float:
    return math.nan if bool(balls.radii.isnan().any()) else float(hit.double().mean())
