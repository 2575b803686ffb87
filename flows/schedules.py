"""The schedules of the deployments on a Prefect server: shown, turned on and off.

A deployment's declared schedules are those of ``flows/prefect.yaml``. Others were added on Prefect's page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule

from ganlib.stack.schedule import declared


def declared_schedule(declaration: dict[str, Any]) -> DeploymentScheduleCreate:
    """A schedule of ``prefect.yaml`` as Prefect takes it."""
    return DeploymentScheduleCreate(
        slug=declaration["slug"],
        schedule=CronSchedule(cron=declaration["cron"], timezone=declaration["timezone"]),
        active=declaration["active"],
    )


def set_schedule(client: SyncPrefectClient, *, active: bool, cron: str | None) -> list[str]:
    """Turn the declared schedules on or off, at other times when ``cron`` is given; tells what else was done.

    A schedule that was deleted is made anew. On resumes its deployment if that is paused. Off turns off every
    schedule of the deployment, those added on Prefect's page too.
    """
    done = []
    for deployment in registered(client):
        wanted = _declared_of(deployment.name)
        if not wanted:
            continue
        present = {schedule.slug: schedule for schedule in client.read_deployment_schedules(deployment.id)}
        for declaration in wanted:
            found = present.get(declaration["slug"])
            if found is None:
                done += _make_anew(client, deployment, declaration, active=active, cron=cron)
                continue
            moved = None if cron is None else _cron(cron, getattr(found.schedule, "timezone", None))
            client.update_deployment_schedule(deployment.id, found.id, active=active, schedule=moved)
        if active and deployment.paused:
            client.resume_deployment(deployment.id)
            done.append(f"{deployment.name}: the deployment was paused and is resumed")
        if not active:
            done += _turn_others_off(client, deployment)
    return done


def _make_anew(
    client: SyncPrefectClient,
    deployment: DeploymentResponse,
    declaration: dict[str, Any],
    *,
    active: bool,
    cron: str | None,
) -> list[str]:
    moved = {**declaration, "cron": cron or declaration["cron"], "active": active}
    _cron(moved["cron"], moved["timezone"])  # refuses one that is none, in a sentence
    client.create_deployment_schedules(deployment.id, [declared_schedule(moved)])
    return [f"{deployment.name}: schedule {declaration['slug']} had been deleted and is made anew"]


def _turn_others_off(client: SyncPrefectClient, deployment: DeploymentResponse) -> list[str]:
    slugs = {one["slug"] for one in _declared_of(deployment.name)}
    present = client.read_deployment_schedules(deployment.id)
    others = [schedule for schedule in present if schedule.active and schedule.slug not in slugs]
    for schedule in others:
        client.update_deployment_schedule(deployment.id, schedule.id, active=False)
    return [
        f"{deployment.name}: schedule {schedule.slug or 'unnamed'}, added in Prefect, is turned off too"
        for schedule in others
    ]


def _cron(cron: str, timezone: str | None) -> CronSchedule:
    try:
        return CronSchedule(cron=cron, timezone=timezone)
    except ValueError as error:
        raise SystemExit(f"--cron {cron!r} is not five cron fields, as in '0 3 * * *'") from error


def status(client: SyncPrefectClient) -> list[dict[str, Any]]:
    """Every registered deployment with its schedules and the declared ones that are missing."""
    found = []
    for deployment in registered(client):
        schedules = [_values(schedule) for schedule in client.read_deployment_schedules(deployment.id)]
        present = {schedule["slug"] for schedule in schedules}
        slugs = [one["slug"] for one in _declared_of(deployment.name)]
        found.append(
            {
                "deployment": deployment.name,
                "id": str(deployment.id),
                "paused": deployment.paused,
                "schedules": schedules,
                "missing": [slug for slug in slugs if slug not in present],
            }
        )
    return found


def _values(schedule: DeploymentSchedule) -> dict[str, Any]:
    return {
        "slug": schedule.slug,
        "cron": getattr(schedule.schedule, "cron", None),
        "timezone": getattr(schedule.schedule, "timezone", None),
        "active": schedule.active,
    }


def describe_status(found: Sequence[dict[str, Any]]) -> list[str]:
    """Lines for a person: one for each schedule, each that is missing, and what keeps one from working."""
    lines = []
    for one in found:
        name = one["deployment"]
        for schedule in one["schedules"]:
            state = "on" if schedule["active"] else "off"
            if schedule["active"] and one["paused"]:
                state = "on, but its deployment is paused and nothing starts"
            time = f"({schedule['cron'] or 'not a cron'}, {schedule['timezone']})"
            lines.append(f"{name}: schedule {schedule['slug'] or 'unnamed'} is {state} {time}")
        lines += [
            f"{name}: schedule {slug} was deleted in Prefect; `ganlib schedule on` makes it anew"
            for slug in one["missing"]
        ]
        on = sum(schedule["active"] for schedule in one["schedules"])
        if one["paused"]:
            lines.append(f"{name}: the deployment is paused in Prefect; `ganlib schedule on` resumes it")
        elif on > 1:
            lines.append(f"{name}: {on} schedules are on, and each starts a run")
    return lines


def registered(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """The deployments of ``prefect.yaml`` as the server has them; ends this program when one is missing."""
    names = {declaration["name"] for declaration in declared()}
    pools = {declaration["work_pool"]["name"] for declaration in declared()}
    present = [one for one in client.read_deployments() if one.name in names and one.work_pool_name in pools]
    if missing := names - {one.name for one in present}:
        raise SystemExit(
            f"not registered with {client.api_url}: {', '.join(sorted(missing))}. "
            "`ganlib up` or `python -m flows.deployments register` does it"
        )
    return present


def _declared_of(name: str) -> list[dict[str, Any]]:
    return [schedule for one in declared() if one["name"] == name for schedule in one["schedules"]]
