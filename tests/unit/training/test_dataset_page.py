from __future__ import annotations

import io
from pathlib import Path

import pytest
from made_versions import made_version
from PIL import Image

from ganlib.data.cache import LocalDataset, pull
from ganlib.data.layout import RawDataset
from ganlib.errors import ServiceError
from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.ports import RunStart
from ganlib.training.dataset_page import CARD, SHEET, log_dataset


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def dataset(store: MemoryStore, tmp_path: Path) -> LocalDataset:
    labels = {"train": [0, 1, 1], "held_out": [1]}
    version = made_version(store, (3, 8, 8), "ab", labels, name="fashion-mnist")  # type: ignore[arg-type]
    return pull(store, version, tmp_path / "cache")


@pytest.fixture
def tracker() -> MemoryTracker:
    made = MemoryTracker()
    made.start(RunStart("e", "n", {}, {}, "fashion-mnist", "0" * 64, "s3://b/k"))
    return made


def test_a_run_carries_card_and_sheet(
    store: MemoryStore, dataset: LocalDataset, tracker: MemoryTracker
) -> None:
    said: list[str] = []
    log_dataset(store, tracker, "run-1", dataset, "unknown", said.append)
    made = tracker.runs["run-1"].artifacts
    assert said == []
    assert set(made) == {CARD, SHEET}
    assert Image.open(io.BytesIO(made[SHEET])).format == "PNG"
    card = made[CARD].decode()
    assert "`contact-sheet.png`" in card
    assert "licence: MIT" in card


def test_the_card_has_the_licence_that_was_stated_when_the_dataset_was_added(
    store: MemoryStore, dataset: LocalDataset, tracker: MemoryTracker
) -> None:
    described = RawDataset(format="pictures", sources=("x",), licence="CC-BY-4.0")
    store.put("raw/fashion-mnist/dataset.json", described.to_json().encode())
    log_dataset(store, tracker, "run-1", dataset, "unknown", print, with_sheet=False)
    assert "licence: CC-BY-4.0" in tracker.runs["run-1"].artifacts[CARD].decode()


def test_a_trial_has_the_card_alone(
    store: MemoryStore, dataset: LocalDataset, tracker: MemoryTracker
) -> None:
    log_dataset(store, tracker, "run-1", dataset, "CC0", print, with_sheet=False)
    made = tracker.runs["run-1"].artifacts
    assert set(made) == {CARD}
    assert "licence: CC0" in made[CARD].decode()
    assert "contact-sheet" not in made[CARD].decode()


def test_what_fails_is_told_and_ends_nothing(
    store: MemoryStore, dataset: LocalDataset, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    (dataset.folder / dataset.version.shards[0].path).unlink()
    log_dataset(store, tracker, "run-1", dataset, "unknown", said.append)
    assert set(tracker.runs["run-1"].artifacts) == {CARD}
    assert len(said) == 1
    assert said[0].startswith("warning: the run shows no card or contact sheet of its dataset: DataError: ")

    def fail(prefix: str) -> None:
        raise ServiceError("s3", "memory", "GANLIB_S3_ENDPOINT_URL", "went away")

    monkeypatch.setattr(store, "list", fail)
    log_dataset(store, tracker, "run-1", dataset, "unknown", said.append)
    assert "went away" in said[1]
