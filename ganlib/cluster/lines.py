"""Lines of a job's log: ganlib's own, with the progress of a stage, and those of other programs.

ganlib's own lines begin with a mark, since a job's log also has the lines of Ray, of torch and of Python's
warnings, which say little to a person who waits for a result. A line is either text::

    [ganlib] evaluated at 100000 images: fd_efficientnet_lite0_curve = 93.1

or a :class:`StageProgress` as JSON, which the flow turns into its live line::

    [ganlib:progress] {"stage":"train","share":0.41,"images":49152,"rate":1020.5}

Ray puts the name of the worker that printed a line in front of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from ganlib.names import Count
from ganlib.records import Record

Stage = Literal["add", "prepare", "pull", "train", "sweep", "evaluate", "publish", "gate"]

LONGEST_SECONDS = 10**9
"""Longest time left that is told."""

LONGEST_PROGRESS = 2_000
"""Characters of the longest JSON that is read as progress."""

_OURS = re.compile(r"(?:\([^()]*\) )?\[ganlib(?P<progress>:progress)?\](?: (?P<text>.*))?", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")

Finite = Annotated[float, Field(allow_inf_nan=False)]


class StageProgress(Record):
    """How far a stage is; whatever is ``None`` is not known, or has no meaning in this stage."""

    stage: Stage
    share: Annotated[Finite, Field(ge=0, le=1)] | None = None
    """Share of the stage that is done; of the time budget where one ends it."""
    images: Count | None = None
    """Real images that the critic has seen, or pictures that are prepared."""
    total_images: Count | None = None
    """Images at which the stage ends; ``None`` where its time budget ends it, as then nobody knows."""
    rate: Annotated[Finite, Field(ge=0)] | None = None
    """Images a second, lately."""
    distance: Finite | None = None
    """At the last evaluation."""
    seconds_left: Annotated[int, Field(ge=0, le=LONGEST_SECONDS)] | None = None
    note: Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\z")] = ""
    """Anything else, for a person."""

    @property
    def details(self) -> str:
        """Everything but stage and share as text, empty when nothing else is known."""
        parts = []
        if self.images is not None:
            of = "" if self.total_images is None else f" of {_kimg(self.total_images)}"
            parts.append(f"{_kimg(self.images)}{of} kimg")
        if self.rate is not None:
            parts.append(f"{self.rate:,.0f} img/s")
        if self.distance is not None:
            parts.append(f"distance {self.distance:.{0 if abs(self.distance) >= 100 else 1}f}")
        if self.note:
            parts.append(self.note)
        if self.seconds_left is not None:
            parts.append(f"{as_clock(self.seconds_left)} left")
        return " · ".join(parts)

    def __str__(self) -> str:
        share = "" if self.share is None else f" {percent(self.share)}"
        details = self.details
        return f"{self.stage}{share}" + (f" · {details}" if details else "" if share else " …")


Say = Callable[[str | StageProgress], None]
"""A function that puts a line or the progress into a job's log."""


def as_clock(seconds: float) -> str:
    """Seconds as ``m:ss``, from an hour on as ``h:mm:ss``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def percent(share: float) -> str:
    """A share in percent, rounded down: 100 % is the end."""
    return f"{int(100 * share + 1e-9)}%"


def marked(said: str | StageProgress) -> str:
    """The lines of a job's log in which ganlib says this."""
    if isinstance(said, StageProgress):
        return f"[ganlib:progress] {said.model_dump_json(exclude_defaults=True)}"
    return "\n".join(f"[ganlib] {line}" for line in said.splitlines() or [""])


def read_line(line: str) -> str | StageProgress | None:
    """The text or progress in a line of a job's log; ``None`` where it is not ganlib's, or damaged."""
    found = _OURS.fullmatch(plain(line))
    if found is None:
        return None
    text = found["text"] or ""
    if not found["progress"]:
        return text
    if len(text) > LONGEST_PROGRESS:
        return None
    try:
        return StageProgress.model_validate_json(text)
    except ValidationError:
        return None


def readable(line: str) -> str:
    """A line of a job's log for a person: ganlib's own without their mark, all others as they are."""
    said = read_line(line)
    return plain(line) if said is None else str(said)


def plain(line: str) -> str:
    """A line without colours and other control characters, which would reach the reader's terminal."""
    return _CONTROL.sub("", _COLOUR.sub("", line)).rstrip()


def _kimg(images: int) -> str:
    return f"{images / 1000:.1f}" if images < 10_000 else f"{images / 1000:,.0f}"
