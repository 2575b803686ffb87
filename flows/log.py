"""The log of a flow: on Prefect's server, and on the screen of the person who started it.

A job's log reaches the flow line by line (:mod:`ganlib.cluster.lines`). ganlib's own lines are handed on;
those of Ray and other libraries stay in the job's log, which ``ganlib logs RUN`` prints, and are shown only
on a verbose screen.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import Literal, Self

from prefect import get_run_logger

from flows.screen import KIND, current
from ganlib.cluster.lines import Stage, StageProgress, plain, read_line
from ganlib.errors import JobFailed

LOG_EVERY_SECONDS = 60.0

LAST_LINES = 20
"""Lines of other programs that are shown when a job has failed."""

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


def tell(text: str, level: int = logging.INFO, *, logger: Logger | None = None) -> None:
    """Log a line that a person is to see, from inside a flow or a task."""
    _log(logger or get_run_logger(), text, "milestone", level)


def begin(stage: Stage, note: str = "", *, logger: Logger | None = None) -> None:
    """Show that a stage begins, from inside a flow or a task."""
    progress = StageProgress(stage=stage, note=note)
    if (screen := current()) is not None:
        screen.show(progress)
    _log(logger or get_run_logger(), str(progress), "progress")


class JobLog:
    """Takes the lines of a job's log; when the job fails without saying why, prints the last of them.

    Args:
        logger: The task run's; by default that of the task which this is called in.
    """

    def __init__(self, logger: Logger | None = None) -> None:
        self._logger = logger or get_run_logger()
        self._logged_at = -math.inf
        self._stage: Stage | None = None
        self._hidden: deque[str] = deque(maxlen=LAST_LINES)
        self._explained = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, JobFailed) and self._hidden and not self._explained:
            text = "\n  ".join([f"The last lines of the log of {error.job_id}:", *self._hidden])
            tell(text, logging.ERROR, logger=self._logger)

    def __call__(self, line: str) -> None:
        """Take one line."""
        said = read_line(line)
        if isinstance(said, StageProgress):
            self._progress(said)
        elif said is not None:
            self._say(said)
        elif text := plain(line):
            self._hide(text)

    def _say(self, text: str) -> None:
        if text.startswith("error: "):
            # The job ends with it, and so does the command, which prints it as the reason.
            self._explained = True
            self._logger.error("%s", text)
        elif text:
            tell(text, logger=self._logger)

    def _progress(self, progress: StageProgress) -> None:
        if (screen := current()) is not None:
            screen.show(progress)
        now = time.monotonic()
        if progress.stage != self._stage or now - self._logged_at >= LOG_EVERY_SECONDS:
            self._stage, self._logged_at = progress.stage, now
            _log(self._logger, str(progress), "progress")

    def _hide(self, line: str) -> None:
        screen = current()
        if screen is not None and screen.verbose:
            screen.print(line, style="dim")
        else:
            self._hidden.append(line)


def _log(
    logger: Logger, text: str, kind: Literal["milestone", "progress"], level: int = logging.INFO
) -> None:
    logger.log(level, "%s", text, extra={KIND: kind})
