"""A preparation by a job: what is done stays done when it dies, and the result is that of one process."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data import units
from ganlib.data.preparation import Preparation
from ganlib.data.preparation_task import remove_work
from ganlib.data.prepare import begin_work, prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.units import Unit
from ganlib.data.work import PreparationWork
from ganlib.errors import ConfigError, DataError
from ganlib.fakes.stores import MemoryStore
from ganlib.jobs import prepare_dataset, unit_decoding
from ganlib.jobs.unit_decoding import OnCluster, Tally, UnitDecoder, UnitProgress, waited_for
from ganlib.settings import load_settings

WAY = Preparation(size=8)
PICTURES = 60


class Died(Exception):
    """The job is gone."""


class InThisProcess(OnCluster):
    """Decodes as the cluster's processes do, and dies after some units."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__(workers=1)
        self.decoded: list[str] = []
        self.most = most

    def _decoded(self, work: PreparationWork, some: Sequence[Unit]) -> Iterator[UnitProgress]:
        decoder = UnitDecoder(work.name, work.preparation.to_json(), work.shape[0], work.key)
        for unit in some:
            if len(self.decoded) == self.most:
                raise Died
            row = decoder({"unit": unit.to_json()})
            if row["error"]:
                raise DataError(row["error"])
            self.decoded.append(row["name"])
            yield UnitProgress(row["name"], 0, True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    store = MemoryStore()
    folder = tmp_path / "pictures"
    for number in range(PICTURES):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        path = folder / ("cats" if number % 2 else "dogs") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        path.write_bytes(out.getvalue())
    add_dataset(store, "pets", str(folder), open_store=lambda uri: store, scratch=tmp_path / "scratch")
    monkeypatch.setattr(units, "UNIT_PICTURES", (10, 10))
    monkeypatch.setattr(unit_decoding, "open_store", lambda settings: store)
    return store


def test_what_a_dead_job_has_done_is_not_done_again(store: MemoryStore) -> None:
    first = InThisProcess(most=4)
    with pytest.raises(Died):
        prepare(store, "pets", WAY, decode=first)
    assert not [key for key in store.objects if key.endswith("manifest.json")]
    second, counted = InThisProcess(), []
    version = prepare(store, "pets", WAY, lambda done, total: counted.append((done, total)), decode=second)
    assert len(first.decoded) == 4
    assert len(second.decoded) == 2
    assert not set(first.decoded) & set(second.decoded)
    assert counted[-1] == (PICTURES, PICTURES)
    remove_work(store, "pets", begin_work(store, "pets", WAY)[0].key)
    assert not [key for key in store.objects if "/preparing/" in key]
    alone = MemoryStore()
    alone.objects = {key: data for key, data in store.objects.items() if key.startswith("raw/")}
    assert prepare(alone, "pets", WAY).digest == version.digest


@pytest.mark.parametrize("harm", ["altered", "shortened", "removed", "rows"])
def test_work_that_was_altered_in_the_store_is_done_again(
    store: MemoryStore, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Died):
        prepare(store, "pets", WAY, decode=InThisProcess(most=4))
    works = [key for key in store.objects if key.endswith(".parquet" if harm == "rows" else ".pixels")]
    for key in works[:2]:
        harmed = {"altered": store.get(key)[:-1] + b"x", "shortened": store.get(key)[:-1], "rows": b"PAR1"}
        if harm == "removed":
            store.delete(key)
        else:
            store.put(key, harmed[harm])
    second = InThisProcess()
    version = prepare(store, "pets", WAY, decode=second)
    assert len(second.decoded) == 4, "two that were not done, and two again"
    assert "decoded again" in caplog.text
    alone = MemoryStore()
    alone.objects = {key: data for key, data in store.objects.items() if key.startswith("raw/")}
    assert prepare(alone, "pets", WAY).digest == version.digest


def test_a_store_that_alters_what_it_keeps_ends_it(store: MemoryStore) -> None:
    put = store.put
    store.put = lambda key, data: put(key, data[:-1] + b"x" if key.endswith(".pixels") else data)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="and 5 more is gone or holds other pixels than were written; check"):
        prepare(store, "pets", WAY, decode=InThisProcess())
    assert not [key for key in store.objects if key.endswith("manifest.json")]


def test_several_processes_for_idx_files_are_refused_before_anything_is_made(
    store: MemoryStore, tmp_path: Path
) -> None:
    settings = load_settings({"GANLIB_HOME": str(tmp_path / "home")})

    def no_store(uri: str) -> MemoryStore:
        raise AssertionError(f"{uri} was opened")

    add_dataset(store, "digits", None, open_store=no_store, scratch=settings.scratch)
    before = dict(store.objects)

    def prepared(workers: int | None) -> object:
        return prepare_dataset.prepare_anywhere(
            settings,
            store,
            "digits",
            Preparation(size=8),
            progress=lambda done, total: None,
            on_line=print,
            most_refused=0.01,
            workers=workers,
        )

    with pytest.raises(ConfigError, match="--workers 2 cannot be used: dataset 'digits' is of IDX files"):
        prepared(2)
    assert store.objects == before
    assert prepared(0) == prepared(None)


class _Remote:
    """Calls a method as Ray's actor does, at once."""

    def __init__(self, method: Callable[..., object]) -> None:
        self.remote = method


class _Actor:
    def __init__(self, tally: Tally) -> None:
        self.tell = _Remote(tally.tell)


def test_pictures_are_counted_within_a_unit_and_none_twice_when_it_begins_anew(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "UNIT_PICTURES", (PICTURES, PICTURES))
    monkeypatch.setattr(unit_decoding, "_TELL_EVERY_SECONDS", 0.0)

    class Telling(OnCluster):
        def _decoded(self, work: PreparationWork, some: Sequence[Unit]) -> Iterator[UnitProgress]:
            [unit] = some
            tally = Tally()
            arguments = (work.name, work.preparation.to_json(), work.shape[0], work.key)
            UnitDecoder(*arguments, _Actor(tally))({"unit": unit.to_json()})
            assert tally.counts() == {unit.name: PICTURES}
            assert tally.counts() == {}
            for pictures in (20, 50, 5, 10, 55):  # its process died after 50
                yield UnitProgress(unit.name, pictures, False)
            yield UnitProgress(unit.name, 0, True)

    counted: list[int] = []
    prepare(store, "pets", WAY, lambda done, total: counted.append(done), decode=Telling(1))
    assert counted == [20, 50, 55, PICTURES]


def test_between_rows_that_take_long_one_is_told_so_and_errors_arrive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unit_decoding, "_ASK_EVERY_SECONDS", 0.001)
    ask_on = threading.Event()

    def rows() -> Iterator[dict[str, str]]:
        yield {"name": "a"}
        ask_on.wait(60)
        yield {"name": "b"}
        raise Died

    names: list[str | None] = []

    def read() -> None:
        for row in waited_for(rows()):
            names.append(None if row is None else row["name"])
            if names[-1] is None:
                ask_on.set()

    with pytest.raises(Died):
        read()
    assert [name for name in names if name] == ["a", "b"]
    assert None in names
