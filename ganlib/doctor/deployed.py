"""Deployments and schedules on the Prefect server against those of ``flows/prefect.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.prefect_runs import ask_prefect, how_to_register
from ganlib.settings import Settings
from ganlib.stack.environment import POOL
from ganlib.stack.schedule import declared

NIGHTLY = "nightly"
"""The deployment that retrains."""


def deployments_of(settings: Settings, timeout_seconds: float) -> dict[str, dict[str, Any]]:
    """The deployments of our work pool on the server, by name.

    Raises:
        NoAnswer: Prefect does not answer, or refuses.
    """
    body = {"work_pools": {"name": {"any_": [POOL]}}}
    found = ask_prefect(settings, "/deployments/filter", body, timeout_seconds=timeout_seconds)
    return {str(one["name"]): one for one in found}


def look_at_deployments(settings: Settings, timeout_seconds: float) -> Iterator[Finding]:
    """Compare every declared deployment, its schedules and its parameters with the server's.

    Another time and other parameters are the user's choice: they are told, and are no fault.
    """
    present = deployments_of(settings, timeout_seconds)
    for wanted in declared():
        name = wanted["name"]
        topic = Topic("schedule", "prefect")
        if name not in present:
            yield topic.broken(f"deployment {name} is not registered", how_to_register(settings))
            continue
        deployment = present[name]
        yield from _schedules(topic, name, wanted["schedules"], deployment)
        if others := _differences(wanted["parameters"], deployment["parameters"]):
            yield Topic("parameters", "prefect").ok(f"{name}: {others}")


def _schedules(
    topic: Topic, name: str, wanted: list[dict[str, Any]], deployment: Mapping[str, Any]
) -> Iterator[Finding]:
    by_slug = {schedule["slug"]: schedule for schedule in deployment["schedules"]}
    active = [schedule for schedule in deployment["schedules"] if schedule["active"]]
    if deployment["paused"]:
        seen = f"deployment {name} is paused: its {len(active)} schedules that are on start nothing"
        remedy = "`ganlib schedule on` resumes it" if name == NIGHTLY else "resume it in Prefect"
        yield topic.warning(seen, remedy)
    for one in wanted:
        found = by_slug.get(one["slug"])
        if found is None:
            seen = f"{name} has no schedule {one['slug']} any more"
            yield topic.warning(seen, "`ganlib schedule on` makes it anew")
            continue
        state = "on" if found["active"] else "off"
        time = times(found["schedule"])
        usual = "" if time == times(one) else f", where prefect.yaml has {times(one)}"
        yield topic.ok(f"{name} is {state}: {time}{usual}")
    slugs = {one["slug"] for one in wanted}
    extra = [schedule for schedule in active if schedule["slug"] not in slugs]
    if extra:
        others = ", ".join(f"{one['slug'] or 'unnamed'} at {times(one['schedule'])}" for one in extra)
        remedy = "`ganlib schedule off` turns them off too" if name == NIGHTLY else "turn them off in Prefect"
        yield topic.warning(f"{name} is also started by schedules of Prefect's page: {others}", remedy)


def times(schedule: Mapping[str, Any]) -> str:
    """When a schedule starts something, for a person."""
    when = schedule.get("cron") or (
        f"every {schedule['interval']:g} s" if "interval" in schedule else "a rule"
    )
    return f"{when}, {schedule.get('timezone') or 'UTC'}"


def _differences(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    """The parameters that were set in Prefect; empty when there are none."""
    names = [name for name in sorted({*wanted, *present}) if wanted.get(name) != present.get(name)]
    return ", ".join(
        f"{name} is {present.get(name)!r}, where prefect.yaml has {wanted.get(name)!r}" for name in names
    )
