"""Learning rates as a function of the training clock (images seen)."""

from __future__ import annotations

from dataclasses import dataclass

from torch.optim import Optimizer


@dataclass(frozen=True)
class Schedule:
    """Constant learning rates, with an optional linear decay to 0.

    Args:
        decay_from_images: Images seen at which the decay starts; ``None`` for no decay.
        decay_to_images: Images seen at which the learning rates reach 0.
    """

    decay_from_images: int | None = None
    decay_to_images: int = 0

    def factor(self, images_seen: int) -> float:
        """Return the factor in [0, 1] of the initial learning rates after this many images."""
        if self.decay_from_images is None or images_seen <= self.decay_from_images:
            return 1.0
        left = self.decay_to_images - images_seen
        return max(0.0, left / (self.decay_to_images - self.decay_from_images))

    def apply(self, optimizer: Optimizer, images_seen: int) -> None:
        """Set an optimizer's learning rates to :meth:`factor` times those that it was built with."""
        for group in optimizer.param_groups:
            full = group.setdefault("full_lr", group["lr"])
            group["lr"] = full * self.factor(images_seen)
