"""Debian's package ``prometheus``, unpacked into a folder, for tests that ask the real programs."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Programs:
    """Paths of the programs."""

    prometheus: str
    promtool: str


def find_programs(folder: Path) -> Programs | str:
    """Return the installed programs, or those of Debian's package in ``folder``, or why there are none."""
    installed = shutil.which("prometheus"), shutil.which("promtool")
    if installed[0] and installed[1]:
        return Programs(*installed)
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            return f"there is no Prometheus here: neither prometheus and promtool nor {program} is installed"
    words = ["apt-get", "download", "prometheus"]
    got = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    packages = list(folder.glob("prometheus_*.deb"))
    if got.returncode or not packages:
        last = (got.stderr.strip().splitlines() or [f"exit status {got.returncode}"])[-1]
        return f"there is no Prometheus here: apt-get download prometheus: {last}"
    subprocess.run(["dpkg", "-x", str(packages[0]), str(folder)], check=True, timeout=300)
    return Programs(str(folder / "usr/bin/prometheus"), str(folder / "usr/bin/promtool"))


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return an expression's series: ``metric`` has the labels, ``value`` a time and a number as text."""
        return self._ask("query", {"query": expression})

    def graph(self, expression: str, began: float, ended: float) -> list[dict[str, Any]]:
        """Return what a graph between two Unix times shows: as :meth:`query`, with ``values`` every 2 s."""
        return self._ask("query_range", {"query": expression, "start": began, "end": ended, "step": 2})

    def _ask(self, what: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        with _open(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}") as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


@contextlib.contextmanager
def running(programs: Programs, folder: Path, targets: dict[str, int]) -> Iterator[Prometheus]:
    """Run a server on loopback that asks ports of this machine for metrics every two seconds.

    Args:
        programs: The programs.
        folder: An existing folder for configuration, log and data.
        targets: Ports by the name of their job.
    """
    jobs = [
        {"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        for name, port in targets.items()
    ]
    # JSON is YAML too.
    (folder / "prometheus.yml").write_text(
        json.dumps({"global": {"scrape_interval": "2s"}, "scrape_configs": jobs})
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([programs.prometheus, *words], stdout=log, stderr=log, cwd=folder)
        try:
            yield Prometheus(f"http://{address}")
            assert process.poll() is None, (folder / "log").read_text()
        finally:
            process.terminate()
            process.wait(60)


def dashboard_queries(dashboard: Path) -> dict[str, list[str]]:
    """Return a Grafana dashboard's queries by the title of their graph, its variables filled in for "All"."""
    panels = [panel for panel in json.loads(dashboard.read_text())["panels"] if panel["type"] != "row"]
    return {
        panel["title"]: [
            target["expr"].replace("$model", ".*").replace("$run", ".*") for target in panel["targets"]
        ]
        for panel in panels
    }


def _open(url: str) -> Any:
    # Loopback is reached directly, whatever proxy the environment names.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60)
