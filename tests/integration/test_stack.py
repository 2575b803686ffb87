"""The embedded services: started, asked, killed, started again, and ended without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from ganlib import stack
from ganlib.errors import ServiceNotStarted
from ganlib.logins import login_headers, secrets_of
from ganlib.settings import ServiceName, Settings, load_settings
from ganlib.stack.processes import members
from ganlib.storage import open_store

pytestmark = pytest.mark.services

ELSEWHERE = {
    "s3": "GANLIB_S3_ENDPOINT_URL",
    "mlflow": "GANLIB_MLFLOW_URI",
    "prefect": "GANLIB_PREFECT_API_URL",
    "ray": "GANLIB_RAY_ADDRESS",
}
CODE = """
from ganlib import stack
from ganlib.settings import load_settings
stack.up(load_settings(), report=print)
"""


def pids(settings: Settings) -> dict[str, int | None]:
    return {service.name: service.pid for service in stack.status(settings).services if service.state == "up"}


@pytest.fixture
def home(tmp_path: Path, environ_of) -> Iterator[Path]:
    """A home that is taken down whatever happens."""
    home = tmp_path / "home"
    yield home
    stack.down(load_settings(environ_of(home)), report=print)
    assert not members(home)


@pytest.fixture
def only(home: Path, environ_of) -> Callable[..., dict[str, str]]:
    """The environment of that home where all services but the named ones are said to be elsewhere."""

    def environ(*services: str) -> dict[str, str]:
        away = {ELSEWHERE[name]: "http://127.0.0.1:9" for name in ELSEWHERE if name not in services}
        paths = os.pathsep.join(path for path in sys.path if path)
        return environ_of(home, PYTHONPATH=paths, **away)

    return environ


class TestRunning:
    """On the session's stack; nothing here changes it for others."""

    def test_every_service_answers_with_its_address_process_and_log(self, stack_settings):
        status = stack.status(stack_settings)
        assert status.ready
        assert [service.name for service in status.services] == ["s3", "prefect", "ray", "mlflow", "worker"]
        for service in status.services:
            assert service.state == "up"
            assert service.url.startswith("http://127.0.0.1:")
            assert psutil.pid_exists(service.pid or 0)
            assert Path(service.log).is_file()

    def test_the_settings_find_them(self, stack_settings):
        status = stack.status(stack_settings)
        assert stack_settings.s3_endpoint_url == status["s3"].url
        assert stack_settings.mlflow_uri == status["mlflow"].url
        assert stack_settings.prefect_api_url == status["prefect"].url
        assert stack_settings.ray_address == status["ray"].url
        assert not stack_settings.own

    def test_a_second_up_does_nothing(self, stack_settings):
        before, said = pids(stack_settings), []
        assert stack.up(stack_settings, report=said.append).ready
        assert pids(stack_settings) == before
        assert said == []

    def test_everything_listens_on_loopback_alone(self, stack_settings):
        listening = {
            (process.name(), connection.laddr.ip.removeprefix("::ffff:"))
            for process in members(stack_settings.home)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert len(listening) > 5
        assert {address for _, address in listening} == {"127.0.0.1"}, listening

    def test_no_secret_is_in_a_log_or_on_a_command_line(self, stack_settings):
        secrets = secrets_of(stack_settings)
        assert len(secrets) == 4, "the S3 key, Ray's token, Prefect's pair and its password"
        logs = [path for path in (stack_settings.home / "logs").rglob("*") if path.is_file()]
        assert len(logs) > 5
        told = {path: path.read_text(errors="replace") for path in logs}
        assert not [path for path, text in told.items() if any(secret in text for secret in secrets)]
        lines = [" ".join(process.cmdline()) for process in members(stack_settings.home)]
        assert not [line for line in lines if any(secret in line for secret in secrets)]

    @pytest.mark.parametrize(
        ("service", "path"),
        [("ray", "/api/jobs/"), ("ray", "/nodes?view=summary"), ("prefect", "/work_pools/ganlib")],
    )
    def test_services_that_run_programs_ask_for_their_credential(self, stack_settings, service, path):
        url = f"{stack_settings.require(service)}{path}"
        assert requests.get(url, timeout=30).status_code == 401
        wrong = {name: value[:-3] + "000" for name, value in login_headers(stack_settings, service).items()}
        assert requests.get(url, headers=wrong, timeout=30).status_code in (401, 403)
        right = login_headers(stack_settings, service)
        assert requests.get(url, headers=right, timeout=30).status_code == 200

    def test_its_files_are_its_owners_alone(self, stack_settings):
        assert stack_settings.home.stat().st_mode & 0o777 == 0o700

    def test_nothing_of_a_fixed_name_lies_where_other_users_do_the_same(self, stack_settings):
        [worker] = [p for p in members(stack_settings.home) if p.pid == pids(stack_settings)["worker"]]
        temporary = Path(worker.environ()["TMPDIR"])
        assert stack_settings.home in temporary.parents
        assert (temporary / "runner_storage").is_dir()

    def test_jobs_find_the_home_and_this_interpreter(self, stack_settings):
        code = "import os, sys; print(os.environ['GANLIB_HOME'], sys.executable)"
        job = post(stack_settings, "ray", "/api/jobs/", {"entrypoint": f'python -c "{code}"'})
        path = f"/api/jobs/{job['submission_id']}"
        deadline = time.monotonic() + 120
        while (
            get(stack_settings, "ray", path)["status"] not in ("SUCCEEDED", "FAILED")
            and time.monotonic() < deadline
        ):
            time.sleep(0.2)
        home, executable = get(stack_settings, "ray", f"{path}/logs")["logs"].splitlines()[-1].split()
        assert home == str(stack_settings.home)
        assert Path(executable).parent == Path(sys.executable).parent

    def test_a_schedule_that_was_turned_on_survives_registering_again(self, stack_settings):
        said: list[str] = []
        stack.schedule(stack_settings, "on", cron="0 4 * * *", report=said.append)
        assert said == ["nightly: schedule nightly is on (0 4 * * *, UTC)"]
        try:
            registered = stack.run_deployments(stack_settings, "register")
            assert registered == "registered retrain/nightly, sweep/search, ingest/pictures\n"
            found = json.loads(stack.run_deployments(stack_settings, "status", "--json"))
            schedules = {one["deployment"]: one["schedules"] for one in found}
            assert schedules["search"] == []
            assert schedules["nightly"] == [
                {"slug": "nightly", "cron": "0 4 * * *", "timezone": "UTC", "active": True}
            ]
        finally:
            stack.schedule(stack_settings, "off", cron="0 3 * * *", report=said.append)
        assert said[-1] == "nightly: schedule nightly is off (0 3 * * *, UTC)"

    def test_the_deployment_runs_this_checkout_one_at_a_time(self, stack_settings):
        found = get(stack_settings, "prefect", "/deployments/name/retrain/nightly")
        checkout = Path(__file__).parent.parent.parent
        assert found["entrypoint"] == "flows/retrain.py:retrain"
        assert found["pull_steps"][0].popitem()[1]["directory"] == str(checkout)
        assert found["work_pool_name"] == "ganlib"
        assert found["global_concurrency_limit"]["limit"] == 1
        assert found["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        assert "recipe" in found["parameter_openapi_schema"]["properties"]
        assert found["parameters"]["recipe"] == "fashion-mnist-wgan"


def get(settings: Settings, service: ServiceName, path: str) -> Any:
    url = f"{settings.require(service)}{path}"
    return requests.get(url, headers=login_headers(settings, service), timeout=30).json()


def post(settings: Settings, service: ServiceName, path: str, body: Mapping[str, object]) -> Any:
    url = f"{settings.require(service)}{path}"
    return requests.post(url, json=body, headers=login_headers(settings, service), timeout=30).json()


def test_a_flow_run_whose_worker_was_killed_is_taken_up_again(stack_settings):
    deployment = get(stack_settings, "prefect", "/deployments/name/retrain/nightly")["id"]
    parameters = {"recipe": "digits-wgan", "overrides": {"no-such-field": 1}}
    os.kill(pids(stack_settings)["worker"], signal.SIGKILL)
    # As the worker leaves it that is killed while the flow runs.
    run = {"parameters": parameters, "state": {"type": "RUNNING"}}
    lost = post(stack_settings, "prefect", f"/deployments/{deployment}/create_flow_run", run)
    said: list[str] = []
    stack.up(stack_settings, report=said.append)
    assert f"flow run {lost['name']} had lost its worker and is taken up again" in said

    def ended() -> bool:
        # The new worker runs it, and the flow refuses the field.
        return get(stack_settings, "prefect", f"/flow_runs/{lost['id']}")["state_type"] == "FAILED"

    deadline = time.monotonic() + 120
    while not ended() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ended()
    states = get(stack_settings, "prefect", f"/flow_run_states/?flow_run_id={lost['id']}")
    names = {state["name"] for state in states}
    assert "AwaitingRetry" in names


def test_all_of_it_killed_by_force_comes_up_again_and_goes_down_without_a_trace(tmp_path, environ_of):
    home = tmp_path / ("long-" * 40)[: 150 - len(str(tmp_path)) - 1]
    assert len(str(home)) == 150
    environ = environ_of(home)
    try:
        stack.up(load_settings(environ), report=print)
        settings = load_settings(environ)
        open_store(settings).put("kept", b"before the kill")
        post(settings, "ray", "/api/jobs/", {"entrypoint": "setsid sleep 600"})
        deployment = get(settings, "prefect", "/deployments/name/retrain/nightly")["id"]
        running = {"parameters": {"recipe": "digits-wgan"}, "state": {"type": "RUNNING"}}
        run = post(settings, "prefect", f"/deployments/{deployment}/create_flow_run", running)["id"]
        killed = list(members(home))
        for process in killed:
            process.kill()
        psutil.wait_procs(killed, timeout=20)
        assert {service.state for service in stack.status(settings).services} == {"down"}

        assert stack.up(load_settings(environ), report=print).ready
        again = load_settings(environ)
        assert again.s3_endpoint_url == settings.s3_endpoint_url
        assert open_store(again).get("kept") == b"before the kill"
        states = get(again, "prefect", f"/flow_run_states/?flow_run_id={run}")
        assert "AwaitingRetry" in {state["name"] for state in states}
        assert (home / "logs" / "ray" / "gcs_server.out").is_file()
        folder = Path(json.loads((home / "stack.json").read_text())["ray_folder"])
        assert folder.is_symlink()
    finally:
        begun = time.monotonic()
        stack.down(load_settings(environ), report=print)
        seconds = time.monotonic() - begun
    assert not members(home)
    assert seconds < 60, "it waited for a process that had ended"
    assert not folder.parent.exists()
    assert not (home / "services.json").exists()


def test_a_port_taken_meanwhile_gives_way_and_the_data_stays(home, only):
    environ = only("s3")
    first = stack.up(load_settings(environ), report=print)["s3"].url
    open_store(load_settings(environ)).put("kept", b"x")
    stack.down(load_settings(environ), report=print)
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        second = stack.up(load_settings(environ), report=print)["s3"].url
    assert second != first
    assert load_settings(environ).s3_endpoint_url == second
    assert open_store(load_settings(environ)).get("kept") == b"x"


def test_what_depends_on_a_service_that_moved_starts_again(home, only):
    environ = only("s3", "mlflow")
    before = stack.up(load_settings(environ), report=print)
    gateway = psutil.Process(before["s3"].pid)
    gateway.kill()
    gateway.wait(10)
    with socket.create_server(("127.0.0.1", int(before["s3"].url.rpartition(":")[2]))):
        after = stack.up(load_settings(environ), report=print)
    assert after.ready
    assert after["s3"].url != before["s3"].url
    assert after["mlflow"].pid != before["mlflow"].pid


def test_a_service_that_fails_is_named_with_its_log_and_nothing_stays_behind(home, only):
    (home / "mlflow").mkdir(parents=True)
    (home / "mlflow" / "mlflow.db").write_text("this is no database " * 100)
    with pytest.raises(ServiceNotStarted, match=r"mlflow did not start: it exited with \d+.*") as caught:
        stack.up(load_settings(only("s3", "mlflow")), report=print)
    assert str(home / "logs" / "mlflow.log") in str(caught.value)
    assert "file is not a database" in str(caught.value)
    assert not members(home)
    assert not (home / "services.json").exists()


def test_two_at_once_start_one_stack(home, only):
    environ = only("s3")
    both = [
        subprocess.Popen([sys.executable, "-c", CODE], env=environ, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("s3 answers" in lines for lines in said) == 1
    assert len([name for name in members(home).values() if name == "s3"]) == 1


def test_ctrl_c_while_it_starts_leaves_nothing_behind(home, only):
    environ = only("s3", "ray")
    starting = subprocess.Popen([sys.executable, "-c", CODE], env=environ, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while "ray" not in members(home).values() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "ray" in members(home).values()
    starting.send_signal(signal.SIGINT)
    _, errors = starting.communicate(timeout=30)
    assert starting.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert not members(home)
