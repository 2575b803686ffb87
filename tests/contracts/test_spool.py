"""What a spooled tracker promises beyond the protocol: it waits for nobody and loses nothing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganlib.errors import RequestRefused, ServiceError
from ganlib.fakes.stores import MemoryTracker
from ganlib.ports import RunStart, RunTracker
from ganlib.settings import Settings
from ganlib.tracking import journal
from ganlib.tracking.spool import SpooledTracker

PICTURE = np.full((4, 4), 7, np.uint8)
QUICK = (0.01, 0.05)


class Moody(MemoryTracker):
    """A tracker whose service can be down, silent, or refuse one metric."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.answers = threading.Event()
        self.answers.set()
        self.tries = 0
        self.tried = threading.Condition()
        self.requests = 0

    def points(self, run_id, points) -> None:
        self._serve()
        for _, values in points:
            if "refused" in values:
                raise RequestRefused("mlflow", "memory", "GANLIB_MLFLOW_URI", "that metric has a bad name")
        super().points(run_id, points)
        self.requests += 1

    def image(self, run_id, key, step, image) -> None:
        self._serve()
        super().image(run_id, key, step, image)

    def artifact(self, run_id, path, data) -> None:
        self._serve()
        super().artifact(run_id, path, data)

    def describe(self, run_id, markdown) -> None:
        self._serve()
        super().describe(run_id, markdown)

    def finish(self, run_id, status) -> None:
        self._serve()
        super().finish(run_id, status)

    def wait_for_tries(self, count: int) -> None:
        with self.tried:
            assert self.tried.wait_for(lambda: self.tries >= count, timeout=10)

    def _serve(self) -> None:
        self.answers.wait()
        with self.tried:
            self.tries += 1
            self.tried.notify_all()
        if self.down:
            raise ServiceError("mlflow", "memory", "GANLIB_MLFLOW_URI", "it is down")


def log_a_little(tracker: RunTracker, run_id: str) -> int:
    tracker.metrics(run_id, 10, {"loss": 1.0})
    tracker.metrics(run_id, 20, {"loss": 2.0})
    tracker.image(run_id, "samples", 20, PICTURE)
    tracker.artifact(run_id, "report.txt", b"text")
    tracker.describe(run_id, "# Text")
    tracker.finish(run_id, "finished")
    return 6


def assert_a_little(tracker: MemoryTracker, run_id: str) -> None:
    run = tracker.runs[run_id]
    assert run.metrics == {"loss": [(10, 1.0), (20, 2.0)]}
    assert run.images["samples", 20].tolist() == PICTURE.tolist()
    assert run.artifacts == {"report.txt": b"text"}
    assert run.description == "# Text"
    assert run.status == "finished"


def test_all_is_sent_in_order_and_nothing_stays_on_disk(run_start: RunStart, tmp_path: Path) -> None:
    backend = Moody()
    spooled = SpooledTracker(backend, tmp_path)
    run_id = spooled.start(run_start)
    log_a_little(spooled, run_id)
    assert spooled.close(10) == 0
    assert_a_little(backend, run_id)
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_a_service_that_is_silent(run_start: RunStart, tmp_path: Path) -> None:
    backend = Moody()
    spooled = SpooledTracker(backend, tmp_path)
    run_id = spooled.start(run_start)
    backend.answers.clear()  # from here on a call that waited for the service would never return
    for step in range(200):
        spooled.metrics(run_id, step, {"loss": float(step)})
    spooled.image(run_id, "samples", 0, PICTURE)
    assert spooled.close(0.2) == 201
    backend.answers.set()


def test_a_service_that_comes_back_gets_everything_with_few_requests(
    run_start: RunStart, tmp_path: Path
) -> None:
    backend = Moody()
    spooled = SpooledTracker(backend, tmp_path, pause_seconds=QUICK)
    run_id = spooled.start(run_start)
    backend.down = True
    for step in range(1000):
        spooled.metrics(run_id, step, {"loss": float(step)})
    backend.wait_for_tries(3)
    backend.down = False
    assert spooled.close(10) == 0
    assert backend.runs[run_id].metrics["loss"] == [(step, float(step)) for step in range(1000)]
    assert backend.requests <= 4


def test_what_is_refused_for_good_is_given_up_alone(
    run_start: RunStart, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = Moody()
    spooled = SpooledTracker(backend, tmp_path)
    run_id = spooled.start(run_start)
    backend.answers.clear()
    for step in range(10):
        spooled.metrics(run_id, step, {"refused" if step == 5 else "loss": 1.0})
    backend.answers.set()
    assert spooled.close(10) == 0
    assert [step for step, _ in backend.runs[run_id].metrics["loss"]] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert "bad name" in caplog.text


def test_what_is_left_at_the_end_is_said_and_sent_by_the_next(run_start: RunStart, tmp_path: Path) -> None:
    backend = Moody()
    spooled = SpooledTracker(backend, tmp_path, pause_seconds=QUICK)
    run_id = spooled.start(run_start)
    backend.down = True
    count = log_a_little(spooled, run_id)
    assert spooled.close(0.3) == count
    backend.down = False
    assert SpooledTracker(backend, tmp_path).close(10) == 0
    assert_a_little(backend, run_id)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_was_sent_is_not_sent_again(run_start: RunStart, tmp_path: Path) -> None:
    backend = Moody()
    spooled = SpooledTracker(backend, tmp_path, pause_seconds=QUICK)
    run_id = spooled.start(run_start)
    spooled.artifact(run_id, "first", b"1")
    backend.wait_for_tries(1)
    backend.down = True
    spooled.artifact(run_id, "second", b"2")
    assert spooled.close(0.2) == 1
    backend.runs[run_id].artifacts.clear()
    backend.down = False
    assert SpooledTracker(backend, tmp_path).close(10) == 0
    assert backend.runs[run_id].artifacts == {"second": b"2"}


def test_a_finish_left_behind_does_not_end_a_run_that_goes_on(run_start: RunStart, tmp_path: Path) -> None:
    backend = Moody()
    first = SpooledTracker(backend, tmp_path, pause_seconds=QUICK)
    run_id = first.start(run_start)
    backend.down = True
    first.metrics(run_id, 10, {"loss": 1.0})
    first.finish(run_id, "failed")
    assert first.close(0.1) == 2
    backend.down = False
    second = SpooledTracker(backend, tmp_path)
    assert second.start(run_start) == run_id
    second.metrics(run_id, 20, {"loss": 2.0})
    assert second.close(10) == 0
    assert backend.runs[run_id].status is None
    assert backend.runs[run_id].metrics == {"loss": [(10, 1.0), (20, 2.0)]}


def test_two_at_once_do_not_take_each_others_entries(run_start: RunStart, tmp_path: Path) -> None:
    backend = Moody()
    one = SpooledTracker(backend, tmp_path, pause_seconds=QUICK)
    run_id = one.start(run_start)
    backend.down = True
    one.artifact(run_id, "one", b"1")
    two = SpooledTracker(backend, tmp_path, pause_seconds=QUICK)
    two.artifact(run_id, "two", b"2")
    assert two.close(0.1) == 1
    assert one.close(0.1) == 1
    backend.down = False
    assert SpooledTracker(backend, tmp_path).close(10) == 0
    assert backend.runs[run_id].artifacts == {"one": b"1", "two": b"2"}


def log_and_die(folder: str, run_id: str) -> None:
    backend = Moody()
    backend.down = True
    log_a_little(SpooledTracker(backend, Path(folder)), run_id)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_one(folder: Path, run_id: str) -> None:
    child = multiprocessing.get_context("spawn").Process(target=log_and_die, args=(str(folder), run_id))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("removed", [False, True])
def test_a_journal_that_is_taken_over_as_it_is_made_is_made_again(
    removed: bool, run_start: RunStart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts at the same moment may find the new file before it is locked."""
    taken: list[Path] = []
    thieves: list[journal.Journal] = []
    connect = sqlite3.connect

    def late(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **keywords)
        if not taken:
            [path] = tmp_path.glob("*.sqlite")
            taken.append(path)
            [thief] = journal.take_over(tmp_path)
            thieves.append(thief)
            if removed:
                thief.remove()
        return connection

    monkeypatch.setattr("ganlib.tracking.journal.sqlite3.connect", late)
    backend = MemoryTracker()
    run_id = backend.start(run_start)
    spooled = SpooledTracker(backend, tmp_path)
    spooled.metrics(run_id, 1, {"loss": 1.0})
    assert spooled.close(10) == 0
    assert len(taken) == 1
    assert backend.runs[run_id].metrics["loss"] == [(1, 1.0)]
    if not removed:
        thieves[0].remove()


def test_what_a_killed_process_leaves_is_sent_by_the_next(run_start: RunStart, tmp_path: Path) -> None:
    backend = MemoryTracker()
    run_id = backend.start(run_start)
    kill_one(tmp_path, run_id)
    [log] = tmp_path.glob("*.sqlite-wal")
    with log.open("ab") as file:  # as if the last write had been cut short
        file.write(log.read_bytes()[-100:])
    assert SpooledTracker(backend, tmp_path).close(10) == 0
    assert_a_little(backend, run_id)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_journal_is_put_aside_and_the_others_are_sent(
    run_start: RunStart, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backend = MemoryTracker()
    run_id = backend.start(run_start)
    kill_one(tmp_path, run_id)
    (tmp_path / "0-damaged.sqlite").write_bytes(b"no database" * 1000)
    with contextlib.closing(sqlite3.connect(tmp_path / "1-damaged.sqlite")) as database:
        database.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, kind, run, fields, data)")
        database.executemany(
            "INSERT INTO entries (kind, run, fields) VALUES ('metrics', 'r', ?)", [("{}" * 2000,)] * 9
        )
        database.commit()
    with (tmp_path / "1-damaged.sqlite").open("r+b") as file:  # a page in its middle
        file.seek(4096)
        file.write(b"\xff" * 4096)
    assert SpooledTracker(backend, tmp_path).close(10) == 0
    assert_a_little(backend, run_id)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-damaged.damaged", "1-damaged.damaged"]
    assert "put aside" in caplog.text


@pytest.mark.services
def test_what_a_killed_process_leaves_reaches_mlflow(
    settings: Settings, run_start: RunStart, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    from ganlib.tracking.mlflow import MlflowTracker

    run_id = MlflowTracker(settings).start(run_start)
    kill_one(tmp_path, run_id)
    assert SpooledTracker(MlflowTracker(settings), tmp_path).close(60) == 0
    client = MlflowClient(tracking_uri=settings.require("mlflow"))
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "loss")] == [(10, 1.0), (20, 2.0)]
    assert sorted(file.path for file in client.list_artifacts(run_id)) == ["images", "report.txt"]


def test_a_server_that_is_down_does_not_reach_training(
    closed_port: str, run_start: RunStart, tmp_path: Path
) -> None:
    from ganlib.tracking.mlflow import MlflowTracker

    down = MlflowTracker(Settings(home=tmp_path, mlflow_uri=closed_port))
    spooled = SpooledTracker(down, tmp_path / "spool")
    with pytest.raises(ServiceError, match="GANLIB_MLFLOW_URI"):
        spooled.start(run_start)
    count = log_a_little(spooled, "run-1")
    assert spooled.close(0.5) == count
    backend = MemoryTracker()
    run_id = backend.start(run_start)
    assert run_id == "run-1"
    assert SpooledTracker(backend, tmp_path / "spool").close(10) == 0
    assert_a_little(backend, run_id)


def test_a_full_disk_costs_entries_and_not_the_training(
    run_start: RunStart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemoryTracker()
    tracker = SpooledTracker(memory, tmp_path / "spool", pause_seconds=QUICK)
    run_id = tracker.start(run_start)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(journal.Journal, "append", full)
        tracker.image(run_id, "samples", 1, PICTURE)
        tracker.artifact(run_id, "a.txt", b"a")
        tracker.metrics(run_id, 1, {"loss": 1.0})
    [warning] = [record.getMessage() for record in caplog.records]
    assert "disk is full" in warning
    assert str(tmp_path / "spool") in warning
    tracker.metrics(run_id, 2, {"loss": 2.0})
    assert "3 tracking entries were lost" in caplog.text
    assert tracker.close(10) == 0
    assert memory.runs[run_id].metrics == {"loss": [(2, 2.0)]}
    assert not memory.runs[run_id].images


def test_a_text_that_cannot_be_stored_costs_its_entry(
    run_start: RunStart, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemoryTracker()
    tracker = SpooledTracker(memory, tmp_path / "spool")
    run_id = tracker.start(run_start)
    tracker.artifact(run_id, "a.txt", b"a")
    tracker.finish("\ud800", "finished")
    assert tracker.close(10) == 0
    assert "it cannot be stored" in caplog.text
    assert memory.runs[run_id].artifacts == {"a.txt": b"a"}


def test_a_value_that_is_no_number_is_refused_at_once(tmp_path: Path) -> None:
    spooled = SpooledTracker(MemoryTracker(), tmp_path)
    values: Mapping[str, float] = {"loss": "many"}  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="many"):
        spooled.metrics("run-1", 0, values)
    assert spooled.close(1) == 0
