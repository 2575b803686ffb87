"""The terminal of a flow that a person started: its milestones, above one live line.

Without a terminal (a pipe, CI) there is no live line; the flow's progress is then printed once a minute, with
the time. Lines of Prefect and other libraries are printed only when they are asked for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.progress import Progress as LiveLine
from rich.text import Text

from ganlib.cluster.lines import StageProgress, as_clock, percent

KIND = "ganlib_kind"
"""Attribute of the log records that are for a person: ``"milestone"`` or ``"progress"``."""

_BAR_WIDTH = 14  # so that everything fits into 80 columns


class Screen(logging.Handler):
    """Prints a flow's log records, and draws its live line on a terminal.

    Args:
        verbose: Whether to print what Prefect, Ray and other libraries say, too.
        console: Where; standard error by default.
    """

    def __init__(self, verbose: bool = False, console: Console | None = None) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self.verbose = verbose
        self._console = console or Console(stderr=True)
        self._line: LiveLine | None = None
        self._task = TaskID(0)
        self._stage = ""

    def __enter__(self) -> Screen:
        if self._console.is_interactive:
            # Standard output is for the command's result, and may be a pipe.
            self._line = LiveLine(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(_BAR_WIDTH),
                TextColumn("{task.fields[percent]}"),
                _Details(),
                console=self._console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
            )
            self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._line is not None:
            self._line.stop()
            self._line = None

    def show(self, progress: StageProgress) -> None:
        """Draw the progress, on a terminal."""
        if self._line is None:
            return
        share = progress.share
        if progress.stage != self._stage:
            if self._stage:
                self._line.remove_task(self._task)
            self._stage = progress.stage
            self._task = self._line.add_task(progress.stage, total=None, percent="", details="")
        self._line.update(
            self._task,
            # Without a total the bar moves to and fro.
            total=None if share is None else 1.0,
            # The spinner would vanish at 100%, and what comes after it in a stage takes seconds.
            completed=min(share or 0.0, 0.999),
            percent="" if share is None else f"{percent(share):>4}",
            details=progress.details,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Print a log record, if it is for the person here."""
        kind = getattr(record, KIND, None)
        own = kind is not None or (record.name.startswith("ganlib") and record.levelno >= logging.WARNING)
        if not (own or self.verbose) or (kind == "progress" and self._line is not None):
            return
        try:
            style = "yellow" if record.levelno >= logging.WARNING else "" if own else "dim"
            self.print(record.getMessage() if own else self.format(record), style=style)
        except Exception:  # noqa: BLE001  # as every handler does: logging must not end the flow
            self.handleError(record)

    def print(self, line: str, *, style: str = "") -> None:
        """Print a line above the live line; where there is none, with the time."""
        now = "" if self._line is not None else time.strftime("%H:%M:%S ")
        self._console.print(Text(now + line, style), soft_wrap=True)


class _Details(ProgressColumn):
    """The details of the stage, and how long it takes already where nobody knows how far it is."""

    def render(self, task: Task) -> Text:
        parts = [task.fields["details"], as_clock(task.elapsed or 0.0) if task.total is None else ""]
        return Text(" · ".join(filter(None, parts)), no_wrap=True, overflow="ellipsis")


_current: Screen | None = None


def current() -> Screen | None:
    """The screen that this process's flow is on; ``None`` in Prefect's worker."""
    return _current


@contextmanager
def on_screen(screen: Screen) -> Iterator[Screen]:
    """Show the flow that runs in the block on a screen, in place of Prefect's own output to the console.

    Prefect's server gets the same log as always.
    """
    global _current
    root = logging.getLogger()
    before = root.handlers[:]
    for handler in before:
        # The records of Prefect's loggers come here, and its handler prints them all.
        if type(handler).__name__ == "PrefectConsoleHandler":
            root.removeHandler(handler)
    root.addHandler(screen)
    _current = screen
    try:
        with screen:
            yield screen
    finally:
        _current = None
        root.handlers[:] = before
