"""Registering the deployments of ``flows/prefect.yaml`` with a Prefect server, and their schedules.

::

    python -m flows.deployments register
    python -m flows.deployments schedule on --cron "0 4 * * *"
    python -m flows.deployments schedule off
    python -m flows.deployments status --json

The server is the one that ``PREFECT_API_URL`` names. Registering again brings code, parameters and
limits up to date; a schedule that the server has is the user's from then on, and stays as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyOptions, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import EventTrigger
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

FILE = Path(__file__).with_name("prefect.yaml")
ROOT = Path(__file__).resolve().parent.parent
"""The checkout: entrypoints are relative to it, and a run's working directory is set to it."""

WATCH = "ganlib: a run without heartbeat has crashed"
SILENCE_SECONDS = 400
"""Twice Prefect's own interval between heartbeats and a little, for runs outside the worker too."""


def declared() -> list[dict[str, Any]]:
    """The deployments in ``prefect.yaml``."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    deployments: list[dict[str, Any]] = content["deployments"]
    return deployments


def register(client: SyncPrefectClient) -> list[str]:
    """Create or update every deployment; returns their names, as ``flow/deployment``."""
    names = []
    for declaration in declared():
        _make_pool(client, declaration["work_pool"]["name"])
        entrypoint = declaration["entrypoint"]
        flow: Flow[..., Any] = load_flow_from_entrypoint(str(ROOT / entrypoint), use_placeholder_flow=False)
        names.append(_register_one(client, flow, entrypoint, declaration))
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
    client: SyncPrefectClient, flow: Flow[..., Any], entrypoint: str, declaration: dict[str, Any]
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
    schedules = [_schedule(declared) for declared in declaration["schedules"]]
    try:
        present = client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        flow_id = client.create_flow(flow)
        client.create_deployment(flow_id, declaration["name"], schedules=schedules, **content)
        return full_name
    client.update_deployment(present.id, DeploymentUpdate(**content))
    slugs = {schedule.slug for schedule in client.read_deployment_schedules(present.id)}
    missing = [schedule for schedule in schedules if schedule.slug not in slugs]
    if missing:
        client.create_deployment_schedules(present.id, missing)
    return full_name


def _schedule(declared: dict[str, Any]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        slug=declared["slug"],
        schedule=CronSchedule(cron=declared["cron"], timezone=declared["timezone"]),
        active=declared["active"],
    )


def _watch_heartbeats(client: SyncPrefectClient) -> None:
    """Have the server mark runs without heartbeat as crashed: a killed process cannot report it."""
    if client.read_automations_by_name(WATCH):
        return
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
    client.create_automation(AutomationCore(name=WATCH, trigger=trigger, actions=[action]))


def set_schedule(client: SyncPrefectClient, *, active: bool, cron: str | None) -> None:
    """Turn the declared schedules on or off, at other times when ``cron`` is given."""
    for deployment in _registered(client):
        for schedule in client.read_deployment_schedules(deployment.id):
            if schedule.slug in _slugs(deployment.name):
                zone = getattr(schedule.schedule, "timezone", None)
                moved = None if cron is None else _cron(cron, zone)
                client.update_deployment_schedule(deployment.id, schedule.id, active=active, schedule=moved)


def _cron(cron: str, timezone: str | None) -> CronSchedule:
    try:
        return CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise SystemExit(f"--cron {cron!r} is not five cron fields, as in '0 3 * * *'") from error


def status(client: SyncPrefectClient) -> list[dict[str, Any]]:
    """Every registered deployment with its schedules."""
    found = []
    for deployment in _registered(client):
        schedules = [
            {
                "slug": schedule.slug,
                "cron": getattr(schedule.schedule, "cron", None),
                "timezone": getattr(schedule.schedule, "timezone", None),
                "active": schedule.active,
            }
            for schedule in client.read_deployment_schedules(deployment.id)
        ]
        found.append({"deployment": deployment.name, "id": str(deployment.id), "schedules": schedules})
    return found


def _slugs(name: str) -> set[str]:
    return {s["slug"] for one in declared() if one["name"] == name for s in one["schedules"]}


def _registered(client: SyncPrefectClient) -> list[DeploymentResponse]:
    names = {declaration["name"] for declaration in declared()}
    pools = {declaration["work_pool"]["name"] for declaration in declared()}
    present = [one for one in client.read_deployments() if one.name in names and one.work_pool_name in pools]
    if missing := names - {one.name for one in present}:
        raise SystemExit(
            f"not registered with {client.api_url}: {', '.join(sorted(missing))}. "
            "`ganlib up` or `python -m flows.deployments register` does it"
        )
    return present


def _describe(found: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"{one['deployment']}: schedule {s['slug'] or 'unnamed'} is {'on' if s['active'] else 'off'} "
        f"({s['cron'] or 'not a cron'}, {s['timezone']})"
        for one in found
        for s in one["schedules"]
    ]
    return "\n".join(lines)


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
            set_schedule(client, active=chosen.switch == "on", cron=chosen.cron)
        found = status(client)
        as_json = chosen.command == "status" and chosen.json
        sys.stdout.write((json.dumps(found, indent=2) if as_json else _describe(found)) + "\n")


if __name__ == "__main__":
    main()
