"""A file that comes in ranges, in any order: written beside its place, hashed, resumed after a crash.

::

    FILE.part       the content; ranges that are missing are holes
    FILE.ranges     the size of a range, then a byte for each range: 1 when it is complete
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

_HEADER_BYTES = 8
# No links are followed: what is written through one would be outside of the cache.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class PartFile:
    """One file on its way; safe to use from several threads, by one process at a time.

    Ranges that an earlier process completed are kept, and read once, to be hashed.

    Args:
        path: The place of the file when it is whole; its folder exists.
        size: Bytes of the file, 1 or more.
        range_bytes: Bytes of a range, 1 or more; the last one may be shorter. What was begun with another
            size of ranges begins anew.

    Raises:
        OSError: The files cannot be written; from every method.
    """

    def __init__(self, path: Path, size: int, range_bytes: int) -> None:
        self._path, self._size, self._range_bytes = path, size, range_bytes
        self._count = -(-size // range_bytes)
        self._part, self._ranges = _beside(path, ".part"), _beside(path, ".ranges")
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._hashing = False
        self._pending: dict[int, bytearray] = {}
        self._discarded = False
        self._content = os.open(self._part, _FLAGS, 0o666)
        self._record = os.open(self._ranges, _FLAGS, 0o666)
        self._open: tuple[int, ...] = (self._content, self._record)
        self._before = self._resume()

    def _resume(self) -> set[int]:
        """Ranges that are there; the files begin anew where they do not fit this file."""
        header = self._range_bytes.to_bytes(_HEADER_BYTES, "big")
        found = os.pread(self._record, _HEADER_BYTES + self._count + 1, 0)
        fits = len(found) == _HEADER_BYTES + self._count and found.startswith(header)
        if fits and os.fstat(self._content).st_size == self._size:
            return {number for number, mark in enumerate(found[_HEADER_BYTES:]) if mark == 1}
        os.ftruncate(self._record, 0)
        os.ftruncate(self._content, 0)
        os.ftruncate(self._content, self._size)
        _write(self._record, header + bytes(self._count), 0)
        return set()

    @property
    def discarded(self) -> bool:
        """Whether it was given up."""
        return self._discarded

    def missing(self) -> list[int]:
        """Ranges to be brought, by number, in order."""
        return [number for number in range(self._count) if number not in self._before]

    def extent(self, number: int) -> tuple[int, int]:
        """First byte and length of a range."""
        start = number * self._range_bytes
        return start, min(self._range_bytes, self._size - start)

    def keep(self, number: int, buffer: bytearray) -> None:
        """Write a range to disk and note that it is there; its buffer is the file's until it was hashed.

        Args:
            number: The range.
            buffer: Begins with its bytes.
        """
        start, length = self.extent(number)
        _write(self._content, memoryview(buffer)[:length], start)
        # After the content: a process that dies in between brings the range again.
        _write(self._record, b"\x01", _HEADER_BYTES + number)
        with self._lock:
            self._pending[number] = buffer

    def hash_on(self, used: list[bytearray]) -> str:
        """Hash the ranges whose turn has come, unless another thread does so now.

        Args:
            used: Takes the buffers of hashed ranges.

        Returns:
            SHA-256 of the whole file in hexadecimal, once; empty until it can be known.
        """
        with self._lock:
            if self._hashing:
                return ""
            self._hashing = True
        while True:
            with self._lock:
                number = self._hashed
                buffer = self._pending.pop(number, None)
                if buffer is None and number not in self._before:
                    # Whoever brings that range sees this, and goes on.
                    self._hashing = False
                    return ""
            start, length = self.extent(number)
            if buffer is None:
                self._hash.update(_read(self._content, length, start))
            else:
                self._hash.update(memoryview(buffer)[:length])
                used.append(buffer)
            self._hashed += 1
            if self._hashed == self._count:
                return self._hash.hexdigest()

    def finish(self) -> None:
        """Put the whole file into its place; nobody writes to it any more."""
        self.close()
        self._part.replace(self._path)
        self._ranges.unlink()

    def discard(self) -> bool:
        """Remove what has come and what is in the file's place; returns whether this call did."""
        with self._lock:
            first, self._discarded = not self._discarded, True
        if first:
            for path in (self._part, self._ranges, self._path):
                path.unlink(missing_ok=True)
        return first

    def close(self) -> None:
        """Close the files, once no thread uses them; what has come stays for the next time."""
        open_ones, self._open = self._open, ()
        for descriptor in open_ones:
            os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write(descriptor: int, data: bytes | memoryview, start: int) -> None:
    view, written = memoryview(data), 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], start + written)


def _read(descriptor: int, length: int, start: int) -> bytes:
    pieces, there = [], 0
    while there < length and (piece := os.pread(descriptor, length - there, start + there)):
        pieces.append(piece)
        there += len(piece)
    return b"".join(pieces)
