"""What the networks are made of: normalization, dropout, and how weights begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["batch", "layer", "group", "none"]

GROUPS = 8
"""Groups of group normalization at the most: the largest divisor of the channels up to this."""


def normalization(kind: Norm, channels: int) -> list[nn.Module]:
    """The layer that normalizes feature maps of so many channels, or none."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "layer":
        # One group is layer normalization over channels and pixels, whatever the picture's size.
        return [nn.GroupNorm(1, channels)]
    if kind == "group":
        return [nn.GroupNorm(next(g for g in range(GROUPS, 0, -1) if channels % g == 0), channels)]
    return []


def initialize(module: nn.Module) -> None:
    """DCGAN's weights: convolutions from N(0, 0.02), normalization scales from N(1, 0.02), biases 0."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class Dropout(nn.Module):
    """Dropout whose masks are functions of a seed and a picture's place in the global batch.

    torch's own draws from a state that every worker has for itself: a run could neither be resumed
    to the bit nor be the same on another number of workers. Features are float [batch, features].

    Args:
        probability: Of setting a feature to zero, in [0, 1); the others grow to keep the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._draw: Callable[[Tensor], Tensor] | None = None

    def seed(self, seed: int, share: Callable[[Tensor], Tensor], workers: int) -> None:
        """Set what the masks of the next calls are drawn from.

        Args:
            seed: Of this step and layer.
            share: Takes this worker's part of a global batch.
            workers: By how many the global batch is shared.
        """
        generator = torch.Generator().manual_seed(seed)

        def draw(features: Tensor) -> Tensor:
            rows = torch.rand(len(features) * workers, features.shape[1], generator=generator)
            return share(rows)

        self._draw = draw

    def forward(self, features: Tensor) -> Tensor:
        """Some of the features set to zero while training; in eval mode, the features themselves.

        Raises:
            RuntimeError: Training without a seed.
        """
        if not self.training or self.probability == 0:
            return features
        if self._draw is None:
            raise RuntimeError("Dropout trains only after seed() was called")
        keep = self._draw(features).to(features.device) >= self.probability
        return features * keep / (1 - self.probability)
