"""How a sweep ends: the winner is named and reported before the sweep has ended on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sweeps import SWEEP, Rig, evaluation, spec

from ganlib.errors import CheckpointRefused, TrainingError
from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.jobs.sweep import conclude
from ganlib.ports import RunStatus
from ganlib.sweep.records import SweepResult
from ganlib.sweep.spec import read_sweep_result


class Reports:
    """Takes the report of a sweep's end; at that moment it has not ended on record."""

    def __init__(self, store: MemoryStore, error: Exception | None = None) -> None:
        self.store, self.error = store, error
        self.got: list[SweepResult] = []

    def finish(self, result: SweepResult) -> None:
        assert read_sweep_result(self.store, SWEEP).status == "running"
        self.got.append(result)
        if self.error is not None:
            raise self.error


class Parent(MemoryTracker):
    """Takes the parent run's end, likewise."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__()
        self.store = store
        self.ended: list[RunStatus] = []

    def finish(self, run_id: str, status: RunStatus) -> None:
        if run_id == "parent":
            assert read_sweep_result(self.store, SWEEP).status == "running"
            self.ended.append(status)
        else:
            super().finish(run_id, status)


def sweep_of(store: MemoryStore, home: Path, *values: float) -> tuple[Rig, Parent]:
    """With a trial for each of these distances with fresh latents, all trained in full."""
    tracker = Parent(store)
    rig = Rig(store, spec(scheduler="none", trials=max(len(values), 1)), home, tracker)
    for number, value in enumerate(values):
        rig.start()
        rig.on_report(number, 9000, value + 10)
        rig.finish(number)
        best = rig.ledger.trials[number].best
        assert best is not None
        rig.ledger.judge_finalist(number, evaluation(best, value))
    return rig, tracker


def end(rig: Rig, reports: Reports) -> None:
    taken: Any = reports
    conclude(rig.sweep_run, taken)


def test_what_is_reported_has_ended_and_has_a_winner(tmp_path: Path) -> None:
    store = MemoryStore()
    rig, tracker = sweep_of(store, tmp_path, 300.0, 200.0)
    reports = Reports(store)
    end(rig, reports)
    assert [(result.status, result.best) for result in reports.got] == [("finished", 1)]
    assert tracker.ended == ["finished"]
    assert read_sweep_result(store, SWEEP).best == 1
    assert read_sweep_result(store, SWEEP).status == "finished"
    assert rig.lines[-1].startswith("trial 1 wins with fd_projection = 200.0")


def test_a_sweep_without_a_winner_is_reported_and_fails(tmp_path: Path) -> None:
    store = MemoryStore()
    rig, tracker = sweep_of(store, tmp_path)
    rig.start()
    rig.die(0)
    reports = Reports(store)
    with pytest.raises(TrainingError, match="no trial of .* came to a checkpoint"):
        end(rig, reports)
    assert [(result.status, result.best) for result in reports.got] == [("failed", None)]
    assert tracker.ended == ["failed"]
    assert read_sweep_result(store, SWEEP).status == "failed"


def test_a_report_that_fails_is_told_and_keeps_nobody_from_the_winner(tmp_path: Path) -> None:
    store = MemoryStore()
    rig, tracker = sweep_of(store, tmp_path, 300.0, 200.0)
    with pytest.raises(CheckpointRefused, match="damaged"):
        end(rig, Reports(store, CheckpointRefused("it is damaged")))
    assert tracker.ended == ["failed"]
    assert read_sweep_result(store, SWEEP).best == 1
    assert read_sweep_result(store, SWEEP).status == "finished"
