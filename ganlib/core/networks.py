"""DCGAN generator and critic (Radford et al. 2016, arXiv:1511.06434) for small square pictures.

Built with classes, both are conditional and take labels: the generator appends an embedding of the
label to the latent (Mirza & Osindero 2014, arXiv:1411.1784); the critic adds to its score the inner
product of its features with an embedding of the label (Miyato & Koyama 2018, arXiv:1802.05637).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.core.convolutions import FromLatent, FromPicture, ToPicture, ToScore
from ganlib.core.layers import CriticNorm, Norm, initialize, normalization
from ganlib.core.spectral import normalize_weights

GEOMETRY: dict[int, tuple[int, int]] = {28: (7, 2), 32: (4, 3), 64: (4, 4), 128: (4, 5)}
"""Picture size in pixels → (side of the smallest feature map, doublings from there to the picture)."""

LABEL_FEATURES = 32
"""Length of a label's embedding in a generator."""


class LabelledLatents(nn.Module):
    """Latents [batch, latent_dim] with label embeddings appended; without classes, the latents alone.

    Args:
        latent_dim: Length of a latent vector.
        classes: Number of classes; 0 for an unconditional generator.
    """

    def __init__(self, latent_dim: int, classes: int) -> None:
        super().__init__()
        self.features = latent_dim + (LABEL_FEATURES if classes else 0)
        # torch initializes embeddings from N(0, 1), the distribution of latents.
        self.embedding = nn.Embedding(classes, LABEL_FEATURES) if classes else None

    def forward(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Return float [batch, features].

        Raises:
            ValueError: No labels for a conditional generator, or labels for an unconditional one.
        """
        if (self.embedding is None) != (labels is None):
            raise ValueError("labels are for conditional generators, and those need them")
        if self.embedding is None:
            return latents
        return torch.cat([latents, self.embedding(labels).to(latents.dtype)], dim=1)


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
        extra_layers: Number of 3×3 convolutions at the largest hidden feature map, as in the WGAN
            authors' code.
        classes: Number of classes; 0 makes it unconditional.
    """

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        latent_dim: int,
        width: int,
        norm: Norm = "batch",
        extra_layers: int = 0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        side, doublings = GEOMETRY[size]
        self.latent_dim, self.classes = latent_dim, classes
        self.labelled = LabelledLatents(latent_dim, classes)
        features = width * 2 ** (doublings - 1)
        bias = norm == "none"
        layers: list[nn.Module] = [
            FromLatent(self.labelled.features, features, side, bias=bias),
            *normalization(norm, features),
            nn.ReLU(inplace=True),
        ]
        for _ in range(doublings - 1):
            layers += [
                nn.ConvTranspose2d(features, features // 2, 4, 2, 1, bias=bias),
                *normalization(norm, features // 2),
                nn.ReLU(inplace=True),
            ]
            features //= 2
        for _ in range(extra_layers):
            layers += [
                nn.Conv2d(width, width, 3, 1, 1, bias=bias),
                *normalization(norm, width),
                nn.ReLU(inplace=True),
            ]
        layers += [ToPicture(features, channels), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents [batch, latent_dim] → pictures [batch, channels, size, size] in [−1, 1].

        Args:
            latents: From N(0, I).
            labels: int64 [batch], in [0, classes); for a conditional generator only.
        """
        pictures: Tensor = self.layers(self.labelled(latents, labels)[:, :, None, None])
        return pictures


class Critic(nn.Module):
    """Pictures float [batch, channels, size, size] in [−1, 1] → scores float [batch].

    The layers of :class:`Generator` in reverse order, with strided convolutions. As in DCGAN the
    first layer has no normalization. There is no sigmoid at the end: a critic's score is unbounded
    (Arjovsky et al. 2017, arXiv:1701.07875).

    Args:
        size: Picture side in pixels, one of :data:`GEOMETRY`.
        channels: 1 (grey) or 3 (colour).
        width: Channels of the first hidden feature map; doubled with each further one.
        norm: Normalization after each hidden layer but the first, or ``spectral``: of all weights.
        extra_layers: Number of 3×3 convolutions at the largest hidden feature map, as in the WGAN
            authors' code.
        classes: Number of classes; 0 makes it unconditional.
    """

    def __init__(
        self,
        *,
        size: int,
        channels: int,
        width: int,
        norm: CriticNorm = "batch",
        extra_layers: int = 0,
        classes: int = 0,
    ) -> None:
        super().__init__()
        side, doublings = GEOMETRY[size]
        self.classes = classes
        bias = norm in ("none", "spectral")
        # For grey pictures FromPicture returns a view; autograd would copy it to work in place.
        in_place = channels > 1
        layers: list[nn.Module] = [FromPicture(channels, width), nn.LeakyReLU(0.2, inplace=in_place)]
        for _ in range(extra_layers):
            layers += [
                nn.Conv2d(width, width, 3, 1, 1, bias=bias),
                *normalization(norm, width),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        features = width
        for _ in range(doublings - 1):
            layers += [
                nn.Conv2d(features, features * 2, 4, 2, 1, bias=bias),
                *normalization(norm, features * 2),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            features *= 2
        self.layers = nn.Sequential(*layers)
        self.score = ToScore(features, side)
        self.projection = Projection(classes, features) if classes else None
        self.apply(initialize)
        if norm == "spectral":
            normalize_weights(self)

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """Pictures [batch, channels, size, size] in [−1, 1] → scores [batch].

        Args:
            pictures: Real or generated.
            labels: int64 [batch], in [0, classes); for a conditional critic only.
        """
        features = self.layers(pictures)
        scores: Tensor = self.score(features).flatten()
        if self.projection is None:
            return scores
        projected: Tensor = self.projection(features.sum(dim=(2, 3)), labels)
        return scores + projected


class Projection(nn.Module):
    """Inner product of a picture's features and its label's embedding (arXiv:1802.05637, eq. 3).

    Args:
        classes: Number of classes.
        features: Length of a feature vector.
    """

    def __init__(self, classes: int, features: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, features)
        nn.init.normal_(self.embedding.weight, 0.0, 0.02)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features float [batch, features] and labels int64 [batch] → float [batch]."""
        products: Tensor = self.embedding(labels) * features
        return products.sum(dim=1)
