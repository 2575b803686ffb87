"""Pictures in Parquet files as Hugging Face's datasets are published, sound and hostile ones."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from byte_sources import entries, stored

from ganlib.data.formats import parquet, parquet_layout
from ganlib.data.formats.entries import Entry, FileRange, Refused
from ganlib.data.formats.parquet import parquet_entries
from ganlib.data.formats.thrift import BadThrift, CompactReader
from ganlib.errors import DataError

LARGEST = 10_000
PICTURES = [bytes([i]) * (i + 1) for i in range(30)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": ["cat", "dog ", "Wölfe"]},
}


def images(pictures: list[bytes | None] = PICTURES) -> pa.Array:  # type: ignore[assignment]
    rows = [{"bytes": data, "path": f"photos/{i}.png"} for i, data in enumerate(pictures)]
    return pa.array(rows, IMAGE)


def written(columns: dict[str, Any], features: Any = None, text: bytes = b"", **how: Any) -> bytes:
    table = pa.table(columns)
    if features is not None:
        text = json.dumps({"info": {"features": features}}).encode()
    if text:
        table = table.replace_schema_metadata({"huggingface": text})
    out = io.BytesIO()
    pq.write_table(table, out, **how)
    return out.getvalue()


def read(data: bytes) -> list[Entry]:
    return entries(parquet_entries(stored(data), LARGEST))


LABELLED = {"image": images(), "label": pa.array([i % 3 for i in range(30)])}


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"row_group_size": 7},
        {"compression": "zstd", "use_dictionary": False},
        {"data_page_version": "2.0", "write_page_checksum": True},
    ],
    ids=["one-group", "groups", "zstd", "version-2"],
)
def test_pictures_and_named_classes_are_read_in_order(how: dict[str, Any], tmp_path: Path) -> None:
    data = written(LABELLED, FEATURES, **how)
    path = tmp_path / "train-00000-of-00001.parquet"
    path.write_bytes(data)
    for source in (FileRange.open(path), stored(data)):
        found = entries(parquet_entries(source, LARGEST))
        assert [entry.read() for entry in found] == PICTURES
        assert [entry.size for entry in found] == [len(picture) for picture in PICTURES]
        assert [entry.label for entry in found[:4]] == ["cat", "dog", "Wölfe", "cat"]
        assert [entry.name for entry in found[:2]] == ["0000000-0.png", "0000001-1.png"]
        assert all(entry.pixels is None for entry in found)


@pytest.mark.parametrize(
    ("columns", "features", "expected"),
    [
        ({"img": images(), "fine_label": pa.array([5] * 30), "coarse_label": pa.array([1] * 30)}, None, "5"),
        ({"image": pa.array(PICTURES), "label": pa.array(["a"] * 30)}, None, "a"),
        ({"image": pa.array(PICTURES, pa.large_binary()), "label": pa.array(["a"] * 30)}, None, "a"),
        ({"image": images(), "label": pa.array(["x"] * 30).dictionary_encode()}, None, "x"),
        ({"image": images(), "note": pa.array([0] * 30)}, None, None),
        (
            {"note": pa.array([b"no"] * 30), "photo": images(), "kind": pa.array([1] * 30)},
            {"photo": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["p", "q"]}},
            "q",
        ),
        ({"image": images(), "label": pa.array(["a"] * 30)}, FEATURES, "a"),
    ],
    ids=["cifar", "binary", "large-binary", "dictionary", "unlabelled", "described", "text-label"],
)
def test_columns_are_found(columns: dict[str, Any], features: Any, expected: str | None) -> None:
    found = read(written(columns, features))
    assert [entry.read() for entry in found] == PICTURES
    assert found[0].label == expected


def test_rows_without_a_picture_or_class_are_refused_and_the_rest_is_read() -> None:
    pictures = [b"good", None, b"", b"x" * 20_000, b"good", b"good", b"good"]
    columns = {"image": images(pictures), "label": pa.array([0, 0, 0, 0, 7, -1, None])}
    found = list(parquet_entries(stored(written(columns, FEATURES)), LARGEST))
    assert [(entry.name, entry.reason) for entry in found if isinstance(entry, Refused)] == [
        ("0000001-1.png", "empty"),
        ("0000002-2.png", "empty"),
        ("0000003-3.png", "too large"),
        ("0000004-4.png", "no label"),
    ]
    made = [(entry.name, entry.label) for entry in found if isinstance(entry, Entry)]
    assert made == [("0000000-0.png", "cat"), ("0000005-5.png", None), ("0000006-6.png", None)]


@pytest.mark.parametrize("path", ["../../etc/passwd", "a\x00b", "/", "", "x" * 2000, "C:\\x.png"])
def test_a_path_that_must_not_become_a_name_does_not(path: str) -> None:
    rows = pa.array([{"bytes": b"x", "path": path}], IMAGE)
    assert [entry.name for entry in read(written({"image": rows}))] == ["0000000"]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"{", "JSONDecodeError"),
        (b"\xff\xfe", "cannot be understood"),
        (b"[1]", "TypeError"),
        (b"[" * 100_000, "RecursionError"),
        (b'{"info": {}}', "KeyError"),
        (b'{"info": {"features": [1]}}', "no object"),
        (b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": 3}}}}', "list of at most"),
        (b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a\\nb"]}}}}', "control"),
        (b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": [{}]}}}}', "empty"),
        (b" " * (parquet.MAX_DESCRIPTION + 1), "4,194,305 bytes"),
    ],
)
def test_a_description_that_cannot_be_understood_is_an_error(text: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read(written(LABELLED, text=text))


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"a": pa.array([1]), "b": pa.array([2])}, "has the columns a, b; pictures are looked for in image"),
        ({"image": pa.array(["text"])}, "stored|store encoded"),
        ({"image": pa.array([[b"x"]])}, "store encoded"),
        ({"image": images([b"x"]), "label": pa.array([0.5])}, "labels of type double"),
        ({"image": images([b"x"]), "label": pa.array([[1]])}, "labels of type list"),
        ({"image": images([])}, "0 rows"),
    ],
)
def test_a_table_without_pictures_is_an_error_with_a_remedy(columns: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        read(written(columns))


def test_a_large_row_group_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_layout, "MAX_ROW_GROUP_BYTES", 50_000)
    rng = np.random.default_rng(0)
    pictures: list[bytes | None] = [rng.bytes(9_000) for _ in range(10)]
    assert len(read(written({"image": images(pictures)}, row_group_size=4))) == 10
    with pytest.raises(DataError, match="90,.* bytes in row group 0.*row_group_size=100"):
        read(written({"image": images(pictures)}))


def test_one_value_in_many_rows_is_in_memory_once() -> None:
    # A dictionary holds it once in the file; a batch of all rows would hold it 60 times.
    picture = np.random.default_rng(0).bytes(2**20)
    data = written({"image": pa.array([picture] * 60)}, dictionary_pagesize_limit=2**22)
    assert len(data) < 2**21
    before = pa.total_allocated_bytes()
    most = 0
    for entry in parquet_entries(stored(data), 2**21):
        assert isinstance(entry, Entry)
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 16 * 2**20


WHOLE = written(LABELLED, FEATURES, row_group_size=10)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no Parquet file"),
        (b"PAR1PAR1", "no Parquet file"),
        (WHOLE[:-1], "truncated"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (WHOLE[:-8] + struct.pack("<I", 2**31) + b"PAR1", "footer of 2,147,483,648"),
        (WHOLE[:-8] + struct.pack("<I", 5) + b"PAR1", "damaged footer"),
        (b"PAR1" + bytes(100) + struct.pack("<I", 100) + b"PAR1", "damaged footer"),
        (WHOLE[:-4] + b"PARE", "encrypted"),
    ],
)
def test_a_file_that_is_truncated_or_lies_is_an_error(data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read(data)


def test_an_encoding_that_a_few_bytes_make_large_is_refused() -> None:
    data = written(LABELLED, use_dictionary=False, column_encoding={"image.bytes": "DELTA_BYTE_ARRAY"})
    with pytest.raises(DataError, match=r"column image\.bytes is in encoding 7; PLAIN.*Save it again"):
        read(data)


def test_a_page_that_unpacks_to_more_than_is_accepted_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = written({"image": pa.array([bytes(60_000)])}, compression="zstd")
    assert len(read_large := list(parquet_entries(stored(data), 2**20))) == 1
    assert isinstance(read_large[0], Entry)
    monkeypatch.setattr(parquet_layout, "MAX_PAGE_BYTES", 50_000)
    with pytest.raises(DataError, match="a page of 60,004 bytes"):
        list(parquet_entries(stored(data), 2**20))


def test_a_footer_that_contradicts_itself_is_refused_before_pyarrow_sees_it() -> None:
    # pyarrow ends the process when a row group has other columns than the schema.
    reader = CompactReader(footer := WHOLE[-8 - struct.unpack("<I", WHOLE[-8:-4])[0] : -8])
    described = reader.struct()
    assert reader.at == len(footer)
    assert described[3] == 30
    assert [len(group[1]) for group in described[4]] == [3, 3, 3]
    # The first list of columns: its head says three structs.
    at = WHOLE.index(b"\x19\x3c\x26", len(WHOLE) - len(footer) - 8)
    with pytest.raises(DataError, match="damaged footer"):
        read(WHOLE[: at + 1] + b"\x2c" + WHOLE[at + 2 :])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "ends early"),
        (b"\x15", "ends early"),
        (b"\x15" + b"\xff" * 20, "too long"),
        (b"\x18\xff\xff\xff\xff\x07", "ends early"),
        (b"\x19\xfc\xff\xff\xff\xff\x07", "announces 2,147,483,647 values"),
        (b"\x1b\xff\xff\xff\xff\x07\x55", "announces 2,147,483,647 values"),
        (b"\x1d\x00", "type 13"),
        (b"\x1c" * 100, "too deep"),
        (b"\x19" * 100, "too deep|type|ends early|announces"),
        (b"\x19\xf3\x90\x4e" + bytes(10_000), "too many values"),
    ],
)
def test_thrift_that_lies_is_an_error(data: bytes, match: str) -> None:
    with pytest.raises(BadThrift, match=match):
        CompactReader(data, most=1000).struct()


@pytest.mark.parametrize("value", [0x19, 0x1B, 0x1C, 0x18, 0x11, 0x16])
def test_a_field_of_another_type_is_an_error(value: int) -> None:
    # The first fields of the first page's header and of the footer, each with every other type.
    footer = len(WHOLE) - 8 - struct.unpack("<I", WHOLE[-8:-4])[0]
    errors = 0
    for at in (*range(4, 30), *range(footer, footer + 120)):
        damaged = WHOLE[:at] + bytes([value]) + WHOLE[at + 1 :]
        try:
            list(parquet_entries(stored(damaged), LARGEST))
        except DataError:
            errors += 1
    assert errors > 20
