"""Differentiable augmentation of what the critic sees (Zhao et al. 2020, arXiv:2006.10738, DiffAugment).

A critic learns a small dataset by heart. Here it sees changed pictures only, real and generated ones alike,
in its own steps and in the generator's, whose gradient passes through the changes. The generator learns to
make unchanged pictures, since its own are changed in the same way as the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ganlib.core.sampling import Stream, uniforms
from ganlib.core.state import TrainState
from ganlib.core.workers import sum_over_workers

DRAWS = 10
"""Uniform numbers for a picture. All are always drawn, so that no policy shifts another's: whether
colour is changed, by which brightness, saturation and contrast; whether the picture is moved, down and right
by how much; whether a square is cut out, and at which row and column."""
_TRANSLATION, _CUTOUT = 1 / 8, 1 / 2
"""Largest translation, and side of the square that is cut out, as shares of the picture's side."""


@dataclass(frozen=True)
class Adaptive:
    """A probability that follows the critic's overfitting (ADA: Karras et al. 2020, arXiv:2006.06676).

    The measure is r = E sign f(real) over the training pictures as the critic sees them. A critic that
    knows them by heart gives nearly all of them positive scores, and r nears 1. It needs an objective for
    which a score of 0 means undecided.

    Args:
        target: r in (0, 1) above which the probability rises and below which it falls.
        ramp_images: Images in which the probability goes from 0 to 1 if it only rises.
    """

    target: float = 0.6
    ramp_images: float = 500_000

    def move(self, probability: Tensor, signs: Tensor, images: int) -> Tensor:
        """Return the probability, a scalar in [0, 1], after a critic step.

        Args:
            probability: The probability before.
            signs: Sum of the signs of the scores of all workers' real pictures, a scalar.
            images: Number of those pictures.
        """
        direction = torch.sign(signs - self.target * images)
        return (probability + direction * (images / self.ramp_images)).clamp(0, 1)


@dataclass(frozen=True)
class DiffAugment:
    """The three policies of DiffAugment, each applied to a picture with a probability of its own draw.

    Args:
        colour: Brightness ±0.5 on pixels in [−1, 1], saturation 0 to 2 (no change of grey pictures),
            contrast 0.5 to 1.5.
        translation: Up to an eighth of the side in each direction, 0 (mid-grey) moves in.
        cutout: A square of half the side becomes 0; its centre may lie at the picture's border.
        probability: Probability of each policy for a picture, in [0, 1]; unused with ``adaptive``.
        adaptive: The rule that moves the probability, from 0 on; ``None``: it is fixed.
    """

    colour: bool = True
    translation: bool = True
    cutout: bool = True
    probability: float = 1.0
    adaptive: Adaptive | None = None

    def change(self, pictures: Tensor, draws: Tensor, probability: Tensor | float) -> Tensor:
        """Change pictures; the result is differentiable in them.

        Args:
            pictures: float [batch, c, side, side] in [−1, 1].
            draws: From the uniform distribution on [0, 1): float [batch, :data:`DRAWS`], on their device.
            probability: Probability of each policy for a picture, in [0, 1].

        Returns:
            float [batch, c, side, side] of at least float32; colour may leave [−1, 1].
        """
        # Cast before products: a float32 draw just below 1, times a side, may round up to the side.
        draws = draws.double()
        pictures = pictures.to(torch.promote_types(pictures.dtype, torch.float32))
        for wanted, policy, first in (
            (self.colour, _colour, 0),
            (self.translation, _translation, 4),
            (self.cutout, _cutout, 7),
        ):
            if wanted:
                chosen = (draws[:, first] < probability)[:, None, None, None]
                pictures = torch.where(chosen, policy(pictures, draws[:, first + 1 :]), pictures)
        return pictures


def _colour(pictures: Tensor, draws: Tensor) -> Tensor:
    brightness, saturation, contrast = draws[:, :3].to(pictures.dtype)[:, :, None, None, None].unbind(1)
    pictures = pictures + (brightness - 0.5)
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = (pictures - grey) * (2 * saturation) + grey
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    changed: Tensor = (pictures - mean) * (contrast + 0.5) + mean
    return changed


def _translation(pictures: Tensor, draws: Tensor) -> Tensor:
    side = pictures.shape[-1]
    most = int(side * _TRANSLATION + 0.5)
    moves = (draws[:, :2] * (2 * most + 1)).long() - most
    # Where each row and column of the result comes from, [batch, side] each.
    rows, columns = (torch.arange(side, device=pictures.device) - move[:, None] for move in moves.T)
    inside = _inside(rows, columns, side)
    batch = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    rows, columns = rows.clamp(0, side - 1)[:, :, None], columns.clamp(0, side - 1)[:, None, :]
    moved = pictures.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)
    return moved * inside


def _cutout(pictures: Tensor, draws: Tensor) -> Tensor:
    side = pictures.shape[-1]
    hole = int(side * _CUTOUT + 0.5)
    # The number of places makes all of them alike, as in the authors' code: an even hole has no middle pixel.
    centres = (draws[:, :2] * (side + 1 - hole % 2)).long()
    rows, columns = (
        torch.arange(side, device=pictures.device) - (centre[:, None] - hole // 2) for centre in centres.T
    )
    return pictures * ~_inside(rows, columns, hole)


def _inside(rows: Tensor, columns: Tensor, end: int) -> Tensor:
    """Whether row and column [batch, side] both lie in [0, end): bool [batch, 1, side, side]."""
    down, right = ((places >= 0) & (places < end) for places in (rows, columns))
    return (down[:, :, None] & right[:, None, :])[:, None]


@dataclass(frozen=True)
class Views:
    """Shows pictures to the critic, changed as a function of (seed, step, position in the global batch).

    Args:
        augmentation: The changes; ``None``: it sees the pictures themselves.
        state: Holds an adaptive probability.
        seed: Seed of the run.
        batch_size: Pictures of a step, over all workers.
        share: Returns this worker's rows of a tensor with the rows of the global batch, on its device.
    """

    augmentation: DiffAugment | None
    state: TrainState
    seed: int
    batch_size: int
    share: Callable[[Tensor], Tensor]

    def __call__(self, pictures: Tensor, stream: Stream, step: int) -> Tensor:
        """Return this worker's pictures [batch, c, h, w] of a step as the critic sees them."""
        if self.augmentation is None:
            return pictures
        draws = uniforms(self.seed, stream, step, self.batch_size * DRAWS).view(-1, DRAWS)
        adaptive = self.augmentation.adaptive is not None
        probability = self._probability(pictures.device) if adaptive else self.augmentation.probability
        return self.augmentation.change(pictures, self.share(draws), probability)

    def adapt(self, on_real: Tensor) -> None:
        """Move an adaptive probability after a critic step, equally on all workers.

        Args:
            on_real: Scores of this worker's real pictures [batch].
        """
        if self.augmentation is None or self.augmentation.adaptive is None:
            return
        # Sums of signs are whole numbers, so they are the same bits for any number of workers.
        signs = sum_over_workers(on_real.sign().sum(dtype=torch.float64))
        probability = self._probability(on_real.device)
        self.state.augmentation_probability = self.augmentation.adaptive.move(
            probability, signs, self.batch_size
        )

    def _probability(self, device: torch.device) -> Tensor:
        known = self.state.augmentation_probability
        return torch.zeros((), dtype=torch.float64, device=device) if known is None else known
