"""Files brought from object storage: in ranges, several at once, hashed as they come, resumed after a crash.

A file is written beside its place and renamed once its SHA-256 is right; see :mod:`ganlib.data.part_file`.
A process that dies loses the ranges in flight at most. Whoever resumes reads what is there once, to hash
it; nothing else is read a second time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

from ganlib.data.part_file import PartFile
from ganlib.data.threads import ordered_map
from ganlib.errors import DataError, DigestMismatch, GanlibError, Interrupted, ObjectMissing
from ganlib.ports import ObjectStore

RANGE_BYTES = 8 * 2**20
"""Bytes asked for at once, and most that each thread loses when the process dies."""

FETCH_THREADS = 8
"""Ranges in flight. Twice as many may be in memory, while one before them is late."""

PROGRESS_BYTES = 64 * 2**10
"""An attempt that brings fewer bytes counts as one that brought none."""


class Wanted(NamedTuple):
    """A file to bring."""

    key: str
    """Its object."""
    path: Path
    """Its place; the folder exists."""
    size: int
    """Bytes, 1 or more."""
    sha256: str


class Retries(NamedTuple):
    """How often and when a range is asked for again."""

    attempts: int = 6
    """Attempts in a row that bring next to nothing, before the range is given up."""
    first: float = 0.2
    """Seconds before the second attempt; doubled from one to the next."""
    longest: float = 3.2
    """Most seconds between two attempts."""

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures, 1 or more; shortened at random by up to a half."""
        return min(self.longest, self.first * 2.0 ** (failures - 1)) * random.uniform(0.5, 1)  # noqa: S311


def fetch_files(
    store: ObjectStore,
    files: Iterable[Wanted],
    *,
    retries: Retries | None = None,
    range_bytes: int = RANGE_BYTES,
    threads: int = FETCH_THREADS,
) -> None:
    """Bring files; each appears in its place whole and verified. Callers keep other processes away from them.

    A range that breaks off goes on from there, after a pause that grows. A file that turns out wrong is
    deleted and brought once more from its beginning.

    Args:
        store: Holds the objects.
        files: The files, in the order in which they are brought; their paths differ.
        retries: How patient to be; ``None``: as :class:`Retries` has it.
        range_bytes: Bytes of a range, 1 or more.
        threads: Ranges in flight, 1 or more.

    Raises:
        ObjectMissing: There is no such object.
        Interrupted: A range failed again and again; what came before it is kept for the next time.
        DigestMismatch: An object is not what it should be: it was brought twice and was wrong both times.
        DataError: An object is too short, or its answers break off all the time.
        OSError: The files cannot be written.
    """
    wanted = list(files)
    for again in (True, False):
        fetcher = _Fetcher(store, retries or Retries(), range_bytes)
        fetcher.run(wanted, threads)
        if fetcher.wrong and not again:
            raise fetcher.wrong[0][1]
        wanted = [file for file, _ in fetcher.wrong]


class _Fetcher:
    """One pass over files."""

    def __init__(self, store: ObjectStore, retries: Retries, range_bytes: int) -> None:
        self._store, self._retries, self._range_bytes = store, retries, range_bytes
        self.wrong: list[tuple[Wanted, DataError]] = []
        """Files that were not what they should be, and were deleted."""
        self._stopped = threading.Event()
        self._error: Exception | None = None
        # Used again and again: the system would fill each new one with zeros first.
        self._buffers: list[bytearray] = []

    def run(self, files: Sequence[Wanted], threads: int) -> None:
        # The parts are closed after the threads have ended.
        with ExitStack() as parts:
            ranges = self._ranges(files, parts)
            # ordered_map has few ranges in hand, counted from the oldest incomplete one on. So few of them
            # wait in memory until their turn to be hashed comes.
            with closing(ordered_map(self._bring, ranges, threads=threads, name="ganlib-pull")) as brought:
                try:
                    for _ in brought:
                        pass
                finally:
                    self._stopped.set()
        if self._error is not None:
            raise self._error

    def _ranges(
        self, files: Sequence[Wanted], parts: ExitStack
    ) -> Iterator[tuple[Wanted, PartFile, int | None]]:
        for file in files:
            if self._error is not None:
                return
            part = PartFile(file.path, file.size, self._range_bytes)
            parts.callback(part.close)
            # A file of which all ranges are there has yet to be hashed.
            numbers: list[int | None] = [*part.missing()]
            yield from ((file, part, number) for number in numbers or [None])

    def _bring(self, item: tuple[Wanted, PartFile, int | None]) -> None:
        """Bring a range, and hash what can be hashed now. The first error of any thread ends them all."""
        file, part, number = item
        if self._error is not None or part.discarded:
            return
        try:
            if number is None or self._read(file, part, number):
                self._hash(file, part)
        except (GanlibError, OSError) as error:
            # Kept for run: a range before this one may fail only because it was stopped.
            self._error = self._error or error
            self._stopped.set()

    def _read(self, file: Wanted, part: PartFile, number: int) -> bool:
        """Bring a range and write it down; returns whether the object had it."""
        start, length = part.extent(number)
        buffer = self._buffers.pop() if self._buffers else bytearray(self._range_bytes)
        try:
            self._fill(file.key, start, memoryview(buffer)[:length])
        except ObjectMissing:
            raise
        except DataError:
            if part.discard():
                self.wrong.append((file, _too_short(file)))
            return False
        part.keep(number, buffer)
        return True

    def _hash(self, file: Wanted, part: PartFile) -> None:
        digest = part.hash_on(self._buffers)
        if digest == file.sha256:
            part.finish()
        elif digest:
            part.discard()
            self.wrong.append((file, DigestMismatch(file.key, file.sha256, digest)))

    def _fill(self, key: str, start: int, buffer: memoryview) -> None:
        """Fill a buffer from an object, in as many requests as it takes. Raises as ``read_into``."""
        filled = failures = 0
        while True:
            some = 0
            error: GanlibError | None = None
            try:
                some = self._store.read_into(key, start + filled, buffer[filled:])
            except Interrupted as interrupted:
                error = interrupted
            filled += some
            if filled == len(buffer):
                return
            failures = 1 if some >= PROGRESS_BYTES else failures + 1
            # A thread that waits here is woken when another one has failed for good.
            if failures >= self._retries.attempts or self._stopped.wait(self._retries.pause(failures)):
                raise error or _too_slow(key, failures)


def _too_slow(key: str, failures: int) -> GanlibError:
    return GanlibError(
        f"{key} cannot be brought: {failures} answers in a row broke off before {PROGRESS_BYTES:,} bytes had "
        "come; look after the network and try again: it goes on where it stopped"
    )


def _too_short(file: Wanted) -> DataError:
    return DataError(
        f"{file.key} is damaged: it ends before the {file.size:,} bytes that its manifest says; prepare the "
        "dataset again"
    )
