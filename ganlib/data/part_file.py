"""A file that comes in pieces, from several places at once: written beside its place, hashed, resumed.

::

    FILE.part       the content; what is missing is a hole
    FILE.blocks     the size of a block, then a byte for each block: 1 when it is complete
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import NamedTuple

BLOCK_BYTES = 4 * 2**20
"""The unit in which a file is resumed."""

_HEADER_BYTES = 8
# No links are followed: what is written through one would be outside of the cache.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Span(NamedTuple):
    """Bytes of a file."""

    start: int
    """The first one; where a block begins."""
    end: int
    """The first one that is not part of it."""


class PartFile:
    """One file on its way; safe to use from several threads, by one process at a time.

    Blocks that an earlier process completed are kept, and read once, to be hashed.

    Args:
        path: The place of the file when it is whole; its folder exists.
        size: Bytes of the file, 1 or more.
        block_bytes: Bytes of a block, 1 or more. What was begun with others begins anew.

    Raises:
        OSError: The files cannot be written; from every method.
    """

    def __init__(self, path: Path, size: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._path, self._size, self._block_bytes = path, size, block_bytes
        self._count = -(-size // block_bytes)
        self._part, self._blocks = _beside(path, ".part"), _beside(path, ".blocks")
        self._lock = threading.Lock()
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._hashing = False
        self._pending: dict[int, bytes] = {}
        self._discarded = False
        self._content = os.open(self._part, _FLAGS, 0o666)
        self._record = os.open(self._blocks, _FLAGS, 0o666)
        self._open: tuple[int, ...] = (self._content, self._record)
        self._before = self._resume()

    def _resume(self) -> set[int]:
        """Blocks that are there; the files begin anew where they do not fit this file."""
        header = self._block_bytes.to_bytes(_HEADER_BYTES, "big")
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

    def missing(self, most_blocks: int | None = None) -> list[Span]:
        """Spans to be brought, in order, of at most so many blocks; ``None``: as long as they can be."""
        spans: list[Span] = []
        for number in range(self._count):
            if number in self._before:
                continue
            start = number * self._block_bytes
            end = min(start + self._block_bytes, self._size)
            last = spans[-1] if spans else None
            full = last and most_blocks and last.end - last.start >= most_blocks * self._block_bytes
            if last is not None and last.end == start and not full:
                spans[-1] = Span(last.start, end)
            else:
                spans.append(Span(start, end))
        return spans

    def take(self, start: int, piece: bytes) -> str:
        """Write a piece, and hash it and those behind it whose turn has come.

        Args:
            start: Its first byte in the file: where a span or the piece before it in its span ends.
            piece: Not empty.

        Returns:
            As :meth:`hash_on`.
        """
        end = start + len(piece)
        _write(self._content, piece, start)
        # After the content: a process that dies in between brings the blocks again.
        first, after = start // self._block_bytes, self._blocks_before(end)
        if first < after:
            _write(self._record, b"\x01" * (after - first), _HEADER_BYTES + first)
        with self._lock:
            self._pending[start] = piece
        return self.hash_on()

    def _blocks_before(self, end: int) -> int:
        """Blocks that end at or before this byte."""
        return self._count if end == self._size else end // self._block_bytes

    def hash_on(self) -> str:
        """Hash the bytes whose turn has come, unless another thread does so now.

        Returns:
            SHA-256 of the whole file in hexadecimal, once; empty until it is known.
        """
        with self._lock:
            if self._hashing:
                return ""
            self._hashing = True
        while True:
            with self._lock:
                piece = self._pending.pop(self._hashed, None)
                if piece is None and not self._is_there_from_before():
                    # Whoever takes that piece sees this, and goes on.
                    self._hashing = False
                    return ""
            if piece is None:
                piece = os.pread(self._content, self._end_of_block() - self._hashed, self._hashed)
            self._hash.update(piece)
            self._hashed += len(piece)
            if self._hashed == self._size:
                return self._hash.hexdigest()

    def _is_there_from_before(self) -> bool:
        return self._hashed // self._block_bytes in self._before

    def _end_of_block(self) -> int:
        return min(self._size, (self._hashed // self._block_bytes + 1) * self._block_bytes)

    def finish(self) -> None:
        """Put the whole file into its place, once it was hashed to its end."""
        self.close()
        self._part.replace(self._path)
        self._blocks.unlink()

    def discard(self) -> bool:
        """Remove what has come and what is in the file's place; returns whether this call did."""
        with self._lock:
            first, self._discarded = not self._discarded, True
        if first:
            for path in (self._part, self._blocks, self._path):
                path.unlink(missing_ok=True)
        return first

    def close(self) -> None:
        """Close the files, once no thread uses them; what has come stays for the next time."""
        open_ones, self._open = self._open, ()
        for descriptor in open_ones:
            os.close(descriptor)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _write(descriptor: int, data: bytes, start: int) -> None:
    written = os.pwrite(descriptor, data, start)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], start + written)
