"""The process that serves the deployments' flow runs in a container: ``python -m flows.serve``.

It registers the deployments, takes up the flow runs that an earlier worker left, and becomes Prefect's
worker. There may be one for a work pool: it takes all runs that are under way for left by the one before it.
On one machine `ganlib up` does the same (:mod:`ganlib.stack`).
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import Any

from ganlib.logins import library_variables, login_headers
from ganlib.settings import Settings, load_settings
from ganlib.stack.environment import POOL, prefect_options
from ganlib.stack.probes import answer
from ganlib.stack.schedule import cancel_leftovers, take_up_orphans


def prepare(settings: Settings) -> None:
    """Register the deployments, end what was being cancelled, and take up what was running.

    Raises:
        NotAnswering: Prefect's server does not answer, or refuses the login.
    """
    # Prefect reads its variables when it is imported.
    os.environ.update(_variables(settings))
    from prefect.client.orchestration import get_client

    from flows.deployments import register

    with get_client(sync_client=True) as client:
        sys.stdout.write("registered " + ", ".join(register(client)) + "\n")
    ask = partial(_ask, settings)
    cancel_leftovers(ask)
    for name in take_up_orphans(ask):
        sys.stdout.write(f"flow run {name} had lost its worker and is taken up again\n")
    sys.stdout.flush()


def _variables(settings: Settings) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": settings.require("prefect"),
        **library_variables(settings, "prefect"),
        **prefect_options(),
    }


def _ask(settings: Settings, path: str, body: Any = None) -> Any:
    return answer(f"{settings.require('prefect')}{path}", body, login_headers(settings, "prefect"))


def main() -> None:
    """Prepare, and become Prefect's worker, whose health is told on port 8080."""
    prepare(load_settings())
    words = ["-P", "-m", "prefect", "worker", "start", "--pool", POOL, "--name", POOL, "--type", "process"]
    words += ["--install-policy", "never", "--with-healthcheck"]
    os.execv(sys.executable, [sys.executable, *words])  # noqa: S606


if __name__ == "__main__":
    main()
