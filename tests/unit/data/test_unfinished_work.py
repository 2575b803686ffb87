"""Work of interrupted preparations is removed when it fits no more and nobody is at work on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_versions import made_version
from test_raw_sources import files, write_folder
from typer.testing import CliRunner
from watched_store import WatchedStore

from ganlib.cli.main import app
from ganlib.data.preparation import Preparation
from ganlib.data.preparation_task import PreparationTask, write_preparation_task
from ganlib.data.prepare import begin_work
from ganlib.data.raw.add import add_dataset
from ganlib.data.unfinished_work import outdated_work
from ganlib.errors import ServiceError
from ganlib.ports import ObjectStore


@pytest.fixture
def keys(
    store: WatchedStore,
    no_store: Callable[[str], ObjectStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Keys of three preparations: of fewer pictures than there are now, two; and of those of now."""
    monkeypatch.setattr("ganlib.storage.open_store", lambda _: store)
    made = []
    for count, sizes in ((10, (8, 16)), (12, (8,))):
        source = write_folder(tmp_path / "f", files(count))
        add_dataset(store, "made", str(source), open_store=no_store, scratch=tmp_path / "s")
        for size in sizes:
            way = Preparation(size=size)
            key = begin_work(store, "made", way)[0].key
            write_preparation_task(
                store, PreparationTask(name="made", key=key, preparation=way, most_refused=0.01)
            )
            store.put(f"datasets/made/preparing/{key}/{'0' * 16}-0000.pixels", b"x" * 1000)
            made.append(key)
    made_version(store, (1, 8, 8), "ab", {"train": [0, 1], "held_out": [1]}, name="made")
    return made


def left(store: WatchedStore) -> set[str]:
    return {key.split("/")[3] for key in store.objects if key.startswith("datasets/made/preparing/")}


def verify(*words: str) -> str:
    return CliRunner().invoke(app, ["dataset", "verify", "made", *words], catch_exceptions=False).stdout


def test_work_that_fits_no_more_is_told_and_removed_when_asked_for(
    store: WatchedStore, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("ganlib.cluster.launch.is_running", lambda _, job: asked.append(job) or False)
    assert "2 interrupted preparations of other raw pictures left" in verify()
    assert (left(store), asked) == (set(keys), [])
    assert "removed what 2 of 2 interrupted preparations" in verify("--discard")
    assert left(store) == {keys[2]}, "what fits is taken up again"
    assert sorted(asked) == sorted(f"prepare-made-{key[:16]}" for key in keys[:2])
    assert "interrupted" not in verify("--discard")


def test_work_that_a_job_is_at_stays(
    store: WatchedStore, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganlib.cluster.launch.is_running", lambda _, job: job.endswith(keys[0][:16]))
    assert "removed what 1 of 2" in verify("--discard")
    assert left(store) == {keys[0], keys[2]}


def test_work_stays_where_the_cluster_cannot_be_asked(
    store: WatchedStore, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(settings: object, job: str) -> bool:
        raise ServiceError("ray", "http://nowhere", "GANLIB_RAY_ADDRESS", "no answer")

    monkeypatch.setattr("ganlib.cluster.launch.is_running", silent)
    assert "stays: whether a job is at work on it cannot be asked" in verify("--discard").replace("\n", " ")
    assert left(store) == set(keys)


def test_work_without_a_task_or_a_dataset_fits_nothing(store: WatchedStore, keys: list[str]) -> None:
    store.delete(f"datasets/made/preparing/{keys[2]}/task.json")
    assert {work.key for work in outdated_work(store, "made")} == set(keys)
