from __future__ import annotations

import pytest
from made_versions import made_version
from watched_store import WatchedStore

from ganlib.data.data_card import data_card
from ganlib.data.preparation import Preparation, PreparationReport
from ganlib.records import DatasetVersion

REPORT = PreparationReport(
    digest="0" * 64,
    preparation=Preparation(size=8, fit="stretch"),
    pictures=9,
    counts={"train": {"a": 1, "<b>": 2}, "held_out": {"a": 0, "<b>": 1}},
    split_by="groups",
    held_out_groups=("p1", "p\n2"),
    copies=3,
    near_copies=4,
    refused_by_reason={"bomb": 1, "truncated": 2},
)


@pytest.fixture
def version(store: WatchedStore) -> DatasetVersion:
    return made_version(store, (3, 8, 8), ["a", "<b>"], {"train": [0, 1, 1], "held_out": [1]})


def test_a_card_has_everything_that_is_recorded(version: DatasetVersion) -> None:
    assert (
        data_card(version, REPORT, "CC-BY-4.0", sheet="sheet.png")
        == f"""# Dataset made

- digest: `{version.digest}`
- source: here
- licence: CC-BY-4.0
- pictures: 8 × 8 pixels, colour
- count: 3 to train on, 1 held out

Pictures of each class are in `sheet.png`, beside this file.

## Classes

- a: 1 to train on, 0 held out
- &lt;b>: 2 to train on, 1 held out

## Preparation

- scaled to 8 × 8 pixels: stretch, background `#ffffff`
- split by whole groups: no group has pictures on both sides
- held-out groups: 2: p1, p 2
- pictures in the source: 9
- refused: 2 truncated, 1 bomb
- exact copies left out: 3
- held-out pictures that look like one that is trained on: 4
"""
    )


def test_what_an_older_ganlib_did_not_record_is_said(version: DatasetVersion) -> None:
    for report in (None, PreparationReport(digest=version.digest)):
        card = data_card(version, report, "unknown")
        assert "How it was prepared is not recorded" in card
        assert "- a\n- &lt;b>\n" in card
    card = data_card(version, REPORT.model_copy(update={"counts": {}}), "unknown")
    assert "stretch" in card
    assert "the split are not recorded" in card
    assert "exact copies" not in card


def test_counts_that_are_not_the_versions_are_left_out(version: DatasetVersion) -> None:
    other = REPORT.model_copy(update={"counts": {"train": {"a": 2, "<b>": 2}, "held_out": {"<b>": 1}}})
    assert "- a\n- &lt;b>\n" in data_card(version, other, "unknown")


def test_of_many_classes_the_first_are_listed(store: WatchedStore) -> None:
    version = made_version(store, (1, 8, 8), [f"c{n}" for n in range(203)], {"train": [0]})
    card = data_card(version, None, "unknown")
    assert "- c199\n- … 3 more of 203\n" in card
    without = made_version(store, (1, 8, 8), [], {"train": [0]})
    assert "The pictures have no classes." in data_card(without, None, "unknown")
