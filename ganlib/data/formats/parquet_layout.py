"""Where the columns of a Parquet file lie and how large they are, checked before pyarrow reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ganlib.data.formats.entries import ByteRange, check_range
from ganlib.data.formats.idx import MAX_ITEMS
from ganlib.data.formats.thrift import BadThrift, CompactReader
from ganlib.errors import DataError

MAGIC = b"PAR1"

MAX_ROW_GROUP_BYTES = 2**30
"""Most unpacked bytes of a row group in the columns that are read."""

MAX_PAGE_BYTES = 2**28
"""Most unpacked bytes of a page, the part of a column that is in memory at once."""

MAX_FOOTER_BYTES = 16 * 2**20
"""Largest footer, which describes the columns and row groups."""

_HEADER_BYTES, _LONGEST_HEADER = 2**12, 2**20
_HELD_BYTES = 64 * 2**20
_DICTIONARY_PAGE, _DATA_PAGES = 2, {0: 5, 3: 8}
"""Types of pages; for pages of data the number of the field with their own header."""
_ENCODINGS = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 5: "DELTA_BINARY_PACKED", 8: "RLE_DICTIONARY"}
"""Encodings that a few bytes cannot make large: what pyarrow, and so Hugging Face, write unasked."""


_WRONG_TYPES = (ValueError, KeyError, TypeError, IndexError, AttributeError)
"""Raised where a description has other types, or fewer fields, than it must have; BadThrift is one."""


class Chunk(NamedTuple):
    """A column of a row group."""

    path: str
    start: int
    packed: int
    """Bytes in the file."""
    unpacked: int
    values: int


class RowGroup(NamedTuple):
    """A row group."""

    rows: int
    chunks: tuple[Chunk, ...]


def read_layout(source: ByteRange) -> tuple[RowGroup, ...]:
    """The row groups, as the footer describes them.

    Raises:
        DataError: It is no Parquet file, is truncated, damaged or encrypted, has no rows or too many; or the
            footer is too large, cannot be understood, or contradicts itself.
    """
    footer, end = _footer(source)
    try:
        described = CompactReader(footer).struct()
        leaves = _leaves(described[2])
        groups = tuple(_group(group, leaves, end) for group in described.get(4, []))
        rows = int(described[3])
    except _WRONG_TYPES as error:
        raise DataError(f"{source.what} has a damaged footer: {error or type(error).__name__}") from error
    if not 0 < rows <= MAX_ITEMS:
        raise DataError(f"{source.what} has {rows:,} rows; 1 to {MAX_ITEMS:,} are accepted")
    if sum(group.rows for group in groups) != rows:
        raise DataError(f"{source.what} has {rows:,} rows, but not its row groups: it is damaged")
    return groups


def _footer(source: ByteRange) -> tuple[bytes, int]:
    """The footer and where it begins."""
    if source.size < 12 or source.read_at(0, 4) != MAGIC:
        raise DataError(f"{source.what} is no Parquet file: it does not begin with PAR1")
    end = source.read_at(source.size - 8, 8)
    if end[4:] == b"PARE":
        raise DataError(f"{source.what} is encrypted; save it without encryption")
    if end[4:] != MAGIC:
        raise DataError(f"{source.what} is truncated: it does not end with PAR1")
    size = int.from_bytes(end[:4], "little")
    if size > min(MAX_FOOTER_BYTES, source.size - 12):
        raise DataError(
            f"{source.what} announces a footer of {size:,} bytes and has {source.size:,}; at most "
            f"{MAX_FOOTER_BYTES:,} are accepted"
        )
    start = source.size - 8 - size
    return source.read_at(start, size), start


def _leaves(elements: list[dict[int, Any]]) -> list[tuple[list[bytes], int]]:
    """Path and type of each column: the leaves of the tree that the schema lists from its root on."""
    leaves: list[tuple[list[bytes], int]] = []
    # Each open branch: its path, and how many of its children are still to come.
    branches: list[tuple[list[bytes], int]] = [([], 1)]
    for element in elements:
        while branches and branches[-1][1] == 0:
            branches.pop()
        if not branches:
            raise BadThrift("its schema goes on after its end")
        path, left = branches.pop()
        branches.append((path, left - 1))
        own = [*path, element[4]] if len(branches) > 1 else []
        children = element.get(5, 0)
        if children < 0 or len(branches) > 20:
            raise BadThrift("its schema is no tree, or too deep")
        if children or len(branches) == 1:
            branches.append((own, children))
        else:
            leaves.append((own, element[1]))
    if any(left for _, left in branches):
        raise BadThrift("its schema ends early")
    return leaves


def _group(group: dict[int, Any], leaves: list[tuple[list[bytes], int]], end: int) -> RowGroup:
    columns = group[1]
    if len(columns) != len(leaves):
        raise BadThrift(f"a row group has {len(columns)} columns, the schema {len(leaves)}")
    if not 0 <= group[3] <= MAX_ITEMS:
        raise BadThrift(f"a row group has {group[3]:,} rows")
    chunks = []
    for column, (path, kind) in zip(columns, leaves, strict=True):
        about = column[3]
        if about[3] != path or about[1] != kind:
            raise BadThrift("a row group's columns are not those of the schema")
        dictionary = about.get(11, 0)
        start = min(dictionary, about[9]) if dictionary > 0 else about[9]
        packed, unpacked = about[7], about[6]
        if min(start, packed, unpacked, about[5]) < 0 or start + packed > end:
            raise BadThrift("a column lies outside of the file")
        chunks.append(Chunk(b".".join(path).decode("utf-8", "replace"), start, packed, unpacked, about[5]))
    return RowGroup(group[3], tuple(chunks))


def check_groups(what: str, groups: Iterable[RowGroup], read: list[str]) -> None:
    """Refuse row groups that are too large in the columns to read. Raises ``DataError``."""
    for number, group in enumerate(groups):
        chunks = [chunk for chunk in group.chunks if chunk.path in read]
        if any(chunk.values != group.rows for chunk in chunks):
            raise DataError(f"{what} has a column without a value for each row: it is damaged or nested")
        if (size := sum(chunk.unpacked for chunk in chunks)) > MAX_ROW_GROUP_BYTES:
            raise DataError(
                f"{what} has {size:,} bytes in row group {number}; at most {MAX_ROW_GROUP_BYTES:,} are "
                "accepted. Save it with smaller ones: pyarrow.parquet.write_table(…, row_group_size=100)"
            )


def check_pages(source: ByteRange, chunk: Chunk) -> None:
    """Refuse pages that are too large, or not what the footer says, by their headers.

    Raises:
        DataError: A page is larger than :data:`MAX_PAGE_BYTES`, or all are together than
            :data:`MAX_ROW_GROUP_BYTES`; it is damaged, or in an encoding that is not accepted.
    """
    at, end, values, total = chunk.start, chunk.start + chunk.packed, 0, 0
    what = f"{source.what}: column {chunk.path}"
    while values < chunk.values:
        header, length = _page_header(source, at, end, what)
        try:
            unpacked, packed = header[2], header[3]
            own = header[7 if header[1] == _DICTIONARY_PAGE else _DATA_PAGES[header[1]]]
            count, encoding = own[1], own[4 if header[1] == 3 else 2]
            known = encoding in _ENCODINGS
            sound = min(unpacked, packed, count) >= 0 and at + length + packed <= end
        except _WRONG_TYPES as error:
            raise DataError(f"{what} has a page whose header is damaged") from error
        total += unpacked
        if not sound or unpacked > MAX_PAGE_BYTES or total > MAX_ROW_GROUP_BYTES:
            raise DataError(
                f"{what} has a page of {unpacked:,} bytes, {packed:,} packed; it is damaged, or larger than "
                f"the {MAX_PAGE_BYTES:,} that are accepted. Save it again with pyarrow"
            )
        if not known:
            raise DataError(
                f"{what} is in encoding {encoding}; {', '.join(_ENCODINGS.values())} are accepted. Save it "
                "again with pyarrow"
            )
        if header[1] == _DICTIONARY_PAGE:
            # A value of a dictionary takes a byte at least.
            if count > unpacked:
                raise DataError(f"{what} has a dictionary of {count:,} values in {unpacked:,} bytes")
        else:
            values += count
        at += length + packed
    if values != chunk.values:
        raise DataError(f"{what} has {values:,} values, but the footer says {chunk.values:,}: it is damaged")


def _page_header(source: ByteRange, at: int, end: int, what: str) -> tuple[dict[int, Any], int]:
    for most in (_HEADER_BYTES, _LONGEST_HEADER):
        data = source.read_at(at, min(most, max(0, end - at)))
        reader = CompactReader(data, most=1000)
        try:
            return reader.struct(), reader.at
        except BadThrift as error:
            problem = error
    raise DataError(f"{what} has a page whose header is damaged: {problem}") from problem


@dataclass
class Held:
    """A byte range of which one part is in memory, so that pages are looked at and read in one request."""

    source: ByteRange
    _start: int = 0
    _data: bytes = b""

    @property
    def what(self) -> str:
        """The source's path or key."""
        return self.source.what

    @property
    def size(self) -> int:
        """Bytes of the source."""
        return self.source.size

    def hold(self, chunks: list[Chunk]) -> None:
        """Fetch the part in which these columns lie, where it is not too large, and forget the one before."""
        start = min(chunk.start for chunk in chunks)
        length = max(chunk.start + chunk.packed for chunk in chunks) - start
        self._data = b""
        if length <= _HELD_BYTES:
            self._start, self._data = start, self.source.read_at(start, length)

    def read_at(self, start: int, length: int) -> bytes:
        """Read exactly this part, from memory where it is there. Raises ``DataError``."""
        check_range(self, start, length)
        at = start - self._start
        if at >= 0 and at + length <= len(self._data):
            return self._data[at : at + length]
        return self.source.read_at(start, length)
