"""`ganlib dataset list`: versions in numbers, for people and for programs."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.data import summary
from ganlib.data.layout import RawDataset
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion, Shard


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr("ganlib.storage.open_store", lambda _: made)
    for name in ("digits", "flowers"):
        described = RawDataset(format="pictures", sources=("here",))
        made.put(f"raw/{name}/dataset.json", described.to_json().encode())
    return made


def put_version(store: MemoryStore, name: str, size: int, classes: tuple[str, ...] = ()) -> str:
    shape = (3, size, size)
    shards = tuple(
        Shard(path=f"shards/{key * 64}.safetensors", split=split, images=images, bytes=9, sha256=key * 64)
        for key, split, images in (("a", "train", 1200), ("b", "train", 34), ("c", "held_out", 56))
    )
    digest = DatasetVersion.digest_for(shape, classes, shards)
    version = DatasetVersion(name=name, digest=digest, image_shape=shape, classes=classes, shards=shards)
    store.put(f"{version.prefix}/manifest.json", version.to_json().encode())
    return digest


def say(*words: str) -> str:
    result = CliRunner().invoke(app, ["dataset", "list", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_versions_have_numbers_for_programs(store: MemoryStore) -> None:
    digest = put_version(store, "digits", 28, ("0", "1", "2"))
    version = {"version": digest, "pictures": 1290, "train": 1234, "held_out": 56, "problem": None}
    assert json.loads(say("--json")) == [
        {
            "dataset": "digits",
            "versions": [{**version, "classes": 3, "shape": [3, 28, 28]}],
            "versions_left_out": 0,
        },
        {"dataset": "flowers", "versions": [], "versions_left_out": 0},
    ]


def test_versions_have_a_row_each_for_people(store: MemoryStore) -> None:
    digests = [put_version(store, "digits", size) for size in (28, 32)]
    lines = say().splitlines()
    for digest, size in zip(digests, (28, 32), strict=True):
        (line,) = (line for line in lines if digest[:12] in line)
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        assert cells == ["digits", digest[:12], "1,234", "56", "0", f"3 × {size} × {size}"]
    assert any("flowers" in line and "none" in line for line in lines)


def test_a_damaged_version_hides_no_other(store: MemoryStore) -> None:
    whole = put_version(store, "digits", 28)
    store.put(f"datasets/digits/{'f' * 64}/manifest.json", b"{}")
    found = {version["version"]: version for version in json.loads(say("--json"))[0]["versions"]}
    assert found[whole]["pictures"] == 1290
    assert [found["f" * 64][name] for name in ("pictures", "classes", "shape")] == [None] * 3
    assert "is not a DatasetVersion" in found["f" * 64]["problem"]
    assert "digits ffffffffffff cannot be read" in say()


def test_reading_is_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted(put_version(store, "digits", size) for size in (28, 32))
    monkeypatch.setattr(summary, "MOST_VERSIONS", 1)
    (digits, _) = json.loads(say("--json"))
    assert [version["version"] for version in digits["versions"]] == [first]
    assert digits["versions_left_out"] == 1
    assert "digits: 1 more, not read" in say()
    monkeypatch.setattr(summary, "MAX_JSON_BYTES", 10)
    fetched: list[str] = []
    monkeypatch.setattr(store, "get", fetched.append)
    assert "at most 10 are read" in json.loads(say("--json"))[0]["versions"][0]["problem"]
    assert fetched == []
    assert second not in say()


def test_without_datasets_programs_get_an_empty_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganlib.storage.open_store", lambda _: MemoryStore())
    assert json.loads(say("--json")) == []
    assert "there is no dataset yet" in say()
