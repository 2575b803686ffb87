"""Files brought from object storage: several streams at once, hashed as they come, resumed after a crash.

A file is written beside its place and renamed once its SHA-256 is right; see :mod:`ganlib.data.part_file`.
A process that dies loses the blocks on their way at most. Whoever resumes reads what is there once, to hash
it; nothing else is read a second time.

Where there are many files, each comes in one request and is hashed piece by piece. The last ones, and few
large ones, come in spans from several places at once, so that no thread is idle; pieces then wait in memory
until those before them have come.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from ganlib.data.part_file import BLOCK_BYTES, PartFile, Span
from ganlib.data.threads import ordered_map
from ganlib.errors import DataError, DigestMismatch, GanlibError, Interrupted, ObjectMissing
from ganlib.ports import ObjectStore

SPAN_BLOCKS = 2
"""Blocks asked for at once where a file comes from several places."""

FETCH_THREADS = 8
"""Streams at once. Twice as many spans may be in memory, while one before them is late."""

PROGRESS_BYTES = 64 * 2**10
"""An attempt that brings fewer bytes counts as one that brought none."""


class WantedFile(NamedTuple):
    """A file to bring."""

    key: str
    """Its object."""
    path: Path
    """Its place; the folder exists."""
    size: int
    """Bytes, 1 or more."""
    sha256: str


class Retries(NamedTuple):
    """How often and when bytes are asked for again."""

    attempts: int = 6
    """Attempts in a row that bring next to nothing, before they are given up."""
    first: float = 0.2
    """Seconds before the second attempt; doubled from one to the next."""
    longest: float = 3.2
    """Most seconds between two attempts."""

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures, 1 or more; shortened at random by up to a half."""
        return min(self.longest, self.first * 2.0 ** (failures - 1)) * random.uniform(0.5, 1)  # noqa: S311


def fetch_files(
    store: ObjectStore,
    files: Iterable[WantedFile],
    *,
    retries: Retries | None = None,
    block_bytes: int = BLOCK_BYTES,
    threads: int = FETCH_THREADS,
    stop: threading.Event | None = None,
) -> None:
    """Bring files; each appears in its place whole and verified. Callers keep other processes away from them.

    A stream that breaks off goes on from there, after a pause that grows. A file that turns out wrong is
    deleted and brought once more from its beginning.

    Args:
        store: Holds the objects.
        files: The files, in the order in which they are brought; their paths differ.
        retries: How patient to be; ``None``: as :class:`Retries` has it.
        block_bytes: Bytes of a block, 1 or more.
        threads: Streams at once, 1 or more.
        stop: Another thread may set it to end this early and without an error, with files missing. It is set
            here before an error is raised.

    Raises:
        ObjectMissing: There is no such object.
        Interrupted: A stream failed again and again; what came before it is kept for the next time.
        DigestMismatch: An object is not what it should be: it was brought twice and was wrong both times.
        DataError: An object is too short, or its answers break off all the time.
        OSError: The files cannot be written.
    """
    wanted = list(files)
    for again in (True, False):
        fetcher = _Fetcher(store, retries or Retries(), block_bytes, stop or threading.Event())
        fetcher.run(wanted, threads)
        if fetcher.wrong and not again:
            raise fetcher.wrong[0][1]
        wanted = [file for file, _ in fetcher.wrong]


class _Task(NamedTuple):
    """Part of the work: a span of a file; ``None``: the file is there and has yet to be hashed."""

    file: WantedFile
    part: PartFile
    span: Span | None


class _Fetcher:
    """One pass over files."""

    def __init__(
        self, store: ObjectStore, retries: Retries, block_bytes: int, stopped: threading.Event
    ) -> None:
        self._store, self._retries, self._block_bytes = store, retries, block_bytes
        self.wrong: list[tuple[WantedFile, DataError]] = []
        """Files that were not what they should be, and were deleted."""
        self._stopped = stopped
        self._error: Exception | None = None

    def run(self, files: Sequence[WantedFile], threads: int) -> None:
        # The parts are closed after the threads have ended.
        with ExitStack() as parts:
            spans = self._spans(files, threads, parts)
            # ordered_map has few spans in hand, counted from the oldest incomplete one on. So the pieces
            # that wait in memory until their turn to be hashed comes are few.
            with closing(ordered_map(self._bring, spans, threads=threads, name="ganlib-pull")) as brought:
                try:
                    for _ in brought:
                        pass
                except BaseException:
                    self._stopped.set()
                    raise
        if self._error is not None:
            raise self._error

    def _spans(self, files: Sequence[WantedFile], threads: int, parts: ExitStack) -> Iterator[_Task]:
        for number, file in enumerate(files):
            if self._stopped.is_set():
                return
            part = PartFile(file.path, file.size, self._block_bytes)
            parts.callback(part.close)
            among_the_last = len(files) - number <= threads
            spans: list[Span | None] = [*part.missing(SPAN_BLOCKS if among_the_last else None)]
            # A file that is there as a whole has yet to be hashed.
            yield from (_Task(file, part, span) for span in spans or [None])

    def _bring(self, task: _Task) -> None:
        """Bring a span. The first error of any thread ends them all."""
        try:
            if task.span is None:
                self._conclude(task, task.part.hash_on())
            else:
                self._bring_span(task, task.span)
        except (GanlibError, OSError) as error:
            # Kept for run: a span before this one may fail only because it was stopped.
            self._error = self._error or error
            self._stopped.set()

    def _bring_span(self, task: _Task, span: Span) -> None:
        """Bring a span in as many requests as it takes."""
        position, failures = span.start, 0
        while position < span.end and not (task.part.discarded or self._stopped.is_set()):
            before, error = position, None
            try:
                with closing(self._store.stream(task.file.key, position, span.end - position)) as pieces:
                    for piece in pieces:
                        self._conclude(task, task.part.take(position, piece))
                        position += len(piece)
                        if task.part.discarded or self._stopped.is_set():
                            return
            except Interrupted as interrupted:
                error = interrupted
            except ObjectMissing:
                raise
            except DataError:
                if task.part.discard():
                    self.wrong.append((task.file, _too_short(task.file)))
                return
            if position < span.end:
                failures = 1 if position - before >= PROGRESS_BYTES else failures + 1
                if failures >= self._retries.attempts:
                    raise error or _too_slow(task.file.key, failures)
                # Woken when another thread has failed for good, or the caller has had enough.
                self._stopped.wait(self._retries.pause(failures))

    def _conclude(self, task: _Task, digest: str) -> None:
        """Put a file into its place, or remove it, once its digest is known."""
        if digest == task.file.sha256:
            task.part.finish()
        elif digest:
            task.part.discard()
            self.wrong.append((task.file, DigestMismatch(task.file.key, task.file.sha256, digest)))


def _too_slow(key: str, failures: int) -> GanlibError:
    return GanlibError(
        f"{key} cannot be brought: {failures} answers in a row broke off before {PROGRESS_BYTES:,} bytes had "
        "come; look after the network and try again: it goes on where it stopped"
    )


def _too_short(file: WantedFile) -> DataError:
    return DataError(
        f"{file.key} is damaged: it ends before the {file.size:,} bytes that its manifest says; prepare the "
        "dataset again"
    )
