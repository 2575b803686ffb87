"""A table with a row for each raw picture: what it is, and where its prepared pixels lie.

The decoders fill one for their share of the pictures, and the one of all of them is stored beside a
version, so that the next preparation decodes only what is new. Classes and groups are not in it: they follow
from the paths, by rules that may change while the pixels stay.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ganlib.data.formats.entries import MAX_DETAIL, ByteRange, Reason, Refused
from ganlib.data.formats.parquet_layout import check_groups, check_pages, read_layout
from ganlib.data.formats.parts import ReadAhead, Seekable
from ganlib.data.raw.contents import RawPicture
from ganlib.errors import DataError

MAX_ROWS_BYTES = 2**30
"""Largest file of rows that is read, and most bytes that its columns may unpack to; 4 million rows fit."""

DIGEST_BYTES = 32

_TEXTS = ["name", "path", "stamp", "label", "split", "reason", "detail", "file"]

# Usable pictures come before refused ones of the same name.
_BY_NAME = [("name", "ascending", "at_start"), ("reason", "ascending", "at_start")]

SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("label", pa.string()),  # the class that the picture's own container gives it
        pa.field("split", pa.string()),  # the side that its container puts it on
        pa.field("reason", pa.string()),  # why it is refused; null: it is not
        pa.field("detail", pa.string()),
        pa.field("digest", pa.binary(DIGEST_BYTES)),  # SHA-256 of the prepared pixels; null where refused
        pa.field("hash", pa.uint64()),  # perceptual
        pa.field("file", pa.string()),  # the file of pixels
        pa.field("row", pa.int64()),  # position in that file, in pictures
    ]
)


_COLUMNS = [(field.name, field.type) for field in SCHEMA]


@dataclass
class RowBuilder:
    """Collects rows as columns."""

    columns: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in SCHEMA.names})

    def __len__(self) -> int:
        return len(self.columns["name"])

    def add(self, picture: RawPicture, digest: bytes, perceptual_hash: int, file: str, row: int) -> None:
        """Add a picture that was decoded."""
        self._append(picture, digest=digest, hash=perceptual_hash, file=file, row=row)

    def refuse(self, picture: RawPicture, refused: Refused) -> None:
        """Add a picture that cannot be used."""
        self._append(picture, reason=refused.reason, detail=refused.detail)

    def refuse_unread(self, refused: Refused, stamp: str) -> None:
        """Add a picture that its container refused by name or size."""
        self._fill(
            {"name": refused.name, "path": refused.name, "stamp": stamp}
            | {"reason": refused.reason, "detail": refused.detail}
        )

    def table(self) -> pa.Table:
        """The rows so far."""
        return pa.table(self.columns, schema=SCHEMA)

    def _append(self, picture: RawPicture, **values: object) -> None:
        own = {"label": picture.entry.label, "split": picture.split}
        self._fill({"name": picture.name, "path": picture.path, "stamp": picture.stamp} | own | values)

    def _fill(self, values: Mapping[str, object]) -> None:
        for name, column in self.columns.items():
            column.append(values.get(name))


def join_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows, in the order of their names; of usable ones with one name the first."""
    rows = pa.concat_tables([SCHEMA.empty_table(), *tables])
    rows = rows.take(pc.sort_indices(rows, sort_keys=_BY_NAME))
    if len(rows) < 2:
        return rows
    names = rows["name"].combine_chunks()
    other = pc.not_equal(names.slice(1), names.slice(0, len(names) - 1))
    first = pa.concat_arrays([pa.array([True]), other])
    return rows.filter(pc.or_(first, pc.is_valid(rows["reason"])))


def digests_of(rows: pa.Table) -> NDArray[np.uint8]:
    """The digests of rows of decoded pictures: uint8 [n, 32]."""
    column = rows["digest"].combine_chunks()
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    values = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    start = array.offset * DIGEST_BYTES
    return values[start : start + len(array) * DIGEST_BYTES].reshape(len(array), DIGEST_BYTES)


def digest_order(digests: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The positions that sort pictures by digest, and equal ones by label: int64 [n]."""
    words = np.ascontiguousarray(digests).view(">u8")
    return np.lexsort((labels, words[:, 3], words[:, 2], words[:, 1], words[:, 0])).astype(np.int64)


def as_parquet(rows: pa.Table) -> bytes:
    """Rows as a Parquet file."""
    out = io.BytesIO()
    pq.write_table(rows, out, compression="zstd")
    return out.getvalue()


def read_rows(source: ByteRange) -> pa.Table:
    """Rows from a Parquet file that anybody may have written.

    Raises:
        DataError: It is none, has other columns, values that no decoder writes, or is larger than
            :data:`MAX_ROWS_BYTES`, packed or unpacked.
    """
    if source.size > MAX_ROWS_BYTES:
        raise DataError(
            f"{source.what} has {source.size:,} bytes; at most {MAX_ROWS_BYTES:,} are read. Remove it"
        )
    ahead = ReadAhead(source)
    try:
        with pq.ParquetFile(
            pa.PythonFile(Seekable(ahead), mode="r"), read_dictionary=_TEXTS, pre_buffer=False
        ) as file:
            if [(field.name, _plain(field.type)) for field in file.schema_arrow] != _COLUMNS:
                raise DataError(f"{source.what} is no table of pictures of this version of ganlib. Remove it")
            if file.metadata.num_rows == 0:
                return SCHEMA.empty_table()
            groups = read_layout(ahead)
            check_groups(source.what, groups, SCHEMA.names)
            for chunk in (chunk for group in groups for chunk in group.chunks):
                check_pages(ahead, chunk)
            rows = file.read(use_threads=False)
            rows.validate(full=True)
            _check_texts(rows, source.what)
            rows = rows.cast(SCHEMA)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{source.what} cannot be read as a table of pictures: {error}. Remove it") from error
    _check_values(rows, source.what)
    return rows


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_texts(rows: pa.Table, what: str) -> None:
    """Refuse texts that a few bytes of dictionary would make large. Raises ``DataError``."""
    unpacked = 0
    for column in (rows[name] for name in _TEXTS):
        for chunk in column.chunks:
            lengths = pc.binary_length(chunk.dictionary).take(chunk.indices)
            unpacked += pc.sum(lengths).as_py() or 0
    if unpacked > MAX_ROWS_BYTES:
        raise DataError(
            f"{what} unpacks to {unpacked:,} bytes; at most {MAX_ROWS_BYTES:,} are read. Remove it"
        )


def _check_values(rows: pa.Table, what: str) -> None:
    """Refuse values that no decoder writes. Raises ``DataError``."""
    reasons = pa.array(get_args(Reason), pa.string())
    usable = rows.filter(pc.is_null(rows["reason"]))
    wrong = (
        sum(usable[name].null_count for name in ("digest", "hash", "file", "row"))
        + _count(pc.invert(pc.is_in(rows["reason"].drop_null(), reasons)))
        + _count(pc.greater(pc.utf8_length(rows["detail"]), MAX_DETAIL))
        + _count(pc.invert(pc.is_in(rows["split"].drop_null(), pa.array(["train", "held_out"]))))
        + _count(pc.less(usable["row"], 0))
    )
    if wrong:
        raise DataError(f"{what} has {wrong:,} values that ganlib does not write. Remove it")


def _count(flags: pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)
