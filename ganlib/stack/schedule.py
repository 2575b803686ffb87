"""Running ``python -m flows.deployments``, the one place where deployments are registered.

Prefect's library stays out of this package: it is a process of its own, with the environment of
the worker.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml

from ganlib.errors import ConfigError
from ganlib.logins import secrets_of
from ganlib.settings import Settings
from ganlib.stack import environment as env
from ganlib.stack.environment import Context
from ganlib.stack.home import Layout, prepare_home, redact
from ganlib.stack.probes import NotAnswering
from ganlib.stack.processes import MARK, mark
from ganlib.stack.state import StackRecord

NAME = "deployments"
"""Name of the log file, and mark of the processes."""

TIMEOUT_SECONDS = 90

WATCH = "ganlib: a run without heartbeat has crashed"
"""Name of the automation that marks runs without heartbeat as crashed; Prefect has none by itself."""

SILENCE_SECONDS = 540
"""Silence after which a run counts as crashed: three of Prefect's own intervals between heartbeats. Runs
outside the worker have that interval, and with half of it runs that were alive were called crashed."""

_MOST_ORPHANS = 200
"""Flow runs that Prefect lists in one answer at the most."""


def flows_folder() -> Path:
    """The folder of the package ``flows``, found without importing it.

    Raises:
        ConfigError: It is not installed.
    """
    spec = importlib.util.find_spec("flows")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("the package flows is not importable; install the checkout with `pip install -e .`")
    return Path(next(iter(spec.submodule_search_locations)))


def declared() -> list[dict[str, Any]]:
    """The deployments in ``flows/prefect.yaml``, as they are written there.

    Raises:
        ConfigError: The package ``flows`` is not installed.
    """
    content: dict[str, Any] = yaml.safe_load((flows_folder() / "prefect.yaml").read_text())
    deployments: list[dict[str, Any]] = content["deployments"]
    return deployments


def digest() -> str:
    """Return the digest of everything a registration depends on.

    These are the files of ``flows`` and their path, the names of the recipes, which the forms offer, and the
    watch over heartbeats.
    """
    folder = flows_folder()
    total = hashlib.sha256(f"{folder}\n{sys.executable}\n".encode())
    recipes = sorted(entry.name for entry in (resources.files("ganlib") / "recipes").iterdir())
    total.update("\n".join([*recipes, WATCH, str(SILENCE_SECONDS)]).encode())
    for path in sorted([*folder.glob("*.py"), *folder.glob("*.yaml")]):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def are_registered(context: Context) -> bool:
    """Whether the server has every declared deployment in our work pool, and the watch over heartbeats."""
    try:
        pool = {"name": {"any_": [env.POOL]}}
        present = context.ask("prefect", "/deployments/filter", {"work_pools": pool})
        watch = {"automations": {"name": {"any_": [WATCH]}}}
        watched = context.ask("prefect", "/automations/filter", watch)
    except NotAnswering:
        return False
    return bool(watched) and {one["name"] for one in declared()} <= {one["name"] for one in present}


Ask = Callable[..., Any]
"""Sends a request to Prefect's API and returns the JSON answer: with a body a POST, without one a GET."""


def cancel_leftovers(ask: Ask) -> None:
    """Cancel the flow runs that were being cancelled when an earlier worker ended.

    Raises:
        NotAnswering: Prefect's server does not answer.
    """
    cancelling = {"state": {"type": {"any_": ["CANCELLING"]}}}
    wanted = {"flow_runs": cancelling, "work_pools": {"name": {"any_": [env.POOL]}}}
    cancelled = {"type": "CANCELLED", "message": "Its worker ended while it was cancelled."}
    for run in ask("/flow_runs/filter", wanted):
        ask(f"/flow_runs/{run['id']}/set_state", {"state": cancelled, "force": True})


def take_up_orphans(ask: Ask) -> list[str]:
    """Have the worker run again every flow run that an earlier worker left running; returns their names.

    To be called just before a new worker starts, when no such run has a process. A run that is repeated finds
    its own finished work and attaches to its job on the cluster.

    Raises:
        NotAnswering: Prefect's server does not answer.
    """
    wanted = {
        "work_pools": {"name": {"any_": [env.POOL]}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING"]}}},
        "limit": _MOST_ORPHANS,
    }
    names = []
    for run in ask("/flow_runs/filter", wanted):
        state = {
            "type": "SCHEDULED",
            "name": "AwaitingRetry",
            "message": "Its worker's process was gone; a new worker takes it up again.",
            "state_details": {"scheduled_time": datetime.now(UTC).isoformat()},
        }
        ask(f"/flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        names.append(str(run["name"]))
    return names


def command(*arguments: str) -> list[str]:
    """The command line of ``flows.deployments``."""
    return [sys.executable, "-P", "-m", "flows.deployments", *arguments]


def environment(context: Context) -> dict[str, str]:
    """Return the environment for it, which is the worker's."""
    return {
        **env.common(context),
        **env.prefect_client(context),
        MARK: mark(NAME, context.settings.home),
    }


def schedule(
    settings: Settings,
    state: Literal["on", "off", "status"],
    *,
    cron: str | None = None,
    report: Callable[[str], None],
) -> None:
    """Turn the nightly run on or off, or report its state.

    Args:
        cron: When to run, as five cron fields, with ``"on"`` or ``"off"``; as it was when omitted.
        report: Takes one line for a person at a time.

    Raises:
        ConfigError: No Prefect server is configured, or nothing is registered with it, or the cron
            expression cannot be used.
    """
    if cron is not None and state == "status":
        raise ConfigError("--cron goes with `schedule on`; `schedule status` takes none")
    arguments = ["status"] if state == "status" else ["schedule", state]
    for line in run_deployments(settings, *arguments, *(["--cron", cron] if cron else [])).splitlines():
        report(line)


def run_deployments(settings: Settings, *arguments: str) -> str:
    """Run ``flows.deployments`` with these arguments and return what it prints.

    Raises:
        ConfigError: No Prefect is configured, or the command refuses its arguments or cannot do it.
    """
    api = settings.require("prefect")
    context = Context.recorded(settings, StackRecord.load(Layout(settings.home)))
    done = subprocess.run(
        command(*arguments),
        env={**environment(context), "PREFECT_API_URL": api},
        cwd=prepare_home(settings.home).home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    if done.returncode:
        said = redact(done.stderr.strip() or done.stdout.strip(), secrets_of(settings)).splitlines()[-5:]
        raise ConfigError("\n".join(said) or f"flows.deployments exited with {done.returncode}")
    return done.stdout
