"""Tables of a source are looked at within bounds, and those that are not are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_raw_sources import files, png, write_folder, write_zip
from watched_store import WatchedStore

from ganlib.cli.dataset_reports import print_added
from ganlib.data.raw import source_tables
from ganlib.data.raw.add import AddedDataset, add_dataset
from ganlib.ports import ObjectStore

Add = Callable[..., AddedDataset]

PICTURES = {f"{number:02}.png": png(number) for number in range(10)}
TABLE = "\n".join(["file,label", *(f"{name},c{at % 2}" for at, name in enumerate(PICTURES))]).encode()


@pytest.fixture
def add(store: WatchedStore, no_store: Callable[[str], ObjectStore], tmp_path: Path) -> Add:
    def run(source: Path, name: str = "pets") -> AddedDataset:
        return add_dataset(store, name, str(source), open_store=no_store, scratch=tmp_path / "scratch")

    return run


@pytest.mark.parametrize("inside", [False, True])
def test_the_table_that_counts_is_found_behind_many_others(add: Add, tmp_path: Path, inside: bool) -> None:
    others = {f"notes-{number:03}.csv": b"a,b\n1,2\n" for number in range(40)}
    content = PICTURES | others | {"z.csv": TABLE}
    source = write_zip(tmp_path / "a.zip", content) if inside else write_folder(tmp_path / "f", content)
    added = add(source)
    assert added.by_class == {"c0": 5, "c1": 5}
    assert (added.unused_tables, added.tables_not_looked_at) == (40, 0)


def test_tables_have_bytes_in_common_and_those_beyond_are_named(
    add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source_tables, "MOST_TABLE_BYTES", len(TABLE) + 100)
    folder = write_folder(tmp_path / "f", PICTURES | {"labels.csv": TABLE})
    for number in range(3):
        write_zip(
            folder / f"{number}.zip", {"more.csv": b"x,y\n" + b"0,1\n" * 20, f"z{number}.csv": b"1" * 90}
        )
    added = add(folder)
    assert added.by_class == {"c0": 5, "c1": 5}
    assert added.unused_tables == 1
    beyond = ("0.zip/z0.csv", "1.zip/more.csv", "1.zip/z1.csv", "2.zip/more.csv", "2.zip/z2.csv")
    assert added.first_tables_not_looked_at == beyond
    print_added(added, replaced=False, size=8)
    assert "5 tables not looked at: 0.zip/z0.csv, 1.zip/more.csv," in capsys.readouterr().out


def test_no_more_tables_are_looked_at_than_the_limit_and_those_at_the_top_come_first(
    add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_tables, "MOST_TABLES", 2)
    notes = {f"a/{number}.csv": b"x\n1\n" for number in range(30)}
    added = add(write_folder(tmp_path / "f", PICTURES | notes | {"labels.csv": TABLE}))
    assert added.by_class == {"c0": 5, "c1": 5}
    assert (added.unused_tables, added.tables_not_looked_at) == (1, 29)
    assert added.first_tables_not_looked_at[:2] == ("a/1.csv", "a/10.csv")


def test_tables_that_are_too_deep_or_empty_are_passed_over(add: Add, tmp_path: Path) -> None:
    content = files(4) | {"a/b/deep.csv": TABLE, "empty.csv": b""}
    added = add(write_folder(tmp_path / "f", content))
    assert (added.passed_over, added.unused_tables) == ({".csv": 2}, 0)
