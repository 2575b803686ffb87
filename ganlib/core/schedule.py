"""Learning rates over a run, on the training clock."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import Optimizer


@dataclass(frozen=True)
class Schedule:
    """A factor for the learning rates: 1, and if wanted a straight line from there to 0.

    Args:
        decay_from_images: Images seen up to which the factor is 1; ``None``: for ever.
        decay_to_images: Images seen from which on it is 0.
    """

    decay_from_images: int | None = None
    decay_to_images: int = 0

    def factor(self, images_seen: int) -> float:
        """The factor in [0, 1] after this many images."""
        if self.decay_from_images is None or images_seen <= self.decay_from_images:
            return 1.0
        left = self.decay_to_images - images_seen
        return max(0.0, left / (self.decay_to_images - self.decay_from_images))

    def apply(self, optimizer: Optimizer, images_seen: int) -> None:
        """Set an optimizer's learning rates; those that it was built with count as the full ones."""
        for group in optimizer.param_groups:
            full = group.setdefault("full_lr", group["lr"])
            group["lr"] = full * self.factor(images_seen)
