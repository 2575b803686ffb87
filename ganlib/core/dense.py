"""Fully connected generator and critic, as in the first GANs (Goodfellow et al. 2014, arXiv:1406.2661)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ganlib.core.layers import Dropout
from ganlib.core.networks import LabelledLatents, Projection


class DenseGenerator(nn.Module):
    """Latent float [batch, latent_dim] → pictures float [batch, channels, size, size] in [−1, 1].

    Weights have torch's default initialization.

    Args:
        size: Picture side in pixels.
        channels: 1 (grey) or 3 (colour).
        latent_dim: Length of a latent vector.
        widths: Features of the hidden layers, first the one after the latent.
        classes: Number of classes; 0 makes it unconditional.
    """

    def __init__(
        self, *, size: int, channels: int, latent_dim: int, widths: Sequence[int], classes: int = 0
    ) -> None:
        super().__init__()
        self.latent_dim, self.classes = latent_dim, classes
        self.labelled = LabelledLatents(latent_dim, classes)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([self.labelled.features, *widths]):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2, inplace=True)]
        pixels = channels * size * size
        layers += [nn.Linear(widths[-1], pixels), nn.Tanh(), nn.Unflatten(1, (channels, size, size))]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate pictures; see :meth:`ganlib.core.networks.Generator.forward`."""
        pictures: Tensor = self.layers(self.labelled(latents, labels))
        return pictures


class DenseCritic(nn.Module):
    """Pictures float [batch, channels, size, size] in [−1, 1] → scores float [batch].

    Weights have torch's default initialization. There is no sigmoid at the end: the objective applies it.

    Args:
        size: Picture side in pixels.
        channels: 1 (grey) or 3 (colour).
        widths: Features of the hidden layers, first the one after the picture.
        dropout: Probability of setting a hidden feature to zero in training, in [0, 1).
        classes: Number of classes; 0 makes it unconditional.
    """

    def __init__(
        self, *, size: int, channels: int, widths: Sequence[int], dropout: float = 0.0, classes: int = 0
    ) -> None:
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise([channels * size * size, *widths]):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2, inplace=True), Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Linear(widths[-1], 1)
        self.projection = Projection(classes, widths[-1]) if classes else None

    def forward(self, pictures: Tensor, labels: Tensor | None = None) -> Tensor:
        """Score pictures; see :meth:`ganlib.core.networks.Critic.forward`."""
        features = self.layers(pictures)
        scores: Tensor = self.score(features).flatten()
        if self.projection is None:
            return scores
        projected: Tensor = self.projection(features, labels)
        return scores + projected
