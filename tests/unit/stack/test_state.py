from __future__ import annotations

import json

import pytest

from ganlib import stack
from ganlib.errors import ConfigError
from ganlib.settings import load_settings
from ganlib.stack.home import prepare_home
from ganlib.stack.state import ServiceStatus, StackRecord, StackStatus, StartedService

STARTED = StartedService(
    pid=1, created=2.5, url="http://127.0.0.1:1", since="2026-01-01T00:00:00+00:00", bound_to={}, settings="d"
)


def test_the_record_is_read_as_it_was_written(tmp_path):
    layout = prepare_home(tmp_path / "home")
    record = StackRecord(services={"s3": STARTED}, ports={"s3": 1}, ray_folder="/r", registered="x")
    record.save(layout)
    assert StackRecord.load(layout) == record


def test_a_home_without_a_record_has_started_nothing(tmp_path):
    assert StackRecord.load(prepare_home(tmp_path / "home")) == StackRecord()


def test_a_damaged_record_names_the_file_and_the_remedy(tmp_path):
    layout = prepare_home(tmp_path / "home")
    layout.state.write_text("{")
    with pytest.raises(ConfigError, match=r"stack\.json.*Remove it"):
        StackRecord.load(layout)


def test_status_as_json():
    status = StackStatus(
        home="/h",
        services=(
            ServiceStatus(
                name="s3", state="up", url="http://127.0.0.1:1", pid=7, log="/h/logs/s3.log", since="t"
            ),
            ServiceStatus(name="ray", state="own", url="http://ray:8265"),
        ),
    )
    assert status.ready
    assert json.loads(status.to_json()) == {
        "home": "/h",
        "free_bytes": None,
        "services": [
            {
                "name": "s3",
                "state": "up",
                "url": "http://127.0.0.1:1",
                "pid": 7,
                "log": "/h/logs/s3.log",
                "since": "t",
            },
            {"name": "ray", "state": "own", "url": "http://ray:8265", "pid": None, "log": "", "since": ""},
        ],
    }
    assert status["ray"].state == "own"
    assert "http://ray:8265" in str(status)


@pytest.mark.parametrize("state", ["down", "starting or not answering"])
def test_one_service_that_does_not_answer_makes_the_stack_unready(state):
    services = (ServiceStatus(name="s3", state="up"), ServiceStatus(name="ray", state=state))
    assert not StackStatus(home="/h", services=services).ready


def test_before_the_first_start_everything_is_down_and_nothing_is_written(tmp_path):
    status = stack.status(load_settings({"GANLIB_HOME": str(tmp_path / "home")}))
    assert [service.state for service in status.services] == ["down"] * 5
    assert not (tmp_path / "home").exists()


def test_services_of_ones_own_are_shown_as_such_and_the_worker_goes_with_prefect(tmp_path):
    environ = {"GANLIB_HOME": str(tmp_path), "GANLIB_PREFECT_API_URL": "http://prefect:4200/api"}
    status = stack.status(load_settings(environ))
    states = {service.name: service.state for service in status.services}
    assert states == {"s3": "down", "prefect": "own", "ray": "down", "mlflow": "down", "worker": "own"}
    assert status["prefect"].url == "http://prefect:4200/api"


@pytest.mark.parametrize("url", ["http://prefect:4200/api", "http://prefect:4200/api/"])
def test_people_are_shown_the_page_of_prefect_and_programs_its_api(url):
    services = (
        ServiceStatus(name="prefect", state="own", url=url),
        ServiceStatus(name="ray", state="own", url="http://ray:8265/api"),
    )
    status = StackStatus(home="/h", services=services)
    assert str(status).split() == [
        "prefect",
        "own",
        "http://prefect:4200",
        "ray",
        "own",
        "http://ray:8265/api",
    ]
    assert json.loads(status.to_json())["services"][0]["url"] == url


def test_a_record_of_a_process_that_is_gone_counts_as_down(tmp_path):
    layout = prepare_home(tmp_path / "home")
    StackRecord(services={"s3": STARTED}, ports={"s3": 1}).save(layout)
    assert stack.status(load_settings({"GANLIB_HOME": str(layout.home)}))["s3"].state == "down"


def test_down_where_nothing_was_ever_started(tmp_path):
    said: list[str] = []
    stack.down(load_settings({"GANLIB_HOME": str(tmp_path / "none")}), report=said.append)
    assert said == [f"nothing runs: there is no {tmp_path / 'none'}"]
    assert not (tmp_path / "none").exists()


def test_keys_of_another_store_without_its_address_are_refused(tmp_path):
    from ganlib.stack.home import make_credentials

    make_credentials(prepare_home(tmp_path / "home"))
    environ = {"GANLIB_HOME": str(tmp_path / "home"), "GANLIB_S3_ACCESS_KEY_ID": "another"}
    with pytest.raises(ConfigError, match="unset GANLIB_S3_ACCESS_KEY_ID"):
        stack.status(load_settings(environ))
