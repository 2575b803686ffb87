"""MLflow's and Prefect's servers, and Prefect's worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import final

from ganlib.logins import library_variables
from ganlib.stack import environment as env
from ganlib.stack.environment import POOL, Context
from ganlib.stack.probes import NotAnswering
from ganlib.stack.schedule import cancel_leftovers
from ganlib.stack.service import Service, module
from ganlib.stack.state import StartedService

_DEFAULT_EXPERIMENT = "0"
"""Id of the experiment ``Default`` that MLflow made; one of that name which a person made has another."""


@final
class MlflowService(Service):
    """MLflow's tracking server and registry on SQLite; artifacts pass through it to the object store."""

    name = "mlflow"
    requires = ("s3",)

    def command(self, context: Context) -> Sequence[str]:
        """One worker process: SQLite has one writer."""
        return module(
            "mlflow",
            *("server", "--host", "127.0.0.1", "--port", str(context.ports["mlflow"]), "--workers", "1"),
            *("--backend-store-uri", "sqlite:///mlflow.db"),
            *("--artifacts-destination", f"s3://{context.settings.s3_bucket}/mlflow"),
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Return the store's keys; job execution is off, which saves half a dozen queue consumers."""
        return {**env.s3_client(context), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def probe(self, context: Context, started: StartedService) -> None:
        """Search experiments, which reads the database; the deleted ``Default`` is always there."""
        wanted = {"max_results": 1, "view_type": "ALL"}
        found = context.ask("mlflow", "/api/2.0/mlflow/experiments/search", wanted, at=started.url)
        if "experiments" not in found:
            raise NotAnswering("its search gives no experiments")

    def before_probe(self, context: Context) -> None:
        """Delete the experiment ``Default``, which MLflow makes in a new database, while it has no runs.

        MLflow makes no second one. A client that names no experiment needs it:
        ``mlflow experiments restore --experiment-id 0`` brings it back.
        """
        api = "/api/2.0/mlflow"
        wanted = {"max_results": 1000, "filter": "name = 'Default'"}
        for experiment in context.ask("mlflow", f"{api}/experiments/search", wanted).get("experiments", ()):
            number = experiment["experiment_id"]
            every = {"experiment_ids": [number], "run_view_type": "ALL", "max_results": 1}
            runs = context.ask("mlflow", f"{api}/runs/search", every).get("runs")
            if number == _DEFAULT_EXPERIMENT and not runs:
                context.ask("mlflow", f"{api}/experiments/delete", {"experiment_id": number})


@final
class PrefectServer(Service):
    """Prefect's server on SQLite."""

    name = "prefect"

    def command(self, context: Context) -> Sequence[str]:
        """Return the command; all other settings come from the environment."""
        return module(
            "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(context.ports["prefect"])
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Keep its files below the home and its page free of advertisements, and ask for a login."""
        login = library_variables(context.settings, "prefect")
        return {
            **env.prefect_client(context),
            # Anybody who can create a flow run can have the worker run any program.
            **{f"PREFECT_SERVER_{name.removeprefix('PREFECT_')}": value for name, value in login.items()},
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(context.ports["prefect"]),
            "PREFECT_UI_API_URL": context.url("prefect"),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.folder(context) / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # By default the server forgets at its end who holds a concurrency slot.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        }

    def probe(self, context: Context, started: StartedService) -> None:
        """Check its health and version, and count something in the database."""
        if context.ask("prefect", "/health", at=started.url) is not True:
            raise NotAnswering("it does not call itself healthy")
        context.ask("prefect", "/admin/version", at=started.url)
        context.ask("prefect", "/flows/count", {}, at=started.url)


@final
class PrefectWorker(Service):
    """The process that runs the deployments' flow runs on this machine."""

    name = "worker"
    requires = ("prefect",)

    def folder(self, context: Context) -> Path:
        """Return the server's folder: the worker has no files of its own."""
        return context.layout.folder("prefect")

    def before_start(self, context: Context) -> None:
        """Make the work pool, and cancel the runs that were being cancelled when an earlier worker ended.

        With the pool there, worker and registration may start together. Other runs that an earlier worker
        left are taken up again (:func:`ganlib.stack.schedule.take_up_orphans`).
        """
        try:
            context.ask("prefect", f"/work_pools/{POOL}")
        except NotAnswering:
            context.ask("prefect", "/work_pools/", {"name": POOL, "type": "process"})
        cancel_leftovers(partial(context.ask, "prefect"))

    def command(self, context: Context) -> Sequence[str]:
        """Return the command; the worker is named after its pool, so that a restart does not add another."""
        return module(
            "prefect",
            *("worker", "start", "--pool", POOL, "--name", POOL, "--type", "process"),
            *("--install-policy", "never"),
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Return the variables that its flow runs inherit, with a temporary folder of their own.

        In the machine's temporary folder Prefect would make one of a fixed name, which belongs to the first
        user and keeps all others out.
        """
        temporary = self.folder(context) / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {**env.prefect_client(context), "TMPDIR": str(temporary)}

    def probe(self, context: Context, started: StartedService) -> None:
        """Check that the pool has a heartbeat younger than the process."""
        for worker in context.ask("prefect", f"/work_pools/{POOL}/workers/filter", {}):
            beat = worker.get("last_heartbeat_time")
            online = worker["name"] == POOL and worker["status"] == "ONLINE" and beat is not None
            if online and datetime.fromisoformat(beat) >= datetime.fromisoformat(started.since):
                return
        raise NotAnswering(f"no heartbeat in the work pool {POOL}")
