from __future__ import annotations

import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from ray.job_submission import JobStatus
from typer.testing import CliRunner

from ganlib import stack
from ganlib.cli.main import app
from ganlib.cluster import launch
from ganlib.errors import ConfigError
from ganlib.stack.state import ServiceStatus, StackStatus

LOG = """(RayTrainWorker pid=7) [ganlib] evaluated at 0 images
(RayTrainWorker pid=7) [ganlib:progress] {"stage":"train","share":0.41,"images":49152}
(RayTrainWorker pid=7) TooFewSamples: 500 samples for 1280 features
"""


def job(submission_id: str | None, start: int, status: JobStatus = JobStatus.SUCCEEDED) -> Any:
    return SimpleNamespace(submission_id=submission_id, start_time=start, status=status)


class Jobs:
    """Ray's job server, with three jobs of two runs and one that was not submitted by id."""

    def list_jobs(self) -> list[Any]:
        return [
            job("run-a-evaluate--1", 3),
            job("run-a-train--1", 1, JobStatus.FAILED),
            job("run-a-train--2", 2),
            job("run-ab-train--1", 4),
            job(None, 5),
        ]

    def get_job_logs(self, job_id: str) -> str:
        return f"said by {job_id}\n" + (LOG if job_id == "run-ab-train--1" else "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    log = tmp_path / "mlflow.log"
    log.write_text("".join(f"line {number}\n" for number in range(300)))
    services = (
        ServiceStatus(name="mlflow", state="up", log=str(log)),
        ServiceStatus(name="ray", state="down"),
    )
    monkeypatch.setattr(stack, "status", lambda _: StackStatus(home=str(tmp_path), services=services))
    monkeypatch.setenv("GANLIB_HOME", str(tmp_path))
    monkeypatch.setenv("GANLIB_RAY_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setattr(launch, "connect", lambda _: Jobs())
    return tmp_path


def test_jobs_of_a_run_are_not_those_of_a_run_whose_name_begins_alike() -> None:
    found = [one.submission_id for one in launch.jobs_of(Jobs(), "run-a")]
    assert found == ["run-a-evaluate--1", "run-a-train--1", "run-a-train--2"]


def test_a_runs_logs_come_in_the_order_in_which_its_jobs_began(home: Path) -> None:
    said = CliRunner().invoke(app, ["logs", "run-a"], catch_exceptions=False).stdout.splitlines()
    assert said == [
        "==> run-a-train--1: FAILED <==",
        "said by run-a-train--1",
        "==> run-a-train--2: SUCCEEDED <==",
        "said by run-a-train--2",
        "==> run-a-evaluate--1: SUCCEEDED <==",
        "said by run-a-evaluate--1",
    ]


def test_in_a_runs_logs_progress_is_readable(home: Path) -> None:
    said = CliRunner().invoke(app, ["logs", "run-ab"], catch_exceptions=False).stdout.splitlines()
    assert said[2:] == [
        "evaluated at 0 images",
        "train 41% · 49 kimg",
        "(RayTrainWorker pid=7) TooFewSamples: 500 samples for 1280 features",
    ]


def test_a_services_log_is_shown_from_its_end(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert CliRunner().invoke(app, ["logs", "mlflow", "-n", "2"]).exit_code == 0
    assert capfd.readouterr().out == "line 298\nline 299\n"


@pytest.mark.parametrize(
    ("name", "says"), [("ray", "has no log here"), ("run-c", "neither a service"), ("../x", "neither")]
)
def test_what_has_no_log_is_told(home: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        CliRunner().invoke(app, ["logs", name], catch_exceptions=False)


def test_a_page_is_opened_and_its_address_printed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    page = requests.Response()
    page.status_code = 200
    monkeypatch.setattr(requests, "get", lambda address, headers, timeout: page)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert CliRunner().invoke(app, ["open", "ray"]).stdout == "http://127.0.0.1:9\n"
    assert opened == ["http://127.0.0.1:9"]


@pytest.mark.parametrize("given", [{"GANLIB_RAY_TOKEN": "secret"}, {}])
def test_the_hint_of_a_login_is_printed_where_the_command_in_it_prints_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    page = requests.Response()
    page.status_code = 200
    monkeypatch.setattr(requests, "get", lambda address, headers, timeout: page)
    monkeypatch.setattr(webbrowser, "open", lambda _: True)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    hinted = "ganlib login ray" in CliRunner().invoke(app, ["open", "ray"]).stderr
    assert hinted == bool(given)
    assert CliRunner().invoke(app, ["login", "ray"]).stdout == ("secret\n" if given else "")
