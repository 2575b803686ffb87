"""The cluster of docker-compose.yml under a name, ports and credentials of its own, as a test handles it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import requests
from engine import compose, run

from ganlib.logins import login_headers
from ganlib.settings import ServiceName, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
PROJECT = f"ganlib-test-{os.getpid()}"
WAIT_SECONDS = 900.0
PORTS = ("GANLIB_S3_PORT", "GANLIB_MLFLOW_PORT", "GANLIB_PREFECT_PORT", "GANLIB_RAY_PORT")


def await_true(what: str, asked: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Ask again and again until it is so: containers tell nobody when they have changed."""
    deadline = time.monotonic() + seconds
    while not asked():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(0.5)


@dataclass
class ComposeCluster:
    """A running cluster, and the environment of a user on its host."""

    folder: Path
    images: dict[str, str]
    """Variables that name images, for compose."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by stage."""

    def __post_init__(self) -> None:
        """Make credentials, and choose ports."""
        run("infra/docker/make-env.sh", str(self.folder / ".env"), folder=ROOT)
        lines = (self.folder / ".env").read_text().splitlines()
        self.credentials = dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")
        with socket.socket() as a, socket.socket() as b, socket.socket() as c, socket.socket() as d:
            for taken in (a, b, c, d):
                taken.bind(("127.0.0.1", 0))
            numbers = [taken.getsockname()[1] for taken in (a, b, c, d)]
        self.ports = dict(zip(PORTS, map(str, numbers), strict=True))
        s3, mlflow, prefect, ray = numbers
        self.user = {
            **self.credentials,
            "GANLIB_HOME": str(self.folder / "home"),
            "GANLIB_S3_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
            "GANLIB_MLFLOW_URI": f"http://127.0.0.1:{mlflow}",
            "GANLIB_PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
            "GANLIB_RAY_ADDRESS": f"http://127.0.0.1:{ray}",
        }
        """Environment of a user's commands on the host."""

    @property
    def settings(self) -> Settings:
        """The user's settings."""
        return load_settings(self.user)

    @property
    def secrets(self) -> list[str]:
        """Every secret of the cluster, and the password alone of a pair."""
        names = [
            name
            for name in self.credentials
            if any(part in name for part in ("PASSWORD", "SECRET", "TOKEN", "AUTH", "KEY"))
            and "KEY_ID" not in name
        ]
        texts = [self.credentials[name] for name in names]
        return [*texts, *(text.partition(":")[2] for text in texts if ":" in text)]

    def timed(self, stage: str, work: Callable[[], object]) -> None:
        """Do some work and note what it took."""
        began = time.monotonic()
        work()
        self.seconds[stage] = round(time.monotonic() - began, 1)
        sys.stdout.write(f"\n{stage}: {self.seconds[stage]:g} s\n")
        sys.stdout.flush()

    def compose(self, *words: str, timeout: float = 900) -> str:
        """Run compose on this cluster."""
        files = ["--project-name", PROJECT, "--env-file", str(self.folder / ".env")]
        return run(
            *compose(), *files, *words, env={**self.images, **self.ports}, folder=ROOT, timeout=timeout
        )

    def containers(self, service: str | None = None, *, ended: bool = False) -> list[str]:
        """Ids of the containers, of one service or of all."""
        filters = ["--filter", f"label=com.docker.compose.project={PROJECT}"]
        if service is not None:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        return run("docker", "ps", "--quiet", *(["--all"] if ended else []), *filters).split()

    def inspect(self, container: str) -> dict[str, object]:
        """The engine's description of a container."""
        described: dict[str, object] = json.loads(run("docker", "inspect", container))[0]
        return described

    def is_healthy(self, count: int) -> bool:
        """Whether so many containers run and all call themselves healthy."""
        ids = self.containers()
        if len(ids) != count:
            return False
        states = run("docker", "inspect", "--format", "{{.State.Health.Status}}", *ids).split()
        return states == ["healthy"] * count

    def kill_by_force(self, container: str) -> None:
        """Kill a container's first process from outside, as a crash of its node; compose starts it again."""
        os.kill(int(run("docker", "inspect", "--format", "{{.State.Pid}}", container)), signal.SIGKILL)

    def processes(self, container: str) -> str:
        """Command lines of a container's processes."""
        return run("docker", "top", container, "-eo", "pid,args")

    def ganlib(
        self, *words: str, code: int = 0, more: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user on the host does."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("GANLIB_")}
        done = subprocess.run(
            [sys.executable, "-m", "ganlib.cli", *words],
            env={**environ, **self.user, **(more or {})},
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    def ask(self, service: ServiceName, path: str, body: object = None) -> requests.Response:
        """Ask a service on the host, logged in: a GET, or with a body a POST."""
        url = f"{self.settings.require(service)}{path}"
        headers = login_headers(self.settings, service)
        method = "GET" if body is None else "POST"
        return requests.request(method, url, json=body, headers=headers, timeout=30)

    def flow_run(self, deployment: str, parameters: dict[str, object]) -> str:
        """Start a run of a deployment as Prefect's page does; returns its id."""
        found = self.ask("prefect", f"/deployments/name/{deployment}").json()["id"]
        made = self.ask("prefect", f"/deployments/{found}/create_flow_run", {"parameters": parameters})
        return str(made.json()["id"])

    def await_flow(self, run_id: str, states: Sequence[str] = ("COMPLETED",)) -> None:
        """Wait until a flow run has ended, and check how."""
        ended = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        state: dict[str, str] = {}

        def has_ended() -> bool:
            state.update(self.ask("prefect", f"/flow_runs/{run_id}").json()["state"])
            return state["type"] in ended

        await_true(f"flow run {run_id} has ended", has_ended)
        assert state["type"] in states, f"{state}\n{self.compose('logs', '--tail', '80', 'prefect-worker')}"
