"""Registering the deployments of ``flows/prefect.yaml`` with a Prefect server, and their schedules.

::

    python -m flows.deployments register
    python -m flows.deployments schedule on --cron "0 4 * * *"
    python -m flows.deployments schedule off
    python -m flows.deployments status --json

The server is the one that ``PREFECT_API_URL`` names. Registering again brings code, parameters and
limits up to date. A schedule that the server has, and parameters that were set on its page, are the user's
from then on, and stay as they are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyOptions, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from flows.kept_parameters import merged, read_declared, write_declared
from flows.schedules import declared_schedule, describe_status, set_schedule, status
from ganlib.stack.schedule import SILENCE_SECONDS, WATCH, declared

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: entrypoints are relative to it, and a run's working directory is set to it."""


def register(client: SyncPrefectClient) -> list[str]:
    """Create or update every deployment; returns their names, as ``flow/deployment``."""
    names = []
    before = read_declared(client)
    for declaration in declared():
        _make_pool(client, declaration["work_pool"]["name"])
        entrypoint = declaration["entrypoint"]
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / entrypoint), use_placeholder_flow=False)
        kept = before.get(declaration["name"])
        names.append(_register_one(client, flow, entrypoint, declaration, kept))
    write_declared(client, {declaration["name"]: declaration["parameters"] for declaration in declared()})
    _watch_heartbeats(client)
    return names


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        try:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        except ObjectAlreadyExists:
            # A worker that started at the same moment made it.
            client.read_work_pool(name)


def _register_one(
    client: SyncPrefectClient,
    flow: Flow[..., Any],
    entrypoint: str,
    declaration: dict[str, Any],
    before: dict[str, Any] | None,
) -> str:
    limit = declaration["concurrency_limit"]
    content: dict[str, Any] = {
        "description": declaration["description"],
        "tags": declaration["tags"],
        "parameters": declaration["parameters"],
        "work_pool_name": declaration["work_pool"]["name"],
        "entrypoint": entrypoint,
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        "concurrency_limit": limit["limit"],
        "concurrency_options": ConcurrencyOptions(collision_strategy=limit["collision_strategy"]),
        "enforce_parameter_schema": True,
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
    }
    full_name = f"{flow.name}/{declaration['name']}"
    schedules = [declared_schedule(one) for one in declaration["schedules"]]
    try:
        present = client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        flow_id = client.create_flow(flow)
        client.create_deployment(flow_id, declaration["name"], schedules=schedules, **content)
        return full_name
    bring_up_to_date(client, present, content, before)
    slugs = {schedule.slug for schedule in client.read_deployment_schedules(present.id)}
    missing = [schedule for schedule in schedules if schedule.slug not in slugs]
    if missing:
        client.create_deployment_schedules(present.id, missing)
    return full_name


def bring_up_to_date(
    client: SyncPrefectClient,
    present: DeploymentResponse,
    content: dict[str, Any],
    before: dict[str, Any] | None,
) -> None:
    """Bring a deployment up to date; parameters set on Prefect's page stay if the flow takes them."""
    kept = merged(content["parameters"], present.parameters, before)
    try:
        client.update_deployment(present.id, DeploymentUpdate(**{**content, "parameters": kept}))
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in (409, 422) or kept == content["parameters"]:
            raise
        client.update_deployment(present.id, DeploymentUpdate(**content))
        sys.stdout.write(
            f"{present.name}: the flow no longer takes the parameters that were set in Prefect, {kept!r}; "
            "those of prefect.yaml are back\n"
        )


def _watch_heartbeats(client: SyncPrefectClient) -> None:
    """Have the server mark runs without heartbeat as crashed: a killed process cannot report it.

    An automation of that name which differs is brought up to date, and a second one is removed. One that was
    turned off stays off.
    """
    wanted = _watch()
    present = client.read_automations_by_name(WATCH)
    if not present:
        client.create_automation(wanted)
        return
    first, *others = present
    for other in others:
        client.delete_automation(other.id)
    if _content(first) != _content(wanted):
        client.update_automation(first.id, wanted.model_copy(update={"enabled": first.enabled}))


def _watch() -> AutomationCore:
    ended = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    trigger = EventTrigger(
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.heartbeat", *ended},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=SILENCE_SECONDS),
    )
    message = f"No heartbeat for {SILENCE_SECONDS} seconds: the process that ran this flow is gone."
    action = ChangeFlowRunState(state=StateType.CRASHED, message=message)
    return AutomationCore(name=WATCH, trigger=trigger, actions=[action])


def _content(automation: AutomationCore) -> dict[str, Any]:
    """The trigger and actions of an automation, less the ids that the server gives."""
    names = {"after", "expect", "match", "for_each", "posture", "threshold", "within"}
    return {
        "trigger": automation.trigger.model_dump(include=names),
        "actions": [action.model_dump() for action in automation.actions],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.deployments", description=(__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("register", help="create or update the deployments")
    schedule = commands.add_parser("schedule", help="turn the nightly run on or off")
    schedule.add_argument("switch", choices=("on", "off"))
    schedule.add_argument("--cron", help="when to run, as five cron fields in UTC")
    shown = commands.add_parser("status", help="deployments and their schedules")
    shown.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    with get_client(sync_client=True) as client:
        if chosen.command == "register":
            sys.stdout.write("registered " + ", ".join(register(client)) + "\n")
            return
        if chosen.command == "schedule":
            done = set_schedule(client, active=chosen.switch == "on", cron=chosen.cron)
            sys.stdout.write("".join(f"{line}\n" for line in done))
        found = status(client)
        if chosen.command == "status" and chosen.json:
            sys.stdout.write(json.dumps(found, indent=2) + "\n")
        else:
            sys.stdout.write("".join(f"{line}\n" for line in describe_status(found)))


if __name__ == "__main__":
    main()
