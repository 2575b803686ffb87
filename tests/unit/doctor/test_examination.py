from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from doctor_services import DEMANDED, World, settings_of

from ganlib.cli.main import main
from ganlib.doctor.examination import Limits, examine_services
from ganlib.doctor.finding import exit_status
from ganlib.errors import UnknownName
from ganlib.logins import CREDENTIAL_VARIABLE, secrets_of
from ganlib.settings import ADDRESS_VARIABLE

SERVICES = tuple(DEMANDED)
WRONG = {
    "s3": {"GANLIB_S3_ACCESS_KEY_ID": "another-key"},
    "mlflow": {"GANLIB_MLFLOW_PASSWORD": "another-word"},
    "prefect": {"GANLIB_PREFECT_AUTH": "ganlib:another-word"},
    "ray": {"GANLIB_RAY_TOKEN": "another-token"},
}


def test_of_services_that_are_well_nothing_is_to_be_done(look, world: World) -> None:
    found = look()
    assert {finding.state for finding in found.values()} <= {"ok", "skipped"}, found
    expected = {(name, check) for name in SERVICES for check in ("reachable", "clock", "login", "closed")}
    expected |= {("s3", "bucket"), ("mlflow", "version"), ("prefect", "version"), ("ray", "version")}
    expected |= {("prefect", name) for name in ("worker", "zombies", "pending", "late", "schedule")}
    expected |= {("ray", "disk"), ("ray", "versions"), ("ray", "room"), ("machine", "disk")}
    assert {place for place, finding in found.items() if finding.state == "ok"} >= expected
    assert all(finding.remedy == "" for finding in found.values())
    assert world.objects == {}, "the trial of the bucket leaves nothing"
    assert exit_status(found.values()) == 0


@pytest.mark.parametrize("service", SERVICES)
def test_a_refused_credential_is_named_by_its_variable(service: str, look) -> None:
    found = look(WRONG[service])
    assert found[service, "login"].state == "broken"
    assert CREDENTIAL_VARIABLE[service] in found[service, "login"].remedy
    assert [place for place, one in found.items() if one.state == "broken"] == [(service, "login")]
    assert exit_status(found.values()) == 1


@pytest.mark.parametrize("service", ["mlflow", "prefect", "ray"])
def test_a_credential_that_is_asked_for_and_not_set_is_named(service: str, look) -> None:
    unset = dict.fromkeys(CREDENTIAL_VARIABLE[service].split(" and "), "")
    finding = look(unset)[service, "login"]
    assert finding.state == "broken"
    assert finding.remedy == f"set {CREDENTIAL_VARIABLE[service]}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_asks_nobody_for_the_credential_is_a_warning(service: str, look, world: World) -> None:
    world.open = {service}
    found = look()
    assert found[service, "closed"].state == "warning"
    assert "everybody" in found[service, "closed"].seen
    assert [place for place, one in found.items() if one.state == "warning"] == [(service, "closed")]
    assert exit_status(found.values()) == 0


@pytest.mark.parametrize(
    ("service", "installed", "state"),
    [
        ("mlflow", "2.22.0", "broken"),
        ("mlflow", "3.2.0", "warning"),
        ("mlflow", "3.99.0", "ok"),
        ("mlflow", "newest", "warning"),
        ("prefect", "2.20.1", "broken"),
        ("prefect", "3.0.1", "warning"),
        ("ray", "2.59.0", "broken"),
    ],
)
def test_versions_that_do_not_fit_are_told(
    service: str, installed: str, state: str, look, world: World
) -> None:
    world.versions[service] = installed
    finding = look()[service, "version"]
    assert finding.state == state
    assert installed in finding.seen


def test_another_python_on_the_cluster_is_told(look, world: World) -> None:
    world.python = "3.9.1"
    finding = look()["ray", "version"]
    assert finding.state == "broken"
    assert "Python 3.9.1" in finding.seen


@pytest.mark.parametrize(
    ("service", "seconds", "state"),
    [("s3", 30, "ok"), ("s3", 120, "warning"), ("s3", -1000, "broken"), ("ray", 1000, "warning")],
)
def test_a_clock_that_goes_wrong_is_told(
    service: str, seconds: float, state: str, look, world: World
) -> None:
    world.skew_seconds[service] = seconds
    finding = look()[service, "clock"]
    assert finding.state == state
    assert ("behind" in finding.seen) == (seconds < 0)


def test_a_bucket_that_is_read_only_is_broken_and_says_what_to_allow(look, world: World) -> None:
    world.bucket = "read-only"
    found = look()
    assert found["s3", "login"].state == "ok"
    assert found["s3", "bucket"].state == "broken"
    assert "write is refused" in found["s3", "bucket"].seen
    assert "s3:PutObject" in found["s3", "bucket"].remedy


def test_a_bucket_that_does_not_exist_is_not_made(look, world: World) -> None:
    world.bucket = "missing"
    finding = look()["s3", "bucket"]
    assert (finding.state, finding.seen) == ("warning", "ganlib does not exist")


def test_a_bucket_that_gives_other_bytes_is_broken_and_cleaned_up(look, world: World) -> None:
    world.bucket = "forgetful"
    finding = look()["s3", "bucket"]
    assert finding.state == "broken"
    assert "other bytes" in finding.seen
    assert world.objects == {}


def test_an_answer_of_another_shape_is_a_finding(look, world: World) -> None:
    world.nodes = [{"no": "raylet"}]
    finding = look()["ray", "nodes"]
    assert finding.state == "broken"
    assert "another shape" in finding.seen
    assert "raylet" in finding.seen


@pytest.fixture
def silent() -> Iterator[dict[str, str]]:
    """Addresses at which a connection is taken and nothing is ever said."""
    with ExitStack() as stack:
        doors = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in SERVICES}
        yield {name: f"http://127.0.0.1:{door.getsockname()[1]}" for name, door in doors.items()}


def test_when_nothing_answers_that_is_said_of_each(silent: dict[str, str], tmp_path: Path) -> None:
    limits = Limits(request_seconds=0.1, knock_seconds=20, look_seconds=20)
    found = examine_services(settings_of(tmp_path, silent), limits=limits)
    reached = {one.service: one for one in found if one.check == "reachable"}
    assert [reached[name].state for name in SERVICES] == ["broken"] * 4
    assert all("no answer in time" in one.seen for one in reached.values())
    assert all(ADDRESS_VARIABLE[name] in reached[name].remedy for name in SERVICES)
    assert [one.service for one in found if one.check == "rest"] == list(SERVICES)


def test_the_limits_leave_time_to_start_and_print_within_fifteen_seconds() -> None:
    limits = Limits()
    assert limits.total_seconds <= 13
    assert 2 * limits.request_seconds <= limits.knock_seconds, "both requests may take their time"
    assert 3 * limits.request_seconds <= limits.look_seconds


def test_no_finding_holds_a_secret(look, addresses: dict[str, str], tmp_path: Path, world: World) -> None:
    secrets = secrets_of(settings_of(tmp_path, addresses))
    assert len(secrets) == 5
    world.deployments[0]["parameters"] = {"recipe": secrets[0]}
    text = "\n".join(map(str, look().values()))
    assert "cannot be used" in text
    assert not [secret for secret in secrets if secret in text]


def test_a_recipe_that_does_not_exist_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(SERVICES, "http://127.0.0.1:9")
    with pytest.raises(UnknownName, match="no recipe 'digit-wgan'"):
        examine_services(settings_of(tmp_path, nowhere), recipe="digit-wgan")


def test_the_command_prints_json_and_its_status_tells_what_is_broken(
    addresses: dict[str, str],
    tmp_path: Path,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str) -> object:
        monkeypatch.setattr(sys, "argv", ["ganlib", "doctor", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    settings = settings_of(tmp_path, addresses)
    monkeypatch.setattr("ganlib.cli.doctor.load_settings", lambda: settings)
    assert run("--json") == 0
    found = json.loads(capsys.readouterr().out)
    [login] = [one for one in found if (one["service"], one["check"]) == ("ray", "login")]
    assert login == {
        "check": "login",
        "service": "ray",
        "state": "ok",
        "seen": "the credential is accepted",
        "remedy": "",
    }
    world.refusing = {"ray"}
    assert run() == 1
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("broken   ray      login") for line in said)
    assert said[-1].startswith("1 broken, ")
