"""`ganlib doctor`: everything that it looks at, in two rounds of checks side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ganlib.config.run import RunConfig, load_config
from ganlib.doctor.bucket import look_at_bucket
from ganlib.doctor.certificates import look_at_certificate
from ganlib.doctor.cluster_nodes import alive_nodes, look_at_nodes, look_at_room
from ganlib.doctor.deployed import NIGHTLY, deployments_of, look_at_deployments
from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.knock import SERVICES, knock
from ganlib.doctor.prefect_runs import cancel_stuck_runs, look_at_runs, look_at_watch, look_at_worker
from ganlib.doctor.server_versions import look_at_ray_version, look_at_version
from ganlib.doctor.side_by_side import Check, look_side_by_side
from ganlib.doctor.this_machine import look_at_machine
from ganlib.errors import ConfigError
from ganlib.logins import secrets_of
from ganlib.settings import ServiceName, Settings
from ganlib.stack.home import redact
from ganlib.stack.schedule import declared


@dataclass(frozen=True)
class Limits:
    """Times within which an examination ends, seconds."""

    request_seconds: float = 2.5
    """Longest silence after a request."""
    knock_seconds: float = 5.5
    """Longest time of the first round, which asks every service whether it answers: two requests."""
    look_seconds: float = 7.5
    """Longest time of the second round, which looks closer at those that do."""

    @property
    def total_seconds(self) -> float:
        """Longest time of both rounds; starting Python and printing come to it."""
        return self.knock_seconds + self.look_seconds


@dataclass(frozen=True)
class Scope:
    """The parts of an examination that depend on its caller, or on another service."""

    config: RunConfig | None
    """The configuration of the recipe that was named; ``None``: that of the nightly deployment counts."""
    prefect_open: bool
    """Whether Prefect answers and lets us in."""
    cancel_pending: bool


def examine_services(
    settings: Settings,
    *,
    recipe: str | None = None,
    cancel_pending: bool = False,
    limits: Limits | None = None,
) -> list[Finding]:
    """Look at the services that the settings name, at this machine, and at what is set up on them.

    Args:
        settings: Addresses and credentials.
        recipe: Whose resources the cluster must have; ``None``: those of the nightly deployment.
        cancel_pending: Also cancel the flow runs that have been pending for too long.
        limits: Of its time.

    Raises:
        UnknownName: There is no such recipe.
    """
    config = load_config(recipe) if recipe is not None else None
    bounds = limits or Limits()
    doors = [
        Check(Topic("reachable", name), partial(knock, settings, name, bounds.request_seconds))
        for name in SERVICES
    ]
    first = look_side_by_side(doors, bounds.knock_seconds)
    closed = {finding.service for finding in first if _keeps_out(finding)}
    checks = [Check(Topic("disk", "machine"), partial(look_at_machine, settings))]
    scope = Scope(config, "prefect" not in closed, cancel_pending)
    for service in SERVICES:
        if service not in closed:
            checks += _closer(settings, service, scope, bounds.request_seconds)
    second = look_side_by_side(checks, bounds.look_seconds)
    skipped = [
        Topic("rest", name).skipped("not looked at closer, since it does not let us in")
        for name in SERVICES
        if name in closed
    ]
    # By service, each in the order in which they were found.
    order = {name: place for place, name in enumerate((*SERVICES, "machine"))}
    found = sorted([*first, *second, *skipped], key=lambda finding: order[finding.service])
    secrets = secrets_of(settings)
    return [finding.model_copy(update={"seen": redact(finding.seen, secrets)}) for finding in found]


def _keeps_out(finding: Finding) -> bool:
    return finding.state == "broken" and finding.check in ("reachable", "login")


def _closer(settings: Settings, service: ServiceName, scope: Scope, request_seconds: float) -> list[Check]:
    """The checks of a service that answers and lets us in."""

    def check(name: str, look: Callable[..., Iterator[Finding]], *arguments: object) -> Check:
        return Check(Topic(name, service), partial(look, settings, *arguments))

    checks = [check("certificate", look_at_certificate, service, request_seconds)]
    if service == "s3":
        return [*checks, check("bucket", look_at_bucket, request_seconds)]
    if service == "mlflow":
        return [*checks, check("version", look_at_version, service, request_seconds)]
    if service == "ray":
        return [
            *checks,
            check("version", look_at_ray_version, request_seconds),
            check("nodes", _look_at_cluster, scope, request_seconds),
        ]
    return [
        *checks,
        check("version", look_at_version, service, request_seconds),
        check("worker", look_at_worker, request_seconds),
        check("zombies", look_at_watch, request_seconds),
        check("pending", _look_at_runs, scope, request_seconds),
        check("schedule", look_at_deployments, request_seconds),
    ]


def _look_at_runs(settings: Settings, scope: Scope, request_seconds: float) -> Iterator[Finding]:
    if scope.cancel_pending:
        for name in cancel_stuck_runs(settings, request_seconds):
            yield Topic("pending", "prefect").ok(f"run {name} was pending for too long and is cancelled now")
    yield from look_at_runs(settings, request_seconds)


def _look_at_cluster(settings: Settings, scope: Scope, request_seconds: float) -> Iterator[Finding]:
    nodes = alive_nodes(settings, request_seconds)
    yield from look_at_nodes(nodes)
    if scope.config is not None:
        yield look_at_room(settings, nodes, scope.config, f"recipe {scope.config.recipe}")
        return
    [parameters] = [one["parameters"] for one in declared() if one["name"] == NIGHTLY]
    asked_by = f"deployment {NIGHTLY} in prefect.yaml"
    if scope.prefect_open:
        present = deployments_of(settings, request_seconds)
        if NIGHTLY in present:
            parameters, asked_by = present[NIGHTLY]["parameters"], f"deployment {NIGHTLY}"
    try:
        config = load_config(parameters["recipe"], parameters.get("overrides"))
    except ConfigError as error:
        seen = f"the parameters of {asked_by} cannot be used: {error}"
        yield Topic("room", "ray").broken(seen, "correct them in Prefect")
        return
    yield look_at_room(settings, nodes, config, asked_by)
