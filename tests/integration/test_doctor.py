"""`ganlib doctor` on the services of this machine, healthy and not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests

from ganlib import stack
from ganlib.doctor.examination import examine_services
from ganlib.logins import login_headers, secrets_of
from ganlib.settings import Settings
from ganlib.storage import open_store

pytestmark = pytest.mark.services

Doctor = Callable[..., tuple[int, dict[tuple[str, str], dict[str, Any]]]]


@pytest.fixture
def doctor(stack_environ: dict[str, str]) -> Doctor:
    """Run the command; returns its exit status and the findings that are not well by service and check."""

    def run(**environ: str) -> tuple[int, dict[tuple[str, str], dict[str, Any]]]:
        command = [sys.executable, "-m", "ganlib.cli", "doctor", "--json"]
        environ = {**stack_environ, **environ}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        found = {(one["service"], one["check"]): one for one in json.loads(done.stdout)}
        bad = {place: one for place, one in found.items() if one["state"] in ("warning", "broken")}
        return done.returncode, bad

    return run


def test_nothing_is_broken_on_a_healthy_stack_and_nothing_is_left(
    doctor: Doctor, stack_settings: Settings
) -> None:
    before = [found.key for found in open_store(stack_settings).list("")]
    status, bad = doctor()
    # A full disk is this machine's own affair.
    assert {place: one for place, one in bad.items() if place[1] != "disk"} == {}
    assert status == int(any(one["state"] == "broken" for one in bad.values()))
    assert [found.key for found in open_store(stack_settings).list("")] == before


def test_the_embedded_node_tells_its_versions(stack_settings: Settings) -> None:
    found = examine_services(stack_settings)
    [versions] = [one for one in found if (one.service, one.check) == ("ray", "versions")]
    assert versions.state == "ok"
    text = "\n".join(map(str, found))
    assert not [secret for secret in secrets_of(stack_settings) if secret in text]


@pytest.mark.parametrize(
    ("variable", "service"), [("GANLIB_RAY_TOKEN", "ray"), ("GANLIB_PREFECT_AUTH", "prefect")]
)
def test_a_wrong_credential_is_broken(variable: str, service: str, doctor: Doctor) -> None:
    status, bad = doctor(**{variable: "ganlib:wrong"})
    assert status == 1
    assert bad[service, "login"]["state"] == "broken"
    assert variable in bad[service, "login"]["remedy"]


def test_a_wrong_key_of_the_store_is_broken(stack_settings: Settings) -> None:
    wrong = stack_settings.model_copy(update={"s3_access_key_id": "nobody"})
    found = {(one.service, one.check): one for one in examine_services(wrong)}
    assert found["s3", "login"].state == "broken"
    assert "GANLIB_S3_ACCESS_KEY_ID" in found["s3", "login"].remedy


def test_what_was_removed_in_prefect_is_told_and_up_registers_it_again(stack_settings: Settings) -> None:
    api, headers = stack_settings.require("prefect"), login_headers(stack_settings, "prefect")

    def ask(method: str, path: str, body: object = None) -> Any:
        answer = requests.request(method, f"{api}{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    for automation in ask("POST", "/automations/filter", {}):
        ask("DELETE", f"/automations/{automation['id']}")
    ask("DELETE", f"/deployments/{ask('GET', '/deployments/name/ingest/pictures')['id']}")
    found = {
        (one.check, one.state): one for one in examine_services(stack_settings) if one.service == "prefect"
    }
    assert "`ganlib up`" in found["zombies", "warning"].remedy
    assert "pictures is not registered" in found["schedule", "broken"].seen
    stack.up(stack_settings, report=print)
    well = {(one.check, one.state) for one in examine_services(stack_settings) if one.service == "prefect"}
    assert {state for _, state in well} <= {"ok", "skipped"}


def test_a_run_that_lost_its_worker_before_it_began_is_told_and_cancelled(
    stack_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganlib.doctor.prefect_runs.PENDING_LIMIT", timedelta())
    api, headers = stack_settings.require("prefect"), login_headers(stack_settings, "prefect")
    deployment = requests.get(f"{api}/deployments/name/retrain/nightly", headers=headers, timeout=30).json()
    body = {"parameters": {"recipe": "digits-wgan"}, "state": {"type": "PENDING"}}
    url = f"{api}/deployments/{deployment['id']}/create_flow_run"
    run = requests.post(url, json=body, headers=headers, timeout=30).json()
    try:
        [told] = [one for one in examine_services(stack_settings) if one.check == "pending"]
        assert told.state == "broken"
        assert run["name"] in told.seen
        said = [
            one for one in examine_services(stack_settings, cancel_pending=True) if one.check == "pending"
        ]
        assert [one.state for one in said] == ["ok", "ok"]
        after = requests.get(f"{api}/flow_runs/{run['id']}", headers=headers, timeout=30).json()
        assert after["state_type"] == "CANCELLED"
    finally:
        requests.delete(f"{api}/flow_runs/{run['id']}", headers=headers, timeout=30)
