"""Tables of labels beside the pictures: sound, messy and hostile ones."""

from __future__ import annotations

import csv
import tracemalloc

import pytest

from ganlib.data.labelling import label_table
from ganlib.data.labelling.label_table import Columns, TableRow, checked_label, read_label_table
from ganlib.errors import DataError

ROWS = {"a.jpg": TableRow("cat", None), "x/b.jpg": TableRow("dog, large", None)}


@pytest.mark.parametrize(
    "data",
    [
        b'file,label\na.jpg,cat\nx/b.jpg,"dog, large"\n',
        b'\xef\xbb\xbf File ;LABEL\r\na.jpg;cat\r\n\r\nx\\b.jpg;"dog, large"',
        b'label\tnumber\tfile\ncat\t1\t./a.jpg\n"dog, large"\t2\t/x/b.jpg\n',
        'file,label\na.jpg,cat\nx/b.jpg,"dog, large"\n'.encode("utf-16"),
    ],
    ids=["comma", "semicolon", "tab", "UTF-16"],
)
def test_a_table_is_read_whatever_program_wrote_it(data: bytes) -> None:
    table = read_label_table(data, "labels.csv")
    assert table.rows == ROWS
    assert table.has_labels
    assert not table.has_groups
    assert table.refused is None


def test_columns_have_the_names_that_are_given() -> None:
    data = b"subject,classname,img\np002,c0,img_1.jpg\np012,c1,img_2.jpg\n"
    table = read_label_table(data, "list.csv", Columns("img", "classname", "subject"))
    assert table.rows == {"img_1.jpg": TableRow("c0", "p002"), "img_2.jpg": TableRow("c1", "p012")}
    only_groups = read_label_table(data, "list.csv", Columns("img", None, "subject"))
    assert only_groups.rows["img_2.jpg"] == TableRow(None, "p012")
    assert not only_groups.has_labels


def test_a_column_group_is_read_without_asking() -> None:
    assert read_label_table(b"file,label,Group\na,b,c\n", "t").rows == {"a": TableRow("b", "c")}


def test_a_field_may_have_line_breaks() -> None:
    table = read_label_table(b'file,text,label\na.jpg,"two\nlines",cat\nb.jpg,one,dog\n', "t")
    assert {path: row.label for path, row in table.rows.items()} == {"a.jpg": "cat", "b.jpg": "dog"}


def test_rows_that_cannot_be_used_are_counted_and_the_rest_is_read() -> None:
    rows = [
        b"good.jpg,cat",
        b"f.jpg,\"=cmd|' /C calc'!A0\"",
        b"f2.jpg,@SUM(A1)",
        b"f3.jpg,-2+3",
        b"minus.jpg,-1",
        b"nul.jpg,a\0b",
        b"n\0ul.jpg,cat",
        b"latin.jpg,caf\xe9",
        b"short.jpg",
        b",cat",
        b"none.jpg,",
        b'wrong.jpg,"a"b',
        b"long.jpg," + b"x" * 300,
        b"wide.jpg,cat" + b"," * 2000,
    ]
    table = read_label_table(b"file,label\n" + b"\n".join(rows), "t")
    assert {path: row.label for path, row in table.rows.items()} == {"good.jpg": "cat", "minus.jpg": "-1"}
    assert table.refused is not None
    assert sum(table.refused.values()) == len(rows) - 2
    assert table.refused["with a class that a spreadsheet would run as a formula"] == 3
    assert table.examples[0].line == 3
    assert len(table.refused) == 9


def test_only_the_first_refused_rows_are_kept() -> None:
    table = read_label_table(b"file,label\na,b\n" + b"c\n" * 500, "t")
    assert table.refused == {"fewer columns than the header": 500}
    assert len(table.examples) == label_table.SHOWN_ROWS


def test_rows_that_contradict_each_other_are_used_for_nothing() -> None:
    table = read_label_table(b"file,label\na,x\na,x\nb,x\nb,y\nb,x\n", "t")
    assert set(table.rows) == {"a"}
    assert table.contradicted == {"b"}


@pytest.mark.parametrize(
    "line",
    [
        b"a,b," + b"x" * 10_000_000,
        pytest.param(b'a,"b' + b"\nx,y" * 300_000, marks=pytest.mark.slow),
    ],
)
def test_a_line_without_end_takes_no_memory_and_loses_only_itself(line: bytes) -> None:
    data = b"file,label\n" + line + b"\n" + b"last,dog\n"
    tracemalloc.start()
    try:
        table = read_label_table(data, "t")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.rows["last"].label == "dog"
    assert table.refused is not None
    assert peak < 4 * 2**20


def test_an_unclosed_quote_ends_where_a_row_must_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_table, "MAX_ROW_CHARACTERS", 200)
    rows = b"".join(b"f%d,cat\n" % number for number in range(500))
    table = read_label_table(b'file,label\nbad,"cat\n' + rows, "t")
    assert sum((table.refused or {}).values()) == 1
    assert len(table.rows) > 450
    assert table.rows["f499"].label == "cat"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "needs each of file, label"),
        (b"name,class\na,b\n", "has the columns name, class"),
        (b"file,file,label\na,b,c\n", "once"),
        (b"file,label\n", "no usable row"),
        (b"file,label\na\n", "fewer columns"),
        (b"file,label" + b",x" * 2000 + b"\na,b\n", "2,002 columns; at most 1,024"),
        (b"c," * 1_000_000 + b"\na,b\n", "first line of more than"),
        (b"\x00\x01\x02" * 1000, "needs each of"),
    ],
)
def test_a_table_without_use_is_an_error_that_names_it(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=rf"^labels\.csv .*{words}"):
        read_label_table(data, "labels.csv")


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        ("MAX_TABLE_BYTES", 10, "at most 10 are accepted"),
        ("MAX_TABLE_ROWS", 2, "more than 2 rows"),
        ("MAX_CLASSES", 2, "more than 2 classes"),
    ],
)
def test_a_table_beyond_a_limit_is_refused(
    name: str, limit: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_table, name, limit)
    with pytest.raises(DataError, match=words):
        read_label_table(b"file,label\na,1\nb,2\nc,3\n", "t")


def test_the_longest_row_fits_into_a_field_of_the_csv_module() -> None:
    assert csv.field_size_limit() > label_table.MAX_ROW_CHARACTERS


def test_a_class_in_decomposed_letters_is_the_same_class() -> None:
    assert checked_label("u\u0308ber ", "class") == "über"
