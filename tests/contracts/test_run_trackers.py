from __future__ import annotations

import base64
import dataclasses
import http.server
import math
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ganlib.errors import ConfigError, DataError, GanlibError, RequestRefused, ServiceError
from ganlib.ports import RunStart, RunTracker
from ganlib.settings import Settings
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.tracking.spool import SpooledTracker

PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def test_a_run_begins_with_what_is_known_about_it(case, run_start: RunStart) -> None:
    seen = case.seen(case.tracker.start(run_start))
    assert seen.status == "running"
    assert seen.params == run_start.params
    assert seen.tags["ganlib.run"] == run_start.name
    assert seen.tags["ganlib.config_digest"] == "c" * 64


def test_a_run_may_be_a_part_of_another(case, run_start: RunStart) -> None:
    parent = case.tracker.start(run_start)
    child = dataclasses.replace(run_start, name=run_start.name + "-child", parent=parent)
    child_id = case.tracker.start(child)
    assert child_id != parent
    assert case.seen(child_id).tags["mlflow.parentRunId"] == parent
    assert case.again().start(child) == child_id
    assert "mlflow.parentRunId" not in case.seen(parent).tags


def test_starting_a_name_again_continues_its_run(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    case.tracker.finish(run_id, "failed")
    assert case.seen(run_id).status == "failed"
    changed = dataclasses.replace(
        run_start, params={"seed": "7", "later": "1"}, tags={"ganlib.config_digest": "e" * 64}
    )
    assert case.tracker.start(changed) == run_id
    seen = case.seen(run_id)
    assert seen.status == "running"
    assert seen.params == {**run_start.params, "later": "1"}
    assert seen.tags["ganlib.config_digest"] == "e" * 64


def test_another_name_or_experiment_is_another_run(case, run_start: RunStart) -> None:
    first = case.tracker.start(run_start)
    assert case.tracker.start(dataclasses.replace(run_start, name=run_start.name + "-b")) != first
    assert case.tracker.start(dataclasses.replace(run_start, experiment="contracts-b")) != first
    assert case.tracker.start(run_start) == first


def test_curves_are_keyed_by_images(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    case.tracker.metrics(run_id, 0, {"loss": 1.5, "distance": 800.0})
    case.tracker.metrics(run_id, 640, {"loss": -0.25})
    case.tracker.metrics(run_id, 10**12, {"loss": math.inf})
    metrics = case.seen(run_id).metrics
    assert metrics["distance"] == [(0, 800.0)]
    assert metrics["loss"][:2] == [(0, 1.5), (640, -0.25)]
    assert metrics["loss"][2][0] == 10**12
    assert metrics["loss"][2][1] > 1e300


def test_a_point_that_is_not_ahead_is_left_alone(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    case.tracker.metrics(run_id, 100, {"loss": 1.0})
    case.tracker.metrics(run_id, 100, {"loss": 2.0})
    case.tracker.metrics(run_id, 50, {"loss": 3.0, "new": 4.0})
    assert case.seen(run_id).metrics == {"loss": [(100, 1.0)], "new": [(50, 4.0)]}


def test_a_resumed_run_does_not_log_twice(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    for step in (100, 200, 300):
        case.tracker.metrics(run_id, step, {"loss": float(step)})
        case.tracker.image(run_id, "samples", step, PICTURE)
    resumed: RunTracker = case.again()
    assert resumed.start(run_start) == run_id
    for step in (200, 300, 400):
        resumed.metrics(run_id, step, {"loss": -float(step)})
        resumed.image(run_id, "samples", step, PICTURE)
    seen = case.seen(run_id)
    assert seen.metrics["loss"] == [(100, 100.0), (200, 200.0), (300, 300.0), (400, -400.0)]
    assert sorted(seen.images) == [("samples", step) for step in (100, 200, 300, 400)]


def test_pictures_are_kept_by_key_and_step(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    case.tracker.image(run_id, "grids/fixed", 0, PICTURE)
    case.tracker.image(run_id, "grids/fixed", 0, PICTURE)
    case.tracker.image(run_id, "grids/fixed", 64, PICTURE[:, :, 0])
    assert case.seen(run_id).images == {("grids/fixed", 0): (8, 8, 3), ("grids/fixed", 64): (8, 8)}


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 8), np.float32), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 8), np.uint8)]
)
def test_what_is_no_picture_is_refused(case, run_start: RunStart, wrong: np.ndarray) -> None:
    run_id = case.tracker.start(run_start)
    with pytest.raises(DataError, match="must be uint8"):
        case.tracker.image(run_id, "samples", 0, wrong)


def test_files_are_attached_and_replaced(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    case.tracker.artifact(run_id, "report.html", b"<p>one</p>")
    case.tracker.artifact(run_id, "deep/er/data.bin", b"\x00\xff")
    case.tracker.artifact(run_id, "report.html", b"<p>two</p>")
    assert case.seen(run_id).artifacts == {"report.html": b"<p>two</p>", "deep/er/data.bin": b"\x00\xff"}


def test_files_known_at_the_start_are_attached_by_every_start(case, run_start: RunStart) -> None:
    first = dataclasses.replace(run_start, files={"config.json": b"{}", "deep/er.json": b"1"})
    run_id = case.tracker.start(first)
    assert case.seen(run_id).artifacts == {"config.json": b"{}", "deep/er.json": b"1"}
    assert case.again().start(dataclasses.replace(run_start, files={"config.json": b"{1}"})) == run_id
    assert case.seen(run_id).artifacts == {"config.json": b"{1}", "deep/er.json": b"1"}


def test_a_description_replaces_the_one_before_and_a_restart_keeps_it(case, run_start: RunStart) -> None:
    run_id = case.tracker.start(run_start)
    assert case.seen(run_id).description == ""
    case.tracker.describe(run_id, "one")
    case.tracker.describe(run_id, "**two** – ![x](get-artifact?path=x.png)\n")
    assert case.seen(run_id).description == "**two** – ![x](get-artifact?path=x.png)\n"
    case.again().start(run_start)
    assert case.seen(run_id).description.startswith("**two**")


@pytest.mark.parametrize("status", ["finished", "failed", "killed"])
def test_a_run_ends_as_it_is_said(case, run_start: RunStart, status) -> None:
    run_id = case.tracker.start(run_start)
    case.tracker.metrics(run_id, 1, {"loss": 0.0})
    case.tracker.finish(run_id, status)
    seen = case.seen(run_id)
    assert seen.status == status
    assert seen.metrics == {"loss": [(1, 0.0)]}


def test_a_run_that_does_not_exist_is_refused_for_good(case) -> None:
    if isinstance(case.tracker, SpooledTracker):
        case.tracker.metrics("no-such-run", 0, {"loss": 1.0})
        assert case.tracker.close(30) == 0
    else:
        with pytest.raises(RequestRefused, match="no-such-run"):
            case.tracker.metrics("no-such-run", 0, {"loss": 1.0})


# The rest is about MLflow alone.


def mlflow_at(url: str | None, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, mlflow_uri=url)


def test_a_server_that_is_down_is_reported_in_time(
    closed_port: str, run_start: RunStart, tmp_path: Path, in_time
) -> None:
    with in_time(), pytest.raises(ServiceError, match="GANLIB_MLFLOW_URI") as caught:
        MlflowTracker(mlflow_at(closed_port, tmp_path)).start(run_start)
    assert closed_port in str(caught.value)
    assert caught.value.service == "mlflow"
    assert not isinstance(caught.value, RequestRefused)


def test_a_server_that_does_not_answer_is_reported_in_time(
    frozen_port: str, run_start: RunStart, tmp_path: Path, in_time
) -> None:
    with in_time(), pytest.raises(ServiceError, match="GANLIB_MLFLOW_URI"):
        MlflowTracker(mlflow_at(frozen_port, tmp_path)).start(run_start)


@pytest.mark.parametrize("url", [None, "sqlite:///mlflow.db", "127.0.0.1:5000"])
def test_an_address_that_is_no_servers_is_refused(url: str | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GANLIB_MLFLOW_URI"):
        MlflowTracker(mlflow_at(url, tmp_path))


class Guarded(http.server.BaseHTTPRequestHandler):
    """A server that asks everybody for a login."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def guarded_port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_refused_login_names_its_setting_and_no_password(
    guarded_port: int, run_start: RunStart, tmp_path: Path, in_time
) -> None:
    password = "a-secret-that-must-not-be-seen"
    tracker = MlflowTracker(mlflow_at(f"http://me:{password}@127.0.0.1:{guarded_port}", tmp_path))
    with in_time(), pytest.raises(ServiceError, match="GANLIB_MLFLOW_PASSWORD") as caught:
        tracker.start(run_start)
    text = "".join(traceback.format_exception(caught.value)) + repr(tracker)
    assert password not in text
    assert base64.b64encode(f"me:{password}".encode()).decode() not in text


def test_no_password_of_a_server_that_is_down_is_shown(
    closed_port: str, run_start: RunStart, tmp_path: Path
) -> None:
    password = "a-secret-that-must-not-be-seen"
    tracker = MlflowTracker(mlflow_at(closed_port.replace("//", f"//me:{password}@"), tmp_path))
    for call in (lambda: tracker.start(run_start), lambda: tracker.metrics("run", 0, {"loss": 1.0})):
        with pytest.raises(ServiceError) as caught:
            call()
        assert password not in "".join(traceback.format_exception(caught.value))


@pytest.mark.services
def test_the_dataset_is_an_input_of_the_run(settings: Settings, run_start: RunStart) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(settings)
    run_id = tracker.start(run_start)
    assert tracker.start(run_start) == run_id
    run = MlflowClient(tracking_uri=settings.require("mlflow")).get_run(run_id)
    (entry,) = run.inputs.dataset_inputs
    assert entry.dataset.name == "digits"
    assert run_start.dataset_digest.startswith(entry.dataset.digest)
    assert run_start.dataset_source in entry.dataset.source
    assert run.data.tags["ganlib.dataset_digest"] == run_start.dataset_digest
    assert run.info.run_name == run_start.name


@pytest.mark.services
def test_runs_whose_job_died_end_as_killed_and_others_stay(settings: Settings, run_start: RunStart) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(settings)
    tracker.end_abandoned(dataclasses.replace(run_start, experiment="contracts-never-begun"))
    sweep = tracker.start(run_start)
    parts = [dataclasses.replace(run_start, name=f"{run_start.name}-{i}", parent=sweep) for i in range(2)]
    running, finished = map(tracker.start, parts)
    tracker.finish(finished, "finished")
    other = tracker.start(dataclasses.replace(run_start, name=f"{run_start.name}-other"))
    tracker.end_abandoned(run_start)
    client = MlflowClient(tracking_uri=settings.require("mlflow"))
    found = [client.get_run(run_id).info.status for run_id in (sweep, running, finished, other)]
    assert found == ["KILLED", "KILLED", "FINISHED", "RUNNING"]


@pytest.mark.services
def test_many_points_are_logged_whole(settings: Settings, run_start: RunStart, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    tracker = MlflowTracker(settings)
    run_id = tracker.start(run_start)
    points = [(step, {"loss": float(step), "gap": -float(step)}) for step in range(1300)]
    tracker.points(run_id, points)
    tracker.points(run_id, points)
    history = MlflowClient(tracking_uri=settings.require("mlflow")).get_metric_history(run_id, "gap")
    assert [(m.step, m.value) for m in history] == [(step, -float(step)) for step in range(1300)]


@pytest.mark.services
def test_mlflows_process_wide_state_is_left_alone(settings: Settings, run_start: RunStart) -> None:
    import mlflow

    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()
    tracker = MlflowTracker(settings)
    run_id = tracker.start(run_start)
    tracker.metrics(run_id, 0, {"loss": 1.0})
    tracker.image(run_id, "samples", 0, PICTURE)
    tracker.finish(run_id, "finished")
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), mlflow.active_run()) == before


@pytest.mark.services
@pytest.mark.parametrize("path", ["/etc/passwd", "../outside", "a/../../b", ""])
def test_an_artifact_stays_below_its_run(settings: Settings, run_start: RunStart, path: str) -> None:
    tracker = MlflowTracker(settings)
    with pytest.raises(GanlibError):
        tracker.artifact(tracker.start(run_start), path, b"x")
