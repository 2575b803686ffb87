"""Ctrl-C and SIGTERM during a command that goes on when it is repeated."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer


class Terminated(BaseException):
    """SIGTERM arrived. Like ``KeyboardInterrupt`` no :class:`Exception`: nobody handles it on the way."""


@contextmanager
def resumable() -> Iterator[None]:
    """Around a command that goes on when it is repeated: an interrupt ends it with one message.

    The exit status is the shells' for the signal: 130 after Ctrl-C, 143 after SIGTERM.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, Terminated) as error:
        typer.echo(_message(error), err=True)
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        raise typer.Exit(128 + number) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _message(error: BaseException) -> str:
    """The message for a person: the job's fate, and the command that goes on."""
    outcome = "".join(f": {note}" for note in _notes(error))
    command = shlex.join(["ganlib", *sys.argv[1:]])
    return f"interrupted{outcome}; the same command goes on from here:\n  {command}"


def _notes(error: BaseException) -> list[str]:
    """The notes of an exception, else of the nearest before it that has any.

    During a flow Prefect takes SIGTERM first, stops the flow with an exception of its own, and then lets the
    signal come through.
    """
    at: BaseException | None = error
    while at is not None:
        if notes := getattr(at, "__notes__", []):
            return list(notes)
        at = at.__context__
    return []
