"""DCGAN generator and critic (Radford et al. 2016, arXiv:1511.06434) for small square pictures."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "layer", "none"]

GEOMETRY: dict[int, tuple[int, int]] = {28: (7, 2), 32: (4, 3), 64: (4, 4), 128: (4, 5)}
"""Picture size in pixels → (side of the smallest feature map, doublings from there to the picture)."""


def _norm(kind: Norm, channels: int) -> list[nn.Module]:
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "layer":
        # One group is layer normalization over channels and pixels, whatever the picture's size.
        return [nn.GroupNorm(1, channels)]
    return []


class Generator(nn.Module):
    """Latent float [batch, latent_dim] → pictures float [batch, channels, size, size] in [−1, 1].

    A transposed convolution makes the smallest feature map; each further one doubles its side and
    halves its channels, down to ``width`` channels before the last.

    Args:
        size: Picture side in pixels, one of :data:`GEOMETRY`.
        channels: 1 (grey) or 3 (colour).
        latent_dim: Length of a latent vector.
        width: Channels of the largest hidden feature map.
        norm: Normalization after each hidden layer.
    """

    def __init__(
        self, *, size: int, channels: int, latent_dim: int, width: int, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        side, doublings = GEOMETRY[size]
        self.latent_dim = latent_dim
        features = width * 2 ** (doublings - 1)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, features, side, bias=norm == "none"),
            *_norm(norm, features),
            nn.ReLU(inplace=True),
        ]
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(features, features // 2, 4, 2, 1, bias=norm == "none"),
                *_norm(norm, features // 2),
                nn.ReLU(inplace=True),
            ]
            features //= 2
        layers += [nn.ConvTranspose2d(features, channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [batch, latent_dim] → pictures [batch, channels, size, size] in [−1, 1]."""
        pictures: Tensor = self.layers(latents[:, :, None, None])
        return pictures


class Critic(nn.Module):
    """Pictures float [batch, channels, size, size] in [−1, 1] → scores float [batch].

    The mirror of :class:`Generator`, with strided convolutions. As in DCGAN the first layer has
    no normalization; there is no sigmoid at the end, because a critic is not a classifier
    (Arjovsky et al. 2017, arXiv:1701.07875).

    Args:
        size: Picture side in pixels, one of :data:`GEOMETRY`.
        channels: 1 (grey) or 3 (colour).
        width: Channels of the first hidden feature map; doubled with each further one.
        norm: Normalization after each hidden layer but the first.
    """

    def __init__(self, *, size: int, channels: int, width: int, norm: Norm = "batch") -> None:
        super().__init__()
        side, doublings = GEOMETRY[size]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        features = width
        for _ in range(doublings - 1):
            layers += [
                nn.Conv2d(features, features * 2, 4, 2, 1, bias=norm == "none"),
                *_norm(norm, features * 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            features *= 2
        layers.append(nn.Conv2d(features, 1, side))
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures [batch, channels, size, size] in [−1, 1] → scores [batch]."""
        scores: Tensor = self.layers(pictures)
        return scores.flatten()


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
