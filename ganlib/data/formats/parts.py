"""A byte range seen otherwise: a part of it, or a file that libraries can seek in."""

from __future__ import annotations

import io
from dataclasses import dataclass

from ganlib.data.formats.entries import ByteRange, check_range


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
