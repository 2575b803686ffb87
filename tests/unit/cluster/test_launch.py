from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobDetails, JobStatus, JobType

from ganlib.cluster import launch
from ganlib.cluster.launch import _reason, _stopped_on_interrupt, _submit
from ganlib.errors import ServiceError
from ganlib.settings import Settings


class Jobs:
    """Ray's job client, to which another process submits just before this one does."""

    def __init__(self, others: list[JobStatus]) -> None:
        self.others = others
        self.submitted: dict[str, JobStatus] = {}

    def list_jobs(self) -> list[JobDetails]:
        return [
            JobDetails(type=JobType.SUBMISSION, submission_id=name, status=status, entrypoint="")
            for name, status in self.submitted.items()
        ]

    def submit_job(self, *, submission_id: str, **_: Any) -> str:
        if self.others:
            self.submitted[submission_id] = self.others.pop(0)
        if submission_id in self.submitted:
            raise RuntimeError(
                f"Request failed with status code 500: Job with id {submission_id} already exists."
            )
        self.submitted[submission_id] = JobStatus.PENDING
        return submission_id


def submit(client: Jobs, tmp_path: Path) -> str:
    return _submit(client, Settings(home=tmp_path), "run-train", ["module"])  # type: ignore[arg-type]


def test_of_two_submissions_at_once_the_second_follows_the_first(tmp_path: Path) -> None:
    client = Jobs([JobStatus.RUNNING])
    assert submit(client, tmp_path) == "run-train--1"
    assert list(client.submitted) == ["run-train--1"]


def test_a_job_that_ended_meanwhile_is_repeated_under_the_next_number(tmp_path: Path) -> None:
    assert submit(Jobs([JobStatus.FAILED]), tmp_path) == "run-train--2"


def test_submitting_is_given_up_after_many_others(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, ray_address="http://127.0.0.1:1")
    client = Jobs([JobStatus.FAILED] * 30)
    with pytest.raises(ServiceError, match="others submitted run-train 20 times"):
        _submit(client, settings, "run-train", ["module"])  # type: ignore[arg-type]
    assert len(client.submitted) == 20


def test_another_refusal_is_not_swallowed(tmp_path: Path) -> None:
    class Full(Jobs):
        def submit_job(self, *, submission_id: str, **_: Any) -> str:
            raise RuntimeError("Request failed with status code 500: no room")

    with pytest.raises(RuntimeError, match="no room"):
        submit(Full([]), tmp_path)


class Running:
    """Ray's job client, with a job that may be stopped."""

    def __init__(self, *, ends: bool = True, answers: bool = True) -> None:
        self.ends, self.answers, self.asked = ends, answers, 0

    def stop_job(self, job_id: str) -> None:
        self.asked += 1
        if not self.answers:
            raise ConnectionError("refused")

    def get_job_status(self, job_id: str) -> JobStatus:
        return JobStatus.STOPPED if self.ends else JobStatus.RUNNING


@pytest.mark.parametrize(
    ("client", "note"),
    [
        (Running(), "job run-train--1 was stopped"),
        (Running(ends=False), "job run-train--1 was told to stop, and had not ended 0 s later"),
        (
            Running(answers=False),
            "job run-train--1 goes on, since its cluster does not answer (ConnectionError)",
        ),
    ],
)
def test_an_interrupt_stops_the_job_and_carries_how_that_went(
    client: Running, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "STOP_TIMEOUT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt) as ended, _stopped_on_interrupt(client, "run-train--1"):  # type: ignore[arg-type]
        raise KeyboardInterrupt
    assert ended.value.__notes__ == [note]
    assert client.asked == 1


def test_an_error_leaves_the_job_alone() -> None:
    client = Running()
    with pytest.raises(ServiceError), _stopped_on_interrupt(client, "run-train--1"):  # type: ignore[arg-type]
        raise ServiceError("ray", "http://127.0.0.1:9", "GANLIB_RAY_ADDRESS", "it was lost")
    assert client.asked == 0


OLD = ["ray.exceptions.WorkerCrashedError: a worker died", "training goes on from 12 kimg", "20 of 90 kimg"]


@pytest.mark.parametrize(
    ("tail", "message", "reason"),
    [
        (
            OLD,
            "Job entrypoint command failed with exit code -9, last logs: …",
            "its driver was killed by signal 9",
        ),
        (
            OLD,
            "Job entrypoint command failed with exit code 143, last logs",
            "its driver was killed by signal 15",
        ),
        (
            OLD,
            "Unexpected error: The job supervisor actor died.\nmore",
            "its driver is gone: Unexpected error",
        ),
        (
            [*OLD, "(RayTrainWorker pid=7) [ganlib] error: clip is 0"],
            "Job entrypoint command failed with exit code 2",
            "error: clip is 0",
        ),
        ([*OLD, "error: clip is 0"], "Job entrypoint command failed with exit code 2", "error: clip is 0"),
        (["last words", ""], "", "last words"),
        ([], "nothing was printed", "nothing was printed"),
    ],
)
def test_the_reason_is_that_of_the_jobs_end(tail: list[str], message: str, reason: str) -> None:
    assert _reason(tail, message).startswith(reason)
