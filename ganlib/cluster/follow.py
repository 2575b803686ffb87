"""Follow a Ray job to its end: every line of its log once, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import aiohttp
from ray.job_submission import JobStatus, JobSubmissionClient

from ganlib.errors import ServiceError
from ganlib.settings import ADDRESS_VARIABLE

T = TypeVar("T")

LOST_TIMEOUT_SECONDS = 30.0
"""How long a cluster may be out of reach before :func:`follow` gives it up."""

CONNECTION_LOST = (OSError, RuntimeError, aiohttp.ClientError)
"""Errors that Ray's client raises when its server is gone; those of requests are OSErrors."""

# Each question costs the cluster's head some milliseconds that training wants.
_STATUS_SECONDS = 1.0
_RETRY_SECONDS = 0.2


async def follow(client: JobSubmissionClient, job_id: str, on_line: Callable[[str], None]) -> JobStatus:
    """Hand on the job's log until it has ended; a connection that breaks off is taken up again.

    Args:
        client: Of the cluster that runs it.
        job_id: Ray's id of the job.
        on_line: Gets every line, from the log's beginning, once.

    Returns:
        How the job ended.

    Raises:
        ServiceError: The cluster was out of reach for :data:`LOST_TIMEOUT_SECONDS`.
    """
    log_lines, lost_at = _Lines(on_line), None
    tail = asyncio.create_task(_tail(client, job_id, log_lines))
    try:
        while True:
            try:
                # Ray's stream ends up to five seconds after the job does, so the job is asked, too.
                status = await asyncio.to_thread(_ask, client.get_job_status, job_id)
                if status.is_terminal():
                    await _cancelled(tail)
                    _raise_readers_error(tail)
                    log_lines.all_of(await asyncio.to_thread(_ask, client.get_job_logs, job_id))
                    return status
                lost_at = None
            except _ConnectionLost as lost:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > LOST_TIMEOUT_SECONDS:
                    why = f"it was lost while {job_id} ran ({lost}); the same command goes on"
                    raise ServiceError("ray", client.get_address(), ADDRESS_VARIABLE["ray"], why) from lost
            await asyncio.wait([tail], timeout=_STATUS_SECONDS)
            if tail.done():
                _raise_readers_error(tail)
                await asyncio.sleep(_RETRY_SECONDS)
                tail = asyncio.create_task(_tail(client, job_id, log_lines))
    finally:
        await _cancelled(tail)


async def _tail(client: JobSubmissionClient, job_id: str, log_lines: _Lines) -> None:
    """Read the job's log from its beginning until the stream ends."""
    log_lines.restart()
    texts = client.tail_job_logs(job_id)
    while True:
        with _client_errors():
            text = await anext(texts, None)
        if text is None:
            return
        log_lines.feed(text)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # an exception that nobody looks at would be printed


def _raise_readers_error(tail: asyncio.Task[None]) -> None:
    if not tail.cancelled() and not isinstance(tail.exception(), _ConnectionLost):
        tail.result()


class _Lines:
    """Hands on every line of a log once, however often the log is read from its beginning."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._handed_on = 0
        self.restart()

    def restart(self) -> None:
        """Expect the log from its beginning again."""
        self._number, self._unfinished = 0, ""

    def feed(self, text: str) -> None:
        """Take the next part of the log."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._number += 1
            if self._number > self._handed_on:
                self._handed_on = self._number
                self._on_line(line)

    def all_of(self, text: str) -> None:
        """Take the whole log, whose last line may have no end."""
        self.restart()
        self.feed(text if text.endswith("\n") or not text else f"{text}\n")


class _ConnectionLost(Exception):
    """The job server is gone, for now or for good; not what a caller's own code raises."""


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except CONNECTION_LOST as error:
        raise _ConnectionLost(type(error).__name__) from error


def _ask(question: Callable[[str], T], job_id: str) -> T:
    with _client_errors():
        return question(job_id)
