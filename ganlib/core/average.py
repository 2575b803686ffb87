"""Exponential moving average of the generator's weights, on the training clock."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Averaging:
    """Half-life of the average, in images, with a warm-up.

    Early in a run the half-life is ``warmup`` of the images seen so far, so the average follows a
    generator that still changes fast, in a run of ten thousand pictures as in one of ten million
    (Karras et al. 2020, arXiv:1912.04958, its training code's EMA ramp-up).

    Args:
        half_life_images: Images after which an old weight counts half, ≥ 0; 0 copies the generator.
        warmup: Share of the images seen, > 0.
    """

    half_life_images: float
    warmup: float = 0.05

    def decay(self, images_seen: int, images_since: int) -> float:
        """Weight in [0, 1) of the old average, ``images_since`` images after its last update."""
        half_life = min(self.half_life_images, self.warmup * images_seen)
        return 0.5 ** (images_since / half_life) if half_life > 0 else 0.0


@torch.no_grad()
def update_average(average: nn.Module, generator: nn.Module, decay: float) -> None:
    """average ← decay · average + (1 − decay) · generator, in place; buffers are copied.

    Copied batch-norm statistics are a stand-in: before the average is used,
    :func:`~ganlib.core.sampling.calibrate_batch_norm` measures its own.
    """
    torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1.0 - decay)
    for old, new in zip(average.buffers(), generator.buffers(), strict=True):
        old.copy_(new)
