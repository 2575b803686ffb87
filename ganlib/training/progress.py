"""How fast a run is, how far it is in its budget, and what its workers' time goes to."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ganlib.cluster.lines import LONGEST_SECONDS, StageProgress


class Spent:
    """Seconds that a worker spends outside the loop, by what it does there."""

    def __init__(self) -> None:
        self.seconds = {"evaluating": 0.0, "saving": 0.0}

    @contextmanager
    def timed(self, what: Literal["evaluating", "saving"]) -> Iterator[None]:
        """Count the time in the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began

    def shares(self, looping: float) -> dict[str, float]:
        """Shares of the whole time, ``looping`` seconds in the loop included: metrics of a finished run."""
        whole = max(looping + sum(self.seconds.values()), 1e-9)
        return {f"{what}_share": seconds / whole for what, seconds in self.seconds.items()}


class Pace:
    """Images a second, and how far a run is that ends at the nearer of two limits.

    Args:
        total_images: The limit in images.
        max_seconds: The limit in seconds in the loop, or ``None``.
    """

    def __init__(self, total_images: int, max_seconds: float | None) -> None:
        self.total_images, self.max_seconds = total_images, max_seconds
        self.restart(0, 0.0)

    def restart(self, images: int, seconds: float) -> None:
        """Count from here: after a resume the time before it says nothing about this machine."""
        self._began = self._last = (images, seconds)

    def at(self, images: int, seconds: float, distance: float = math.nan) -> StageProgress:
        """The progress at ``images`` seen after ``seconds`` in the loop; the next rate counts from here.

        The share is that of the limit that is nearer now. A run with a time limit has no total: how many
        images it will see is a guess that changes all the time.
        """
        rate, steady = _rate(self._last, (images, seconds)), _rate(self._began, (images, seconds))
        self._last = (images, seconds)
        share = images / self.total_images
        # The rate of the whole attempt: with that of two seconds the time left would jump.
        left = (self.total_images - images) / steady if steady > 0 else math.inf
        if self.max_seconds is not None:
            share = max(share, seconds / self.max_seconds)
            left = min(left, self.max_seconds - seconds)
        return StageProgress(
            stage="train",
            share=min(share, 1.0),
            images=images,
            total_images=self.total_images if self.max_seconds is None else None,
            rate=rate,
            distance=distance if math.isfinite(distance) else None,
            seconds_left=max(round(left), 0) if left < LONGEST_SECONDS else None,
        )


def _rate(since: tuple[int, float], now: tuple[int, float]) -> float:
    """Images a second between two pairs of images and seconds."""
    return max(now[0] - since[0], 0) / max(now[1] - since[1], 1e-9)
