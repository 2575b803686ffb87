from __future__ import annotations

from pathlib import Path

import pytest

from flows import stages
from ganlib.errors import JobFailed, ServiceError
from ganlib.ports import RunStart
from ganlib.settings import Settings

RUN = RunStart("digits-wgan", "run-a", {}, {}, "digits", "0" * 64, "s3://b/k")


class Tracker:
    """Notes which runs are ended."""

    ended: list[RunStart]

    def __init__(self, settings: Settings) -> None:
        pass

    def end_abandoned(self, run: RunStart) -> None:
        self.ended.append(run)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> type[Tracker]:
    Tracker.ended = []
    monkeypatch.setattr(stages, "MlflowTracker", Tracker)
    return Tracker


def test_a_failed_job_ends_its_tracking_run(tracker: type[Tracker], tmp_path: Path) -> None:
    with pytest.raises(JobFailed), stages.ended_in_tracker(Settings(home=tmp_path), RUN):
        raise JobFailed("run-a-train--1", "FAILED", "its driver was killed")
    assert tracker.ended == [RUN]


def test_a_job_that_ended_well_or_may_still_run_is_left_alone(tracker: type[Tracker], tmp_path: Path) -> None:
    with stages.ended_in_tracker(Settings(home=tmp_path), RUN):
        pass
    with pytest.raises(ServiceError), stages.ended_in_tracker(Settings(home=tmp_path), RUN):
        raise ServiceError("ray", "http://127.0.0.1:9", "GANLIB_RAY_ADDRESS", "it was lost while the job ran")
    assert tracker.ended == []
