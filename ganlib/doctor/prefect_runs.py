"""Prefect's runs and worker: runs that hang, runs that are late, and what notices a killed one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.http_answers import ask
from ganlib.logins import login_headers
from ganlib.settings import Settings
from ganlib.stack.environment import POOL
from ganlib.stack.schedule import SILENCE_SECONDS, WATCH

PENDING_LIMIT = timedelta(minutes=5)
"""A worker starts a flow's process within seconds; a run that is pending for longer has lost its worker."""


_SERVE = "python -m flows.serve"
"""The one worker of the pool where Prefect is not embedded: a second one would take up its live runs."""


def how_to_register(settings: Settings) -> str:
    """The command that registers deployments, work pool and watch, as a clause."""
    if "prefect" not in settings.own:
        return "`ganlib up` registers it"
    return f"the process `{_SERVE}` registers it when it starts, as the container prefect-worker"


def ask_prefect(settings: Settings, path: str, body: Any = None, *, timeout_seconds: float) -> Any:
    """Prefect's JSON answer to a GET, or to a POST of ``body``.

    Raises:
        NoAnswer: It does not answer, or refuses.
    """
    url = f"{settings.require('prefect').rstrip('/')}{path}"
    return ask(url, login_headers(settings, "prefect"), body, timeout_seconds=timeout_seconds).json()


def look_at_watch(settings: Settings, timeout_seconds: float) -> Iterator[Finding]:
    """See that the automation is there that marks the runs of a killed process as crashed."""
    topic = Topic("zombies", "prefect")
    wanted = {"automations": {"name": {"any_": [WATCH]}}}
    found = ask_prefect(settings, "/automations/filter", wanted, timeout_seconds=timeout_seconds)
    named = [one for one in found if one["name"] == WATCH]
    if not named:
        seen = "no automation marks the runs of a killed process as crashed, and they keep their slot"
        yield topic.warning(seen, how_to_register(settings))
        return
    silence = float(named[0]["trigger"].get("within", 0))
    if not named[0]["enabled"]:
        yield topic.warning(f"the automation {WATCH!r} is off", "turn it on in Prefect")
    elif silence < SILENCE_SECONDS or len(named) > 1:
        seen = f"{len(named)} automations {WATCH!r}, the first after {silence:g} s of silence"
        yield topic.warning(seen, f"{how_to_register(settings)} anew, once and with {SILENCE_SECONDS} s")
    else:
        yield topic.ok(f"a run is marked as crashed after {silence:g} s without heartbeat")


def look_at_worker(settings: Settings, timeout_seconds: float) -> Iterator[Finding]:
    """See that a worker polls the work pool, and that the pool is not paused."""
    topic = Topic("worker", "prefect")
    wanted = {"work_pools": {"name": {"any_": [POOL]}}}
    pools = ask_prefect(settings, "/work_pools/filter", wanted, timeout_seconds=timeout_seconds)
    if not pools:
        yield topic.broken(f"there is no work pool {POOL}", how_to_register(settings))
        return
    if pools[0]["is_paused"]:
        yield topic.warning(f"work pool {POOL} is paused: no run starts", "resume it in Prefect")
    path = f"/work_pools/{POOL}/workers/filter"
    workers = ask_prefect(settings, path, {}, timeout_seconds=timeout_seconds)
    online = [str(worker["name"]) for worker in workers if worker["status"] == "ONLINE"]
    if online:
        yield topic.ok(f"work pool {POOL} has {len(online)} with a heartbeat: {', '.join(online)}")
        return
    beats = [str(worker["last_heartbeat_time"]) for worker in workers if worker.get("last_heartbeat_time")]
    seen = f"no worker of pool {POOL} has a heartbeat"
    last = f", the last was at {max(beats)[:19]}" if beats else ""
    own = "prefect" in settings.own
    remedy = (
        f"start the process `{_SERVE}`, as the container prefect-worker" if own else "`ganlib up` starts it"
    )
    yield topic.broken(seen + last, remedy)


def look_at_runs(settings: Settings, timeout_seconds: float) -> Iterator[Finding]:
    """See that no run waits for a worker that was killed, and that none is late."""
    topic = Topic("pending", "prefect")
    stuck = stuck_runs(settings, timeout_seconds)
    if stuck:
        names = ", ".join(str(run["name"]) for run in stuck[:5])
        minutes = PENDING_LIMIT.total_seconds() / 60
        seen = (
            f"{len(stuck)} runs have been pending for over {minutes:g} minutes and hold their deployments' "
            f"slots: {names}"
        )
        yield topic.broken(seen, "`ganlib doctor --cancel-pending` cancels them")
    else:
        yield topic.ok("no run hangs between its worker and its start")
    late = Topic("late", "prefect")
    waiting = _runs(settings, {"state": {"name": {"any_": ["Late"]}}}, timeout_seconds)
    if waiting:
        first = min(str(run["expected_start_time"]) for run in waiting)
        seen = f"{len(waiting)} runs are late, the first since {first[:19]}"
        remedy = "see that a worker runs, and what holds the deployment's slot, in Prefect"
        yield late.warning(seen, remedy)
    else:
        yield late.ok("no run is late")


def stuck_runs(settings: Settings, timeout_seconds: float) -> list[dict[str, Any]]:
    """Flow runs of our pool that have been pending for longer than :data:`PENDING_LIMIT`.

    Raises:
        NoAnswer: Prefect does not answer, or refuses.
    """
    pending = _runs(settings, {"state": {"type": {"any_": ["PENDING"]}}}, timeout_seconds)
    before = datetime.now(UTC) - PENDING_LIMIT
    return [run for run in pending if datetime.fromisoformat(run["state"]["timestamp"]) < before]


def cancel_stuck_runs(settings: Settings, timeout_seconds: float) -> list[str]:
    """Cancel the runs that :func:`stuck_runs` gives, and return their names.

    Raises:
        NoAnswer: Prefect does not answer, or refuses.
    """
    cancelled = []
    for run in stuck_runs(settings, timeout_seconds):
        path = f"/flow_runs/{run['id']}"
        now = ask_prefect(settings, path, timeout_seconds=timeout_seconds)
        if now["state"]["id"] != run["state"]["id"]:
            continue  # it has started meanwhile
        state = {"type": "CANCELLED", "message": "It was pending for too long; cancelled by `ganlib doctor`."}
        body = {"state": state, "force": True}
        ask_prefect(settings, f"{path}/set_state", body, timeout_seconds=timeout_seconds)
        cancelled.append(str(run["name"]))
    return cancelled


def _runs(settings: Settings, wanted: dict[str, Any], timeout_seconds: float) -> list[dict[str, Any]]:
    body = {"flow_runs": wanted, "work_pools": {"name": {"any_": [POOL]}}, "limit": 200}
    found: list[dict[str, Any]] = ask_prefect(
        settings, "/flow_runs/filter", body, timeout_seconds=timeout_seconds
    )
    return found
