"""A Docker engine for the test: the one that runs, or one that root installs and starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

START_SECONDS = 60.0


def run(
    *command: str, timeout: float = 600, env: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run a command and return what it prints; a failure shows all of it."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=None if env is None else {**os.environ, **env},
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, (
        f"{' '.join(command)}: {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
    )
    return done.stdout


def answers() -> bool:
    """Whether an engine answers."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "info"], capture_output=True, timeout=60, check=False).returncode == 0


def compose() -> Sequence[str]:
    """The words that call compose: the plugin, or the program of version 1."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return ("docker", "compose")
    assert shutil.which("docker-compose"), "there is neither `docker compose` nor docker-compose"
    return ("docker-compose",)


@contextmanager
def engine() -> Iterator[None]:
    """Have an engine; one that was started here ends here.

    Skips the test where there is none and this process may not install one.
    """
    if answers():
        yield
        return
    if os.geteuid() != 0:
        pytest.skip("no Docker engine answers, and only root can install and start one")
    if shutil.which("dockerd") is None or shutil.which("docker-compose") is None:
        if shutil.which("apt-get") is None:
            pytest.skip("no Docker engine answers, and there is no apt-get to install one")
        packages = ["docker.io", "docker-compose", "debootstrap"]
        run("apt-get", "install", "--yes", "--no-install-recommends", *packages, timeout=900)
    log = Path("/var/log/ganlib-dockerd.log").open("ab")  # noqa: SIM115  open as long as the engine
    process = subprocess.Popen(["dockerd"], stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            assert process.poll() is None, f"dockerd exited with {process.returncode}; see {log.name}"
            assert time.monotonic() < deadline, f"dockerd does not answer; see {log.name}"
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(60)
        log.close()
