"""`ganlib dataset show`: a dataset's raw objects, classes and versions."""

from __future__ import annotations

import json

import pytest
from test_dataset_list import put_version
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.data.layout import RawDataset
from ganlib.errors import DataError, UnknownName
from ganlib.fakes.stores import MemoryStore


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr("ganlib.storage.open_store", lambda _: made)
    monkeypatch.setenv("GANLIB_S3_BUCKET", "pictures")
    described = RawDataset(format="pictures", sources=("./flowers",), classes=("roses", "tulips"))
    made.put("raw/flowers/dataset.json", described.to_json().encode())
    for key in ("roses/a.png", "roses/b.jpg", "tulips/a.png"):
        made.put(f"raw/flowers/{key}", b"0123456789")
    return made


def say(*words: str) -> str:
    return CliRunner().invoke(app, ["dataset", "show", *words], catch_exceptions=False).stdout


def test_a_dataset_is_values_for_programs(store: MemoryStore) -> None:
    digest = put_version(store, "flowers", 28, ("roses", "tulips"))
    assert json.loads(say("flowers", "--json")) == {
        "dataset": "flowers",
        "format": "pictures",
        "sources": ["./flowers"],
        "raw": {
            "objects": 3,
            "bytes": 30,
            "classes": {"roses": 2, "tulips": 1},
            "place": "s3://pictures/raw/flowers/",
        },
        "versions": [
            {
                "version": digest,
                "pictures": 1290,
                "train": 1234,
                "held_out": 56,
                "classes": 2,
                "shape": [3, 28, 28],
                "problem": None,
                "bytes": 27,
                "place": f"s3://pictures/datasets/flowers/{digest}/",
            }
        ],
        "versions_left_out": 0,
    }


def test_a_dataset_is_lines_and_a_table_for_people(store: MemoryStore) -> None:
    text = say("flowers")
    assert "3 pictures, 0.0 kB, in s3://pictures/raw/flowers/" in text
    assert "2 classes: roses 2, tulips 1" in text
    assert "no version yet; `ganlib dataset prepare flowers --size 32` makes one" in text
    digest = put_version(store, "flowers", 28)
    text = say("flowers")
    assert f"0.0 kB in s3://pictures/datasets/flowers/{digest}/" in text
    assert "1,234" in text


def test_idx_files_have_classes_without_counts_and_many_classes_are_cut(store: MemoryStore) -> None:
    described = RawDataset(
        format="idx", sources=("here",), classes=tuple(f"c{number}" for number in range(50))
    )
    store.put("raw/digits/dataset.json", described.to_json().encode())
    text = say("digits")
    assert "50 classes: c0, c1," in text
    assert "c39, …" in text
    assert json.loads(say("digits", "--json"))["raw"]["classes"]["c49"] is None


def test_what_is_not_there_or_not_whole_is_told(store: MemoryStore) -> None:
    with pytest.raises(UnknownName, match="there is no dataset 'flower'; close to it: flowers"):
        say("flower")
    store.put("raw/half/a.png", b"0")
    with pytest.raises(DataError, match="adding it was interrupted"):
        say("half")
