"""The kernel distance between two sets of features, and how sure it is.

M. Bińkowski et al., "Demystifying MMD GANs" (arXiv:1801.01401): the squared maximum mean discrepancy
under a polynomial kernel. Unlike the Fréchet distance it has an estimate without bias at any number of
samples from 3 on, so it may be a little below 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ganlib.errors import DataError

FEWEST_SAMPLES = 3
"""Fewest samples on each side of a kernel distance: leaving one out for its error must leave a pair."""


class KernelDistance(NamedTuple):
    """An estimate with its standard error."""

    value: float
    """Unbiased squared maximum mean discrepancy."""
    error: float
    """Its standard error over samples of these sizes."""


def gram(a: Tensor, b: Tensor) -> Tensor:
    """Values of the kernel ``(x · y / d + 1)³`` for all pairs.

    Args:
        a: Features [n, d] of any floating type.
        b: Features [m, d].

    Returns:
        float64 [n, m].
    """
    base = affine_products(a.double(), b.double())
    return base * base * base


def affine_products(a: Tensor, b: Tensor) -> Tensor:
    """``x · y / d + 1`` for all pairs of rows: float64 [n, m], of float64 [n, d] and [m, d]."""
    one = torch.ones((), dtype=a.dtype, device=a.device)
    return torch.addmm(one, a, b.T, alpha=1 / a.shape[1])


def kernel_distance(xx: Tensor, yy: Tensor, xy: Tensor, yx: Tensor) -> KernelDistance:
    """The distance between samples x₁ … xₙ and y₁ … yₘ, from sums of the kernel's values.

    ``MMD² = Σᵢ xxᵢ / n(n−1) + Σⱼ yyⱼ / m(m−1) − 2 Σᵢ xyᵢ / nm``: A. Gretton et al., "A Kernel Two-Sample
    Test" (JMLR 13, 2012), eq. 3, which is a U-statistic over all pairs. Its standard error is that of the
    two-sample jackknife, J. N. Arvesen, "Jackknifing U-Statistics" (Ann. Math. Statist. 40, 1969):
    ``(n−1)/n Σᵢ (θ₋ᵢ − mean)² + (m−1)/m Σⱼ (θ₋ⱼ − mean)²``, where θ₋ᵢ is the estimate without xᵢ. From the
    sums each of these costs a subtraction. Where the two distributions are the same it is too large rather
    than too small.

    Args:
        xx: float64 [n], n ≥ 3: ``Σ k(xᵢ, xₖ)`` over k ≠ i.
        yy: float64 [m], m ≥ 3, likewise.
        xy: float64 [n]: ``Σ k(xᵢ, yⱼ)`` over all j.
        yx: float64 [m]: ``Σ k(xᵢ, yⱼ)`` over all i.

    Raises:
        DataError: Fewer than three samples on one side.
    """
    n, m = len(xx), len(yy)
    if min(n, m) < FEWEST_SAMPLES:
        raise DataError(
            f"a kernel distance needs at least {FEWEST_SAMPLES} samples on each side, got {n} and {m}; "
            "add pictures to the dataset"
        )
    within_x, within_y, between = xx.sum(), yy.sum(), xy.sum()
    mean_x, mean_y = within_x / (n * (n - 1)), within_y / (m * (m - 1))
    value = mean_x + mean_y - 2 * between / (n * m)
    without_x = (within_x - 2 * xx) / ((n - 1) * (n - 2)) + mean_y - 2 * (between - xy) / ((n - 1) * m)
    without_y = mean_x + (within_y - 2 * yy) / ((m - 1) * (m - 2)) - 2 * (between - yx) / (n * (m - 1))
    variance = (n - 1) * without_x.var(correction=0) + (m - 1) * without_y.var(correction=0)
    return KernelDistance(float(value), float(variance.sqrt()))
