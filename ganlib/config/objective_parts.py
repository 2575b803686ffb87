"""The parts of a run's configuration that choose its losses, the critic's constraint, and what it sees."""

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


class AugmentationConfig(ConfigPart):
    """Changes of what the critic sees, real and generated pictures alike (arXiv:2006.10738)."""

    kind: Literal["off", "diffaugment"] = "off"
    """diffaugment: the critic sees changed pictures only, so that it does not learn a small dataset by heart;
    the generator learns to make unchanged ones. For fewer than some thousand pictures."""
    colour: bool = True
    """Change brightness, contrast and, of colour pictures, saturation."""
    translation: bool = True
    """Move pictures by up to an eighth of their side."""
    cutout: bool = True
    """Cut out a square of half the side."""
    probability: float = Field(default=1.0, ge=0, le=1)
    """Probability of each of the three for a picture, where it is not adaptive."""
    adaptive: bool = False
    """Whether the probability begins at 0 and rises while the critic knows the training pictures too well
    (arXiv:2006.06676). For objectives in which a score of 0 means undecided."""
    target: float = Field(default=0.6, gt=0, lt=1)
    """Mean sign of the scores of training pictures above which an adaptive probability rises, and below which
    it falls."""
    ramp_kimg: float = Field(default=500.0, gt=0, le=1_000_000)
    """Thousand pictures in which an adaptive probability goes from 0 to 1 if it only rises."""
