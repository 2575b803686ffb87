"""Residual generator and critic of Gulrajani et al. 2017, arXiv:1704.00028, for pictures of 28 to 256 pixels.

The layout of the blocks and the channels are those of Miyato et al. 2018, arXiv:1802.05957, appendix B.4.
Built with classes, both take labels as the DCGAN pair does (:mod:`ganlib.core.networks`).
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from ganlib.core.layers import CriticNorm, Norm, normalization
from ganlib.core.networks import GEOMETRY, LabelledLatents, Projection
from ganlib.core.spectral import normalize_weights

RESIDUAL_GEOMETRY: dict[int, tuple[int, int]] = {**GEOMETRY, 256: (4, 6)}
"""Picture size in pixels → (side of the smallest feature map, doublings from there to the picture)."""

LARGEST_FACTOR = 16
"""Channels are doubled with each halving of the side, up to this multiple of the width."""


def _channels(width: int, halvings: int) -> int:
    return width * min(1 << halvings, LARGEST_FACTOR)


class ResidualGenerator(nn.Module):
    """Latent float [batch, latent_dim] → pictures float [batch, channels, size, size] in [−1, 1].

    A matrix makes the smallest feature map; each block doubles its side, down to ``width`` channels at the
    picture's size.

    Args:
        size: Picture side in pixels, one of :data:`RESIDUAL_GEOMETRY`.
        channels: 1 (grey) or 3 (colour).
        latent_dim: Length of a latent vector.
        width: Channels of the largest hidden feature map.
        norm: Normalization before each activation.
        classes: Number of classes; 0 makes it unconditional.
    """

    def __init__(
        self, *, size: int, channels: int, latent_dim: int, width: int, norm: Norm = "batch", classes: int = 0
    ) -> None:
        super().__init__()
        side, doublings = RESIDUAL_GEOMETRY[size]
        self.latent_dim, self.classes = latent_dim, classes
        self.labelled = LabelledLatents(latent_dim, classes)
        widths = [_channels(width, halvings) for halvings in range(doublings, -1, -1)]
        self.layers = nn.Sequential(
            nn.Linear(self.labelled.features, widths[0] * side * side),
            nn.Unflatten(1, (widths[0], side, side)),
            *(UpBlock(inputs, outputs, norm) for inputs, outputs in pairwise(widths)),
            *normalization(norm, width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )
        _initialize(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate pictures; see :meth:`ganlib.core.networks.Generator.forward`."""
        pictures: Tensor = self.layers(self.labelled(latents, labels))
        return pictures


class ResidualCritic(nn.Module):
    """Pictures float [batch, channels, size, size] in [−1, 1] → scores float [batch].

    Each block halves the side, the last one excepted. The score is a matrix product with the features,
    summed over all pixels.

    Args:
        size: Picture side in pixels, one of :data:`RESIDUAL_GEOMETRY`.
        channels: 1 (grey) or 3 (colour).
        width: Channels after the first block; doubled with each further one, up to :data:`LARGEST_FACTOR`.
        norm: Normalization before each activation but the first, or ``spectral``: of all weights.
        classes: Number of classes; 0 makes it unconditional.
    """

    def __init__(
        self, *, size: int, channels: int, width: int, norm: CriticNorm = "layer", classes: int = 0
    ) -> None:
        super().__init__()
        _, halvings = RESIDUAL_GEOMETRY[size]
        self.classes = classes
        widths = [_channels(width, block) for block in range(halvings)]
        self.layers = nn.Sequential(
            FirstDownBlock(channels, width, norm),
            *(DownBlock(inputs, outputs, norm) for inputs, outputs in pairwise(widths)),
            DownBlock(widths[-1], widths[-1], norm, halve=False),
            nn.ReLU(),
        )
        self.score = nn.Linear(widths[-1], 1)
        self.projection = Projection(classes, widths[-1]) if classes else None
        _initialize(self)
        if norm == "spectral":
            normalize_weights(self)

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score pictures; see :meth:`ganlib.core.networks.Critic.forward`."""
        features = self.layers(pictures).sum(dim=(2, 3))
        scores: Tensor = self.score(features).flatten()
        if self.projection is None:
            return scores
        projected: Tensor = self.projection(features, labels)
        return scores + projected


class UpBlock(nn.Module):
    """Feature maps [batch, inputs, h, w] → [batch, outputs, 2h, 2w].

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        norm: Normalization before each activation.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *normalization(norm, inputs),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=norm == "none"),
            *normalization(norm, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        # The papers enlarge first. The result is the same, and this takes a quarter of the work.
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.Upsample(scale_factor=2))

    def forward(self, features: Tensor) -> Tensor:
        """Return the larger feature maps."""
        result: Tensor = self.residual(features) + self.shortcut(features)
        return result


class DownBlock(nn.Module):
    """Feature maps [batch, inputs, h, w] → [batch, outputs, h/2, w/2].

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        norm: Normalization before each activation.
        halve: Whether the side is halved; otherwise inputs and outputs are as many.
    """

    def __init__(self, inputs: int, outputs: int, norm: CriticNorm, *, halve: bool = True) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *normalization(norm, inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, inputs, 3, padding=1, bias=norm in ("none", "spectral")),
            *normalization(norm, inputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            *([nn.AvgPool2d(2)] if halve else []),
        )
        # As in UpBlock, the cheaper of two orders with the same result.
        self.shortcut = nn.Sequential(*([nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1)] if halve else []))

    def forward(self, features: Tensor) -> Tensor:
        """Return the smaller feature maps."""
        result: Tensor = self.residual(features) + self.shortcut(features)
        return result


class FirstDownBlock(nn.Module):
    """Pictures [batch, channels, 2h, 2w] → feature maps [batch, outputs, h, w].

    It begins with a convolution: an activation would cut off the dark half of the pixels.

    Args:
        channels: Channels of the pictures.
        outputs: Channels that go out.
        norm: Normalization before the activation.
    """

    def __init__(self, channels: int, outputs: int, norm: CriticNorm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, outputs, 3, padding=1, bias=norm in ("none", "spectral")),
            *normalization(norm, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.AvgPool2d(2),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, outputs, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the feature maps."""
        result: Tensor = self.residual(pictures) + self.shortcut(pictures)
        return result


def _initialize(network: nn.Module) -> None:
    """Initialize uniformly after Glorot & Bengio, a block's 3×3 convolutions with the gain √2; biases 0."""
    within = {
        module
        for block in network.modules()
        if isinstance(block, (UpBlock, DownBlock, FirstDownBlock))
        for module in block.residual
    }
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight, math.sqrt(2) if module in within else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
