from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.job_submission import JobDetails, JobType

from flows import stages
from ganlib.cluster.launch import jobs_of
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


@pytest.mark.parametrize(
    ("job", "named"),
    [
        ("run-a-train--1", "run-a-train"),
        ("run-a-compare-0123456789ab--12", "run-a-compare-0123456789ab"),
        ("run-a-compare-0123456789ab", "run-a-compare-0123456789ab"),
    ],
)
def test_a_failed_job_names_the_command_that_shows_its_log(job: str, named: str) -> None:
    told = str(JobFailed(job, "FAILED", "its driver was killed."))
    assert told == f"job {job} ended as FAILED: its driver was killed; see `ganlib logs {named}`"
    jobs = [JobDetails(type=JobType.SUBMISSION, submission_id=f"{named}--1", status="FAILED", entrypoint="")]
    client = SimpleNamespace(list_jobs=lambda: jobs)
    assert jobs_of(client, named) == jobs, "the log is found under that name"
