from __future__ import annotations

import pytest
from doctor_services import World, deployment, flow_run, nightly

from ganlib.stack.schedule import SILENCE_SECONDS, WATCH

FOUR_HOURS = {"interval": 14400.0, "timezone": None}


def test_a_run_that_hangs_in_pending_is_broken_and_is_cancelled_on_request(look, world: World) -> None:
    world.runs["PENDING"] = [flow_run(minutes=20)]
    finding = look()["prefect", "pending"]
    assert finding.state == "broken"
    assert "sly-fox" in finding.seen
    assert "--cancel-pending" in finding.remedy
    assert world.posted == [], "nothing is cancelled unasked"
    finding = look(cancel_pending=True)["prefect", "pending"]
    assert finding.state == "ok"
    [(path, body)] = world.posted
    assert path == "/flow_runs/run-1/set_state"
    assert (body["state"]["type"], body["force"]) == ("CANCELLED", True)


def test_a_run_that_was_just_handed_to_a_worker_is_left_alone(look, world: World) -> None:
    world.runs["PENDING"] = [flow_run(minutes=1)]
    assert look(cancel_pending=True)["prefect", "pending"].state == "ok"
    assert world.posted == []


def test_a_run_that_started_since_it_was_listed_is_not_cancelled(look, world: World) -> None:
    world.runs["PENDING"] = [flow_run(minutes=20)]
    world.now = flow_run(minutes=0, state={"id": "second", "type": "RUNNING"})
    look(cancel_pending=True)
    assert world.posted == []


def test_late_runs_are_a_warning(look, world: World) -> None:
    world.runs["Late"] = [flow_run(minutes=30), flow_run(minutes=90)]
    finding = look()["prefect", "late"]
    assert (finding.state, finding.seen[:16]) == ("warning", "2 runs are late,")


@pytest.mark.parametrize(
    ("watches", "said"),
    [
        ([], "no automation"),
        ([{"name": WATCH, "enabled": False, "trigger": {"within": SILENCE_SECONDS}}], "is off"),
        ([{"name": WATCH, "enabled": True, "trigger": {"within": 90}}], "after 90 s"),
        ([{"name": WATCH, "enabled": True, "trigger": {"within": SILENCE_SECONDS}}] * 2, "2 automations"),
    ],
)
def test_what_notices_a_killed_run_is_looked_at(
    watches: list[dict[str, object]], said: str, look, world: World
) -> None:
    world.watches = watches
    finding = look()["prefect", "zombies"]
    assert finding.state == "warning"
    assert said in finding.seen


def test_a_worker_without_heartbeat_is_broken(look, world: World) -> None:
    world.workers[0]["status"] = "OFFLINE"
    finding = look()["prefect", "worker"]
    assert finding.state == "broken"
    assert "2026-11-28T08:00:00" in finding.seen
    assert "python -m flows.serve" in finding.remedy, "the server is one of one's own"


def test_a_paused_pool_is_a_warning_and_a_missing_one_is_broken(look, world: World) -> None:
    world.pools[0]["is_paused"] = True
    assert look()["prefect", "worker"].state == "warning"
    world.pools = []
    assert look()["prefect", "worker"].state == "broken"


@pytest.mark.parametrize(
    ("found", "state", "said"),
    [
        ([], "broken", "nightly is not registered"),
        ([deployment("nightly", [])], "warning", "no schedule nightly any more"),
        ([deployment("nightly", [nightly()], paused=True)], "warning", "its 1 schedules that are on"),
        (
            [deployment("nightly", [nightly(), nightly(slug=None, schedule=FOUR_HOURS)])],
            "warning",
            "unnamed at every 14400 s, UTC",
        ),
        ([deployment("nightly", [nightly(active=False)])], "ok", "nightly is off: 0 3 * * *, UTC"),
        (
            [deployment("nightly", [nightly(schedule={"cron": "0 4 * * *", "timezone": "Europe/Rome"})])],
            "ok",
            "0 4 * * *, Europe/Rome, where prefect.yaml has 0 3 * * *, UTC",
        ),
    ],
)
def test_schedules_are_compared_with_those_declared(
    found: list[dict[str, object]], state: str, said: str, look, world: World
) -> None:
    world.deployments = [*found, *world.deployments[1:]]
    finding = look()["prefect", "schedule"]
    assert finding.state == state
    assert said in finding.seen


def test_parameters_that_were_set_in_prefect_are_told_and_no_fault(look, world: World) -> None:
    world.deployments[0]["parameters"] = {"recipe": "digits-wgan", "name": None}
    finding = look()["prefect", "parameters"]
    assert finding.state == "ok"
    assert finding.seen == "nightly: recipe is 'digits-wgan', where prefect.yaml has 'fashion-mnist-wgan'"
