"""Pictures in Parquet files, as Hugging Face's datasets are published.

The column of pictures is a struct of ``bytes`` and ``path``, or plain binary: the first that the file's own
description (the JSON under ``huggingface`` in its metadata) says to be an image, or else the first of
:data:`PICTURES` that is there. The label is the first of :data:`LABELS` that is there, or else the first that
the description says to be a class: a string, or an integer, which becomes the class's name where the
description lists the names. Other columns are not read.

A row is read at a time: in a dictionary-encoded column a row takes a few bytes of the file however long its
value is, so only the values of one row have a size that is bounded by the file's. The split of a file
is in its name (``train-00000-of-00002.parquet``); see :func:`ganlib.data.formats.containers.split_of`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ganlib.data.formats.entries import (
    BadName,
    ByteRange,
    Entry,
    Refused,
    check_label,
    check_name,
    shown_name,
)
from ganlib.data.formats.parquet_layout import (
    MAX_FOOTER_BYTES,
    Held,
    check_groups,
    check_pages,
    read_layout,
)
from ganlib.data.formats.parts import Seekable
from ganlib.errors import DataError

PICTURES = ("image", "img", "picture", "images", "bytes")
"""Names of the column of pictures, where the file does not describe itself."""

LABELS = ("label", "labels", "fine_label", "class", "target")
"""Names of the column of labels."""

MAX_DESCRIPTION = 4 * 2**20
"""Longest description in JSON, in bytes."""

MAX_CLASSES = 100_000
"""Most names of classes."""

_READ_AHEAD = 2**20
_MAX_STRUCTS = 100_000
_ERRORS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError)


class PictureColumns(NamedTuple):
    """The columns that are read."""

    picture: str
    nested: bool
    """Whether pictures are structs of bytes and path."""
    with_path: bool
    label: str
    """Empty: pictures have no label."""
    classes: tuple[str, ...]
    """Names of the classes by number; empty: the label is itself the name."""


def parquet_entries(source: ByteRange, largest: int) -> Iterator[Entry | Refused]:
    """The picture files in a Parquet file with their labels, in order.

    A picture's name is its row, and behind it the last part of its path where it has one:
    ``0000012-cat.png``.

    Args:
        source: The file.
        largest: Most bytes of a picture file.

    Raises:
        DataError: It is no Parquet file, is truncated, damaged or encrypted; it has no column of pictures;
            its description cannot be understood; a row group or page is too large (:mod:`.parquet_layout`).
    """
    groups = read_layout(source)
    held = Held(source)
    try:
        with pq.ParquetFile(
            pa.PythonFile(Seekable(held), mode="r"),
            buffer_size=_READ_AHEAD,
            pre_buffer=False,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=_MAX_STRUCTS,
            page_checksum_verification=True,
            arrow_extensions_enabled=False,
        ) as file:
            columns = _columns(source.what, file.schema_arrow)
            read = _leaves(columns)
            check_groups(source.what, groups, read)
            row = 0
            for number, group in enumerate(groups):
                chunks = [chunk for chunk in group.chunks if chunk.path in read]
                held.hold(chunks)
                for chunk in chunks:
                    check_pages(held, chunk)
                # Without threads: the file is one stream of Python's.
                for batch in file.iter_batches(1, row_groups=[number], columns=read, use_threads=False):
                    for at in range(batch.num_rows):
                        yield _entry(row, batch, at, columns, largest)
                        row += 1
    except _ERRORS as error:
        raise DataError(f"{source.what} cannot be read as a Parquet file: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return shown_name(" ".join(str(error).split())) or type(error).__name__


def _columns(what: str, schema: pa.Schema) -> PictureColumns:
    features = _features(what, schema.metadata or {})
    types = {field.name: field.type for field in schema}
    if len(types) != len(schema):
        raise DataError(f"{what} has two columns of one name; give each a name of its own")
    images = [name for name in features if features[name].get("_type") == "Image" and name in types]
    pictures = [name for name in (*images, *PICTURES) if name in types and _holds_bytes(types[name])]
    if not pictures:
        there = ", ".join(shown_name(name) for name in list(types)[:10])
        raise DataError(
            f"{what} has the columns {there}; pictures are looked for in {', '.join(PICTURES)}, as binary or "
            "as a struct with bytes. Rename the column, and store encoded pictures in it"
        )
    picture = next((name for name in PICTURES if name in images), pictures[0])
    classes = [name for name in features if features[name].get("_type") == "ClassLabel"]
    label = next((name for name in (*LABELS, *classes) if name in types and name != picture), "")
    if label and not (pa.types.is_integer(types[label]) or _is_text(types[label])):
        raise DataError(
            f"{what} has labels of type {shown_name(str(types[label]))} in {shown_name(label)}; integers and "
            "strings are accepted. Convert or drop the column"
        )
    names = _names(what, features[label]) if label in features else ()
    nested = pa.types.is_struct(types[picture])
    with_path = nested and types[picture].get_field_index("path") >= 0
    return PictureColumns(picture, nested, with_path, label, () if _is_text(types.get(label)) else names)


def _is_text(kind: pa.DataType | None) -> bool:
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind is not None and (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holds_bytes(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_binary(kind)
    return kind.get_field_index("bytes") >= 0 and _is_binary(kind.field("bytes").type)


def _features(what: str, metadata: dict[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """The columns as the file describes them itself; none where it does not."""
    text = metadata.get(b"huggingface")
    if text is None:
        return {}
    remedy = "Save it again, or drop the description huggingface from its metadata"
    if len(text) > MAX_DESCRIPTION:
        raise DataError(
            f"{what} describes itself in {len(text):,} bytes; at most {MAX_DESCRIPTION:,} are accepted. "
            f"{remedy}"
        )
    try:
        features = json.loads(text)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{what} has a description that cannot be understood ({type(error).__name__}). {remedy}"
        ) from error
    if not isinstance(features, dict):
        raise DataError(f"{what} has a description whose features are no object. {remedy}")
    return {name: kind for name, kind in features.items() if isinstance(kind, dict)}


def _names(what: str, feature: dict[str, Any]) -> tuple[str, ...]:
    names = feature.get("names", ())
    try:
        if not isinstance(names, list | tuple) or len(names) > MAX_CLASSES:
            raise BadName(f"a list of at most {MAX_CLASSES:,} names is expected")
        return tuple(check_label(name if isinstance(name, str) else "") for name in names)
    except BadName as error:
        raise DataError(f"{what} has names of classes that cannot be used: {error}. Save it again") from error


def _leaves(columns: PictureColumns) -> list[str]:
    """Paths of the columns to read, as pyarrow selects them."""
    if not columns.nested:
        pictures = [columns.picture]
    else:
        pictures = [f"{columns.picture}.bytes", *([f"{columns.picture}.path"] if columns.with_path else [])]
    return [*pictures, *([columns.label] if columns.label else [])]


def _entry(
    row: int, batch: pa.RecordBatch, at: int, columns: PictureColumns, largest: int
) -> Entry | Refused:
    name = f"{row:07d}"
    cell = batch.column(columns.picture)
    content = cell.field("bytes")[at] if columns.nested else cell[at]
    if columns.with_path and (path := cell.field("path")[at].as_py()):
        name = _named(name, path)
    if not content.is_valid or (columns.nested and not cell[at].is_valid):
        return Refused(name=name, reason="empty", detail="its bytes are not in the file")
    size = len(content.as_buffer())
    if size == 0:
        return Refused(name=name, reason="empty")
    if size > largest:
        return Refused(name=name, reason="too large", detail=f"{size:,} bytes")
    try:
        label = _label(batch.column(columns.label)[at].as_py(), columns) if columns.label else None
    except BadName as error:
        return Refused(name=name, reason="no label", detail=str(error))
    return Entry(name, size, content.as_py, label)


def _named(row: str, path: str) -> str:
    """A row's name with the last part of its path, where that can be a name."""
    try:
        return check_name(f"{row}-{check_name(path.lstrip('/')).rpartition('/')[2]}")
    except BadName:
        return row


def _label(value: Any, columns: PictureColumns) -> str | None:
    if value is None or (value == -1 and columns.classes):
        # Hugging Face marks pictures without a label by −1.
        return None
    if not columns.classes:
        return check_label(str(value))
    if not 0 <= value < len(columns.classes):
        raise BadName(f"its label is {value}, of {len(columns.classes)} classes")
    return columns.classes[int(value)]
