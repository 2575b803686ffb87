"""The parts of a run's configuration that choose its losses and what constrains the critic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ganlib.config.parts import ConfigPart


class WassersteinConfig(ConfigPart):
    """WGAN with weight clipping (arXiv:1701.07875)."""

    kind: Literal["wasserstein"] = "wasserstein"
    """Loss: Wasserstein with weight clipping or with gradient penalty, the non-saturating one, or hinge."""
    clip: float = Field(default=0.01, gt=0, le=10)
    """Every critic parameter is kept in [−clip, clip]."""


class WassersteinGradientPenaltyConfig(ConfigPart):
    """WGAN with gradient penalty (arXiv:1704.00028)."""

    kind: Literal["wasserstein-gp"] = "wasserstein-gp"
    """Loss: Wasserstein with weight clipping or with gradient penalty, the non-saturating one, or hinge."""
    penalty: float = Field(default=10.0, gt=0, le=10_000)
    """Weight of the penalty."""


class NonSaturatingConfig(ConfigPart):
    """The non-saturating loss (arXiv:1406.2661)."""

    kind: Literal["non-saturating"] = "non-saturating"
    """Loss: Wasserstein with weight clipping or with gradient penalty, the non-saturating one, or hinge."""
    real_label: float = Field(default=0.9, gt=0.5, le=1)
    """The critic's target for real pictures; below 1 it is one-sided label smoothing."""


class HingeConfig(ConfigPart):
    """The hinge loss (arXiv:1705.02894), for a critic with spectral normalization."""

    kind: Literal["hinge"] = "hinge"
    """Loss: Wasserstein with weight clipping or with gradient penalty, the non-saturating one, or hinge."""


class R1Config(ConfigPart):
    """The R1 penalty beside any objective (arXiv:1801.04406)."""

    gamma: float = Field(default=0.0, ge=0, le=10_000)
    """Weight of the squared gradient of the score at real pictures, halved as in the paper; 0: no penalty."""
    every: int = Field(default=16, ge=1, le=1000)
    """Critic steps from one with the penalty to the next; it counts as many times over there."""
