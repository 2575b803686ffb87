"""Rows of pictures that somebody else may have written."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganlib.data.formats.entries import ByteRange, Entry, ObjectRange, Refused
from ganlib.data.picture_rows import SCHEMA, RowBuilder, as_parquet, join_rows, read_rows
from ganlib.data.raw.contents import RawPicture
from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryStore


def in_store(data: bytes) -> ByteRange:
    store = MemoryStore()
    store.put("rows.parquet", data)
    (info,) = store.list("")
    return ObjectRange(store, info)


def picture(name: str) -> RawPicture:
    return RawPicture(name, name, "stamp", Entry(name, 1, lambda: b"x", "cat"))


def table() -> pa.Table:
    rows = RowBuilder()
    rows.add(picture("b.png"), bytes(32), 7, "f", 3)
    rows.refuse(picture("a.png"), Refused(name="a.png", reason="truncated", detail="cut"))
    return rows.table()


def changed(**columns: list[Any]) -> bytes:
    rows = table()
    for name, values in columns.items():
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(
            at, SCHEMA.field(name).with_nullable(True), pa.array(values, SCHEMA.field(name).type)
        )
    return as_parquet(rows)


def test_rows_come_back_as_they_were() -> None:
    assert read_rows(in_store(as_parquet(table()))).equals(table())
    assert read_rows(in_store(as_parquet(SCHEMA.empty_table()))).equals(SCHEMA.empty_table())


def test_of_equal_names_the_usable_picture_comes_first_and_the_refusals_stay() -> None:
    refusals = RowBuilder()
    for detail in ("one", "two"):
        refusals.refuse_unread(Refused(name="b.png", reason="duplicate name", detail=detail), "stamp")
    again = RowBuilder()
    again.add(picture("b.png"), bytes(32), 9, "g", 0)
    rows = join_rows([refusals.table(), table(), again.table()]).to_pylist()
    assert [(row["name"], row["reason"], row["hash"]) for row in rows] == [
        ("a.png", "truncated", None),
        ("b.png", None, 7),
        ("b.png", "duplicate name", None),
        ("b.png", "duplicate name", None),
    ]


@pytest.mark.parametrize(
    "columns",
    [
        {"reason": [None, "x"]},
        {"detail": ["", "x" * 401]},
        {"digest": [None, None]},
        {"hash": [None, None]},
        {"file": [None, None]},
        {"row": [-1, None]},
        {"name": ["b", None]},
        {"split": ["somewhere", None]},
    ],
    ids=lambda columns: next(iter(columns)),
)
def test_values_that_ganlib_does_not_write_are_refused(columns: dict[str, list[Any]]) -> None:
    with pytest.raises(DataError, match="values that ganlib does not write|cannot be read"):
        read_rows(in_store(changed(**columns)))


def test_a_text_that_stands_in_every_row_is_refused_before_it_is_large() -> None:
    rows = 4000
    columns = {field.name: pa.nulls(rows, field.type) for field in SCHEMA if field.nullable}
    columns |= {field.name: pa.array(["n"] * rows) for field in SCHEMA if not field.nullable}
    indices = pa.array([0] * rows, pa.int32())
    columns["detail"] = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 1_000_000]))
    out = io.BytesIO()
    pq.write_table(pa.table(columns).select(SCHEMA.names), out, compression="zstd")
    assert len(out.getvalue()) < 100_000
    with pytest.raises(DataError, match="unpacks to 4,000,012,000 bytes"):
        read_rows(in_store(out.getvalue()))


def test_other_columns_and_other_files_are_refused() -> None:
    with pytest.raises(DataError, match="no table of pictures"):
        read_rows(in_store(as_parquet(table().drop(["hash"]))))
    data = as_parquet(table())
    for broken in (b"nonsense", data[:-20], data[:50] + data[60:]):
        with pytest.raises(DataError, match="Remove it|damaged|truncated"):
            read_rows(in_store(broken))
