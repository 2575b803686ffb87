"""Layers of the networks: normalization, dropout and the initialization of weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Norm = Literal["batch", "layer", "group", "none"]
CriticNorm = Literal["batch", "layer", "group", "none", "spectral"]
"""``spectral`` normalizes weights (:mod:`ganlib.core.spectral`), the others feature maps."""

GROUPS = 8
"""Upper bound of the groups in group normalization; the largest divisor of the channels is taken."""


def normalization(kind: CriticNorm, channels: int) -> list[nn.Module]:
    """Return the layer that normalizes feature maps of ``channels`` channels, or no layer."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "layer":
        # A single group is layer normalization over channels and pixels, for any size of picture.
        return [nn.GroupNorm(1, channels)]
    if kind == "group":
        return [nn.GroupNorm(next(g for g in range(GROUPS, 0, -1) if channels % g == 0), channels)]
    return []


def initialize(module: nn.Module) -> None:
    """Initialize as DCGAN does: convolutions N(0, 0.02), normalization scales N(1, 0.02), biases 0.

    The second number is the standard deviation. Other modules are not changed.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


class Dropout(nn.Module):
    """Dropout whose masks depend only on a seed and a picture's row in the global batch.

    torch's dropout draws from each process's own random state: a run could not be resumed with the
    same bits, and would depend on the number of workers. Features are float [batch, features].

    Args:
        probability: Probability of setting a feature to zero, in [0, 1); the other features are
            multiplied by 1 / (1 − probability), which keeps the mean.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self._draw: Callable[[Tensor], Tensor] | None = None

    def seed(self, seed: int, share: Callable[[Tensor], Tensor], workers: int) -> None:
        """Seed the masks of the next calls.

        Args:
            seed: Seed of this step and layer.
            share: Returns this worker's rows of a tensor with the rows of the global batch.
            workers: Number of workers that share the global batch.
        """
        generator = torch.Generator().manual_seed(seed)

        def draw(features: Tensor) -> Tensor:
            rows = torch.rand(len(features) * workers, features.shape[1], generator=generator)
            return share(rows)

        self._draw = draw

    def forward(self, features: Tensor) -> Tensor:
        """Drop features in training mode; return them unchanged in eval mode.

        Raises:
            RuntimeError: :meth:`seed` was not called before training.
        """
        if not self.training or self.probability == 0:
            return features
        if self._draw is None:
            raise RuntimeError("Dropout trains only after seed() was called")
        keep = self._draw(features).to(features.device) >= self.probability
        return features * keep / (1 - self.probability)
