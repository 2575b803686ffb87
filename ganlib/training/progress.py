"""A run's progress as one line of its log: for people to read and for a progress bar to parse."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, Self

_LINE = re.compile(
    r"progress images=(?P<images>\d+)/(?P<total>\d+) rate=(?P<rate>[\d.]+)/s "
    r"wasserstein=(?P<wasserstein>\S+) distance=(?P<distance>\S+) left=(?P<left>\d+)s"
)


class ProgressLine(NamedTuple):
    """The values of the progress bar."""

    images: int
    total: int
    """Images at which the run will end; an estimate when its budget is in seconds."""
    rate: float
    """Images a second over the last interval."""
    wasserstein: float
    distance: float
    """At the last evaluation; NaN before the first."""
    seconds_left: int

    def __str__(self) -> str:
        return (
            f"progress images={self.images}/{self.total} rate={self.rate:.1f}/s "
            f"wasserstein={self.wasserstein:.5g} distance={self.distance:.5g} left={self.seconds_left}s"
        )

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """The progress in a log line, or ``None`` when it holds none."""
        found = _LINE.search(line)
        if found is None:
            return None
        return cls(
            images=int(found["images"]),
            total=int(found["total"]),
            rate=float(found["rate"]),
            wasserstein=float(found["wasserstein"]),
            distance=float(found["distance"]),
            seconds_left=int(found["left"]),
        )


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
    """Images a second, and the end of a run whose budget has two limits.

    Args:
        total_images: The limit in images.
        max_seconds: The limit in seconds in the loop, or ``None``.
    """

    def __init__(self, total_images: int, max_seconds: float | None) -> None:
        self.total_images, self.max_seconds = total_images, max_seconds
        self._images, self._seconds = 0, 0.0

    def restart(self, images: int, seconds: float) -> None:
        """Count from here: after a resume the time before it says nothing about this machine."""
        self._images, self._seconds = images, seconds

    def line(
        self, images: int, seconds: float, wasserstein: float, distance: float = math.nan
    ) -> ProgressLine:
        """The line at ``images`` seen after ``seconds`` in the loop; the next rate counts from here."""
        elapsed = max(seconds - self._seconds, 1e-9)
        rate = (images - self._images) / elapsed
        total = self.total_images
        if self.max_seconds is not None:
            total = min(total, images + round(rate * max(self.max_seconds - seconds, 0.0)))
        left = (total - images) / rate if rate > 0 else 0.0
        self.restart(images, seconds)
        return ProgressLine(images, max(total, images), rate, wasserstein, distance, max(round(left), 0))
