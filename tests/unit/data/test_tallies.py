"""Sources with more kinds of files, or more containers, than a description lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_raw_sources import files, png, write_folder, write_tar
from watched_store import WatchedStore

from ganlib.cli.dataset_reports import counted
from ganlib.data import tallies
from ganlib.data.layout import describe_raw
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import begin_work, prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.tallies import REST_OF_CONTAINERS, REST_OF_KINDS, bounded_containers, bounded_kinds
from ganlib.data.versions import find_report
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore


def test_more_suffixes_than_a_description_lists_are_summed_up(store: WatchedStore, tmp_path: Path) -> None:
    bucket = MemoryStore()
    for number in range(10_001):
        bucket.put(f"{number}.kind{number}", b"x")
    bucket.put("another.kind7", b"x")
    bucket.put("a/1.png", png(1))
    added = add_dataset(store, "pets", "s3://b/p", open_store=lambda uri: bucket, scratch=tmp_path / "s")
    assert describe_raw(store, "pets").passed_over == added.passed_over
    assert sum(added.passed_over.values()) == 10_002
    assert len(added.passed_over) == tallies.MOST_KINDS
    assert (added.passed_over[".kind7"], added.passed_over[REST_OF_KINDS]) == (2, 10_002 - 1000)
    assert len(counted(added.passed_over)) < 1000


def test_more_containers_than_a_description_lists_are_summed_up_and_prepared_whole(
    store: WatchedStore,
    no_store: Callable[[str], ObjectStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tallies, "MOST_CONTAINERS", 3)
    content = list(files(60).items())
    folder = write_folder(tmp_path / "tars", {})
    folder.mkdir()

    def add(numbers: range) -> None:
        for number in numbers:
            write_tar(folder / f"{number}.tar", dict(content[10 * number : 10 * number + 10]), "w")
        add_dataset(store, "pets", str(folder), open_store=no_store, scratch=tmp_path / "scratch")

    def decoded() -> int:
        prepare(store, "pets", Preparation(size=8))
        key = begin_work(store, "pets", Preparation(size=8))[0].key
        report = find_report(store, "pets", key)
        assert report is not None
        assert report.pictures == len(content) if (folder / "5.tar").exists() else 50
        return report.decoded

    add(range(5))
    assert describe_raw(store, "pets").containers == {"0.tar": 10, "1.tar": 10, REST_OF_CONTAINERS: 30}
    assert decoded() == 50
    add(range(5, 6))
    assert sum(describe_raw(store, "pets").containers.values()) >= 60
    assert decoded() == 40, "those whose number is not known by itself are decoded again"


def test_containers_without_a_directory_are_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "MOST_CONTAINERS", 3)
    counts = {"a.zip": 1, "b.tar": 2, "c.zip": 3, "d.tar": 4}
    made = bounded_containers(counts, lambda name: name.endswith(".zip"))
    assert made == {"b.tar": 2, "d.tar": 4, REST_OF_CONTAINERS: 4}
    assert bounded_containers({**made, "e.tar": 5}, lambda name: False)[REST_OF_CONTAINERS] == 4 + 5


def test_few_names_stay_as_they_are_and_long_ones_do_not_fill_a_description(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert bounded_kinds({".txt": 3, "hidden": 1}) == {".txt": 3, "hidden": 1}
    monkeypatch.setattr(tallies, "_MOST_NAME_BYTES", 100)
    made = bounded_kinds({"." + "x" * 90: 2, "." + "y" * 90: 1})
    assert made == {"." + "x" * 90: 2, REST_OF_KINDS: 1}


def test_containers_of_earlier_adds_are_counted_once(
    store: WatchedStore, no_store: Callable[[str], ObjectStore], tmp_path: Path
) -> None:
    for name in ("one", "two", "one"):
        source = write_tar(tmp_path / f"{name}.tar", files(10))
        add_dataset(store, "pets", str(source), open_store=no_store, scratch=tmp_path / "scratch")
    assert describe_raw(store, "pets").containers == {"one.tar": 10, "two.tar": 10}
