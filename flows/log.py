"""A job's log inside a flow: a progress bar on a terminal, a line a minute elsewhere."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from ganlib.training.progress import ProgressLine

LOG_EVERY_SECONDS = 60.0

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class JobLog:
    """Takes a job's lines: progress goes to the bar, everything else to the logger.

    Args:
        logger: The flow run's logger.
        console: Where the bar is drawn; nothing is drawn when it is no terminal.
    """

    def __init__(self, logger: Logger, console: Console | None = None) -> None:
        self._logger = logger
        self._console = console or Console(file=sys.stderr)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._logged_at = -math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, line: str) -> None:
        """Take one line."""
        progress = ProgressLine.parse(line)
        if progress is None:
            if text := _COLOUR.sub("", line).rstrip():
                self._log(text)
            return
        if self._console.is_terminal:
            self._draw(progress)
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_SECONDS:
            self._logged_at = now
            self._log(progress_text(progress))

    def _log(self, text: str) -> None:
        # The logger writes to the console too, and would break the bar's line.
        if self._bar is not None:
            self._bar.stop()
        self._logger.info("%s", text)
        if self._bar is not None:
            self._bar.start()

    def _draw(self, progress: ProgressLine) -> None:
        if self._bar is None:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[status]}"),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("training", total=progress.total, status="")
            self._bar.start()
        assert self._task is not None
        self._bar.update(
            self._task, completed=progress.images, total=progress.total, status=progress_text(progress)
        )


def progress_text(progress: ProgressLine) -> str:
    """Images seen, images a second, Wasserstein estimate, distance at the last evaluation, time left."""
    parts = [
        f"{progress.images / 1000:.0f} of {progress.total / 1000:.0f} kimg",
        f"{progress.rate:,.0f} img/s",
        f"W {progress.wasserstein:.3f}",
    ]
    if math.isfinite(progress.distance):
        parts.append(f"distance {progress.distance:.0f}")
    minutes, seconds = divmod(progress.seconds_left, 60)
    return " · ".join([*parts, f"{minutes}:{seconds:02d} left"])
