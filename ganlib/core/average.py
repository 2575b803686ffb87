"""Exponential moving average of the generator's weights, with a half-life in images seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Averaging:
    """Half-life of the average, in images, with a warm-up.

    A generator changes fast early in a run, and the average must follow. So the half-life is at most
    the share ``warmup`` of the images seen so far, however long the run
    (the EMA ramp-up of the training code of Karras et al. 2020, arXiv:1912.04958).

    Args:
        half_life_images: Images in which the influence of old weights halves, ≥ 0; 0 copies the
            generator.
        warmup: Upper bound of the half-life as a share of the images seen, > 0.
    """

    half_life_images: float
    warmup: float = 0.05

    def decay(self, images_seen: int, images_since: int) -> float:
        """Return the weight in [0, 1) of the old average, ``images_since`` images after its last update."""
        half_life = min(self.half_life_images, self.warmup * images_seen)
        return 0.5 ** (images_since / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, generator: nn.Module, decay: float) -> None:
    """Set average ← decay · average + (1 − decay) · generator, in place; buffers are copied.

    The copied batch-norm statistics do not fit the averaged weights:
    :func:`~ganlib.core.sampling.calibrate_batch_norm` replaces them before the average is used.
    """
    torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1.0 - decay)
    for old, new in zip(average.buffers(), generator.buffers(), strict=True):
        old.copy_(new)
