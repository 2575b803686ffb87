"""A byte range seen otherwise: a part of it, or a file that libraries can seek in."""

from __future__ import annotations

import io
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from ganlib.data.formats.entries import ByteRange, check_range

BLOCK_BYTES = 4 * 2**20
"""Bytes that are read ahead at once."""

KEPT_BLOCKS = 4
"""Blocks that are kept, the last ones used."""


@dataclass(frozen=True)
class PartRange:
    """A part of a byte range, as a byte range."""

    source: ByteRange
    start: int
    size: int

    @property
    def what(self) -> str:
        """The path or key of the whole."""
        return self.source.what

    def read_at(self, start: int, length: int) -> bytes:
        """Read exactly this part of the part. Raises ``DataError``."""
        check_range(self, start, length)
        return self.source.read_at(self.start + start, length)


class ReadAhead:
    """A byte range that is read in blocks, of which the last few are kept; threads may share it.

    Many small parts that lie close together, in about their order, then cost few requests.

    Args:
        source: The range.
    """

    def __init__(self, source: ByteRange) -> None:
        self._source, self._lock = source, Lock()
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    @property
    def what(self) -> str:
        """The path or key."""
        return self._source.what

    @property
    def size(self) -> int:
        """Bytes."""
        return self._source.size

    def read_at(self, start: int, length: int) -> bytes:
        """Read exactly this part. Raises ``DataError``."""
        check_range(self, start, length)
        if length > BLOCK_BYTES:
            return self._source.read_at(start, length)
        first, last = start // BLOCK_BYTES, (start + max(1, length) - 1) // BLOCK_BYTES
        blocks = b"".join(self._block(number) for number in range(first, last + 1))
        return blocks[start - first * BLOCK_BYTES :][:length]

    def _block(self, number: int) -> bytes:
        with self._lock:
            if number not in self._kept:
                start = number * BLOCK_BYTES
                self._kept[number] = self._source.read_at(start, min(BLOCK_BYTES, self.size - start))
            self._kept.move_to_end(number)
            while len(self._kept) > KEPT_BLOCKS:
                self._kept.popitem(last=False)
            return self._kept[number]


class Seekable(io.RawIOBase):
    """A byte range as a file, for the standard library and pyarrow."""

    def __init__(self, source: ByteRange) -> None:
        self._source, self._at = source, 0

    def seekable(self) -> bool:
        """Whether it can seek: it can."""
        return True

    def readable(self) -> bool:
        """Whether it can be read: it can."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, which may lie after the end. Raises ``OSError`` before the beginning."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise OSError(f"position {base + offset} lies before the beginning")
        self._at = base + offset
        return self._at

    def read(self, length: int | None = -1) -> bytes:
        """Read the next bytes; fewer at the end. Raises ``DataError``."""
        left = max(0, self._source.size - self._at)
        wanted = left if length is None or length < 0 else min(length, left)
        data = self._source.read_at(self._at, wanted) if wanted else b""
        self._at += len(data)
        return data
