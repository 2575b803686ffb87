"""NumPy's ``.npy`` files, read in blocks as a stream, with nothing in the header believed.

A header is read by ganlib itself: NumPy's own reader takes as many bytes as a header announces before it
looks at its limit, and builds whatever type the header names.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ganlib.errors import DataError

MAGIC = b"\x93NUMPY"

BLOCK_BYTES = 4 * 2**20
"""Bytes of an array that are read at once, or one item where an item is larger."""

MAX_HEADER_BYTES = 10_000
"""Longest header; NumPy's own limit."""

MAX_FORTRAN_BYTES = 256 * 2**20
"""Largest array in Fortran's order. Its pictures lie interleaved, so it is read as a whole."""

_MAX_DIMENSIONS = 8
_PLAIN_TYPES = re.compile(r"[<>|=]?(b1|[ui][1248]|f[248]|[US][1-9]\d{0,2})")
_LITERAL_ERRORS = (SyntaxError, ValueError, TypeError, MemoryError, RecursionError)


class Readable(Protocol):
    """A stream that is read once from its beginning."""

    def read(self, length: int, /) -> bytes:
        """Read the next bytes; fewer at the end. Raises ``DataError``."""
        ...


@dataclass(frozen=True)
class NpyArray:
    """An array whose header has been checked, with its values still in the file."""

    what: str
    """Names it in messages."""
    dtype: np.dtype[Any]
    """Booleans, integers, floats, or strings of a fixed length."""
    shape: tuple[int, ...]
    """Each at least 1, but the first, which may be 0."""
    fortran: bool
    """Whether the first index runs fastest."""
    _header_bytes: int
    _open: Callable[[], Readable]

    @property
    def item_bytes(self) -> int:
        """Bytes of an item along the first axis, as stored."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def blocks(self) -> Iterator[NDArray[Any]]:
        """The values in order along the first axis, in blocks of about :data:`BLOCK_BYTES`: [k, …].

        Raises:
            DataError: The file ends early, is damaged, or is a large array in Fortran's order.
        """
        stream = self._open()
        exactly(stream, self._header_bytes, self.what)
        count = max(1, BLOCK_BYTES // self.item_bytes)
        starts = range(0, self.shape[0], count)
        if self.fortran and len(self.shape) > 1:
            whole = self._interleaved(stream)
            for start in starts:
                yield np.ascontiguousarray(whole[start : start + count])
            return
        for start in starts:
            size = min(count, self.shape[0] - start)
            data = exactly(stream, size * self.item_bytes, self.what)
            yield np.frombuffer(data, self.dtype).reshape(size, *self.shape[1:])

    def _interleaved(self, stream: Readable) -> NDArray[Any]:
        total = self.shape[0] * self.item_bytes
        if total > MAX_FORTRAN_BYTES:
            raise DataError(
                f"{self.what} is stored in Fortran's order and has {total:,} bytes; at most "
                f"{MAX_FORTRAN_BYTES:,} are accepted so. Save numpy.ascontiguousarray(…) of it"
            )
        values = np.frombuffer(exactly(stream, total, self.what), self.dtype)
        return values.reshape(self.shape, order="F")


def exactly(stream: Readable, length: int, what: str) -> bytes:
    """The next ``length`` bytes. Raises ``DataError`` when there are fewer."""
    parts: list[bytes] = []
    missing = length
    while missing:
        part = stream.read(missing)
        if not part:
            raise DataError(f"{what} is truncated: {missing:,} more bytes are announced")
        parts.append(part)
        missing -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def open_npy(what: str, size: int, open_stream: Callable[[], Readable]) -> NpyArray:
    """Read and check the header of an array.

    Args:
        what: Names it in messages.
        size: Bytes of the whole file.
        open_stream: Opens it at its beginning; called again for each reading of the values.

    Raises:
        DataError: It is no ``.npy`` file; it holds Python objects, records or another type that is not
            accepted; its header cannot be understood; or its size is not that which the header announces.
    """
    header_bytes, text = _header(what, open_stream())
    dtype, fortran, shape = _understood(what, text)
    announced = header_bytes + math.prod(shape) * dtype.itemsize
    if announced != size:
        raise DataError(
            f"{what} has {size:,} bytes, but its header announces {dtype} {list(shape)}, which takes "
            f"{announced:,}: it is {'truncated' if size < announced else 'damaged'}. Save it again"
        )
    return NpyArray(what, dtype, shape, fortran, header_bytes, open_stream)


def _header(what: str, stream: Readable) -> tuple[int, str]:
    """The length of everything before the values, and the header's text."""
    begin = exactly(stream, 8, what)
    if not begin.startswith(MAGIC):
        raise DataError(f"{what} is no .npy file: it begins with {begin.hex(' ')}")
    if (version := begin[6]) not in (1, 2, 3):
        raise DataError(f"{what} has version {version} of the .npy format; 1 to 3 are accepted")
    width = 2 if version == 1 else 4
    length = int.from_bytes(exactly(stream, width, what), "little")
    if length > MAX_HEADER_BYTES:
        raise DataError(
            f"{what} announces a header of {length:,} bytes; at most {MAX_HEADER_BYTES:,} are accepted. "
            "Save a plain array of numbers"
        )
    text = exactly(stream, length, what).decode("utf-8" if version == 3 else "latin-1", "replace")
    return len(begin) + width + length, text


def _understood(what: str, text: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    try:
        # NumPy writes no backslash, and for a wrong one Python would print a warning.
        header = None if "\\" in text else ast.literal_eval(text.strip())
    except _LITERAL_ERRORS as error:
        raise DataError(f"{what} has a header that cannot be understood. Save it again") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise DataError(f"{what} has a header without descr, fortran_order and shape. Save it again")
    descr, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if isinstance(descr, str) and "O" in descr:
        raise DataError(
            f"{what} holds Python objects, which only pickle reads, and pickle can run programs. Save a "
            "plain array: numpy.stack(list(x)).astype('uint8')"
        )
    if not isinstance(descr, str) or not _PLAIN_TYPES.fullmatch(descr):
        shown = str(descr)[:80]
        raise DataError(
            f"{what} has values of type {shown!r}; integers, floats and strings are accepted. Convert it, "
            "for example by x.astype('uint8')"
        )
    if type(fortran) is not bool or type(shape) is not tuple or len(shape) > _MAX_DIMENSIONS:
        raise DataError(f"{what} has a header with a wrong fortran_order or shape. Save it again")
    if any(type(side) is not int or not 0 <= side < 2**48 for side in shape) or 0 in shape[1:]:
        raise DataError(f"{what} announces the shape {str(shape)[:80]}. Save an array that is not empty")
    return np.dtype(descr), fortran, shape
