"""`ganlib dataset show`: a dataset's raw objects, classes and versions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from made_versions import made_version
from PIL import Image
from test_dataset_list import put_version
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.config.run import load_config
from ganlib.data.formats.entries import Refused
from ganlib.data.layout import RawDataset
from ganlib.data.licences import licence_of, stated_licence, with_licence
from ganlib.data.preparation import Preparation, PreparationReport
from ganlib.errors import ConfigError, DataError, UnknownName
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion, Shard, Split


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
        "licence": "unknown",
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
                "way": "the dataset (27 bytes) is kept whole on each node",
                "place": f"s3://pictures/datasets/flowers/{digest}/",
                "report": None,
            }
        ],
        "versions_left_out": 0,
        "reports_unread": [],
    }


def test_a_dataset_is_lines_and_a_table_for_people(store: MemoryStore) -> None:
    text = say("flowers")
    assert "3 files, 0.0 kB, in s3://pictures/raw/flowers/" in text
    assert "2 classes: roses 2, tulips 1" in text
    assert "no version yet; `ganlib dataset prepare flowers --size 32` makes one" in text
    digest = put_version(store, "flowers", 28)
    text = say("flowers")
    assert f"0.0 kB in s3://pictures/datasets/flowers/{digest}/" in text
    assert "1,234" in text


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("1GB", r"a run now: the dataset \(.*\) is kept whole on each node"),
        (
            "6MB",
            r"a run now: the dataset \(.*\) is larger than the cache's .*: streamed, 2 of 9 training shards",
        ),
        (
            "2MB",
            r"a run now: dataset flowers has 10,000,000 bytes, and GANLIB_CACHE_BYTES is 2,000,000: to be",
        ),
    ],
)
def test_the_way_that_a_run_would_take_is_shown(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, limit: str, said: str
) -> None:
    shards = tuple(
        Shard(path=f"shards/{at}.safetensors", split=split, images=9, bytes=10**6, sha256=f"{at}" * 64)
        for at, split in enumerate((*["train"] * 9, "held_out"))
    )
    digest = DatasetVersion.digest_for((3, 8, 8), (), shards)
    version = DatasetVersion(name="flowers", digest=digest, image_shape=(3, 8, 8), classes=(), shards=shards)
    store.put(f"{version.prefix}/manifest.json", version.to_json().encode())
    monkeypatch.setenv("GANLIB_CACHE_BYTES", limit)
    assert re.search(said, say("flowers"))


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


COUNTS: dict[Split, dict[str, int]] = {"train": {"roses": 3, "tulips": 2}, "held_out": {"tulips": 1}}
REPORT = PreparationReport(
    digest="0" * 64,
    preparation=Preparation(size=8, channels=3, fit="pad"),
    pictures=11,
    counts=COUNTS,
    split_by="groups",
    held_out_groups=("p001", "p\u202e002"),
    copies=2,
    near_copies=1,
    refused_by_reason={"truncated": 2, "bomb": 1},
    refused=(
        Refused(name="a/\x1b[2J.png", reason="truncated", detail="it ends\nearly"),
        Refused(name="[red]b.png", reason="bomb"),
    ),
)


@pytest.fixture
def reported(store: MemoryStore) -> DatasetVersion:
    labels: dict[Split, list[int]] = {"train": [0, 0, 0, 1, 1], "held_out": [1]}
    return made_version(store, (3, 8, 8), ["roses", "tulips"], labels, name="flowers", report=REPORT)


def test_a_report_is_told_and_given_to_programs(store: MemoryStore, reported: DatasetVersion) -> None:
    text = say("flowers")
    for line in (
        "licence unknown",
        f"version {reported.digest[:12]}",
        "prepared as 8 × 8 pixels, colour, pad, background #ffffff",
        "split by whole groups, 2 held out: p001, p\\u202e002",
        "11 pictures found: 3 refused, 2 exact copies left out, 1 held-out ones that look like one that is "
        "trained on",
        f"refused: 2 truncated, 1 bomb; ganlib dataset show flowers --version {reported.digest[:12]} "
        "--refused lists them",
    ):
        assert line in text.splitlines()
    assert "│ tulips │ 2           │ 1        │" in text
    (version,) = json.loads(say("flowers", "--json"))["versions"]
    assert version["report"] == REPORT.model_dump(mode="json", exclude={"digest"})
    assert version["report"]["counts"] == COUNTS


def test_refused_pictures_are_lines_that_do_nothing_to_a_terminal(
    store: MemoryStore, reported: DatasetVersion
) -> None:
    shown = reported.digest[:12]
    assert say("flowers", "--refused").splitlines() == [
        "a/\\x1b[2J.png\ttruncated\tit ends\\nearly",
        "[red]b.png\tbomb\t",
        f"version {shown}: 1 more were refused and are not listed",
    ]
    other = put_version(store, "flowers", 28)
    assert say("flowers", "--refused", "--version", other[:12]) == (
        f"version {other[:12]}: not recorded, an older ganlib made it\n"
    )
    with pytest.raises(ConfigError, match="give one of them"):
        say("flowers", "--refused", "--json")


def test_reports_that_are_damaged_or_lie_are_told(store: MemoryStore, reported: DatasetVersion) -> None:
    (key,) = [key for key in store.objects if "/prepared/" in key]
    store.put(key, store.objects[key].replace(b'"roses": 3', b'"roses": 4'))
    text = say("flowers")
    assert "the report has other counts than the manifest" in text
    assert "│ tulips" not in text
    store.put(key, b"{}")
    assert "a report cannot be read: " in say("flowers")
    assert "is not a PreparationReport" in json.loads(say("flowers", "--json"))["reports_unread"][0]
    assert "an older ganlib made it" in say("flowers")


def test_a_sheet_is_written_of_the_version_that_is_meant(
    store: MemoryStore, reported: DatasetVersion, tmp_path: Path
) -> None:
    out = tmp_path / "sheet.png"
    assert f"contact sheet of version {reported.digest[:12]} in {out}" in say("flowers", "--sheet", str(out))
    assert Image.open(out).format == "PNG"
    other = made_version(store, (1, 8, 8), [], {"train": [0]}, name="flowers")
    with pytest.raises(ConfigError, match="has 2 such versions"):
        say("flowers", "--sheet", str(out))
    before = out.read_bytes()
    say("flowers", "--sheet", str(out), "--version", other.digest[:12], "--json")
    assert out.read_bytes() != before
    with pytest.raises(ConfigError, match="in a folder that is there"):
        say("flowers", "--sheet", str(tmp_path / "none" / "s.png"), "--version", other.digest[:12])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_licences_are_those_of_the_recipes() -> None:
    assert stated_licence("fashion-mnist") == "MIT"
    assert stated_licence("flowers") == "unknown"


def test_the_licence_that_was_stated_when_it_was_added_is_shown(store: MemoryStore) -> None:
    described = RawDataset(format="pictures", sources=("x",), licence="CC-BY-4.0")
    store.put("raw/flowers/dataset.json", described.to_json().encode())
    assert "licence CC-BY-4.0" in say("flowers")
    assert json.loads(say("flowers", "--json"))["licence"] == "CC-BY-4.0"
    assert licence_of(store, "flowers", "MIT") == "MIT", "a configuration's own licence counts"
    config = load_config("digits-wgan", {"dataset.name": "flowers"})
    assert with_licence(store, config).dataset.licence == "CC-BY-4.0"
    assert with_licence(store, config).digest == config.digest
    store.put("raw/flowers/dataset.json", b"{")
    assert licence_of(store, "flowers") == "unknown"


@pytest.mark.parametrize("name", ["pets", "digits"])
def test_the_hint_of_an_unknown_dataset_names_it(name: str, store: MemoryStore) -> None:
    with pytest.raises(UnknownName, match=f"`ganlib dataset add {name}`"):
        say(name)


@pytest.mark.parametrize("name", ["No Name", "", "a/b"])
def test_the_hint_for_a_name_that_no_dataset_can_have_adds_nothing(name: str, store: MemoryStore) -> None:
    with pytest.raises(UnknownName, match="`ganlib dataset list` lists all"):
        say(name)
