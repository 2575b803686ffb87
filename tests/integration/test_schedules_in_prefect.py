"""Schedules and parameters that somebody changes on Prefect's page, and what `ganlib` says and does then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from ganlib import stack
from ganlib.logins import login_headers
from ganlib.settings import Settings
from ganlib.stack.schedule import SILENCE_SECONDS

pytestmark = pytest.mark.services

Ask = Callable[..., Any]
Schedule = Callable[..., list[str]]

OFF = "nightly: schedule nightly is off (0 3 * * *, UTC)"
ON = "nightly: schedule nightly is on (0 3 * * *, UTC)"


@pytest.fixture
def ask(stack_settings: Settings) -> Ask:
    api, headers = stack_settings.require("prefect"), login_headers(stack_settings, "prefect")

    def send(method: str, path: str, body: object = None) -> Any:
        answer = requests.request(method, f"{api}{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    return send


@pytest.fixture
def schedule(stack_settings: Settings) -> Iterator[Schedule]:
    def run(state: str) -> list[str]:
        said: list[str] = []
        stack.schedule(stack_settings, state, report=said.append)
        return said

    yield run
    run("on")  # resumes the deployment
    run("off")


def nightly(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", "/deployments/name/retrain/nightly")
    return found


def test_one_that_was_deleted_is_told_and_made_anew(ask: Ask, schedule: Schedule) -> None:
    deployment = nightly(ask)
    [one] = deployment["schedules"]
    ask("DELETE", f"/deployments/{deployment['id']}/schedules/{one['id']}")
    assert schedule("status") == [
        "nightly: schedule nightly was deleted in Prefect; `ganlib schedule on` makes it anew"
    ]
    assert schedule("on") == ["nightly: schedule nightly had been deleted and is made anew", ON]


def test_a_paused_deployment_is_told_and_resumed(ask: Ask, schedule: Schedule) -> None:
    schedule("on")
    ask("POST", f"/deployments/{nightly(ask)['id']}/pause_deployment")
    assert [line for line in schedule("status") if "paused and nothing starts" in line]
    assert schedule("on") == ["nightly: the deployment was paused and is resumed", ON]
    assert not nightly(ask)["paused"]


def test_a_second_schedule_goes_off_with_the_first(ask: Ask, schedule: Schedule) -> None:
    deployment = nightly(ask)
    second = {"active": True, "schedule": {"interval": 3600}}
    ask("POST", f"/deployments/{deployment['id']}/schedules", [second])
    try:
        assert "nightly: 2 schedules are on, and each starts a run" in schedule("on")
        said = schedule("off")
        assert said[0] == "nightly: schedule unnamed, added in Prefect, is turned off too"
        assert OFF in said
        assert not [one for one in nightly(ask)["schedules"] if one["active"]]
    finally:
        [added] = [one["id"] for one in nightly(ask)["schedules"] if one["slug"] != "nightly"]
        ask("DELETE", f"/deployments/{deployment['id']}/schedules/{added}")


def test_registering_again_keeps_parameters_and_mends_the_watch(ask: Ask, stack_settings: Settings) -> None:
    declared, number = nightly(ask)["parameters"], nightly(ask)["id"]
    changed = {"recipe": "digits-wgan", "overrides": {"seed": 7}}
    ask("PATCH", f"/deployments/{number}", {"parameters": changed})
    [watch] = ask("POST", "/automations/filter", {})
    kept = {name: watch[name] for name in ("name", "actions", "enabled")}
    ask("PUT", f"/automations/{watch['id']}", {**kept, "trigger": {**watch["trigger"], "within": 90}})
    ask("POST", "/automations/", {**kept, "trigger": watch["trigger"]})
    try:
        stack.run_deployments(stack_settings, "register")
        assert nightly(ask)["parameters"] == changed
        [after] = ask("POST", "/automations/filter", {})
        assert after["trigger"]["within"] == SILENCE_SECONDS
    finally:
        ask("PATCH", f"/deployments/{number}", {"parameters": declared})
    stack.run_deployments(stack_settings, "register")
    assert nightly(ask)["parameters"] == declared
