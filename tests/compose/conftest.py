"""The cluster that all tests of this folder share, built, brought up, and taken away without a trace.

With ``KEEP_IMAGES=1`` the images stay, so that the next run begins with them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose_cluster import PROJECT, ROOT, ComposeCluster, await_true
from engine import compose, engine, run
from stand_ins import BASE, images

IMAGE = "ganlib:compose-test"
SERVICES = 7
"""Containers with one Ray worker."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeCluster]:
    """A cluster with two Ray workers."""
    with engine(), images() as found:
        made = ComposeCluster(tmp_path_factory.mktemp("compose"), {**found, "GANLIB_IMAGE": IMAGE})
        try:
            made.timed("build the image", lambda: _build(found))
            made.timed("bring the cluster up", lambda: _bring_up(made))
            yield made
        finally:
            made.timed("tear it down", lambda: _tear_down(made, found))
            print(json.dumps({"seconds": made.seconds, "compose": compose()[-1]}, indent=2))
        assert not _left_over()


def _build(found: dict[str, str]) -> None:
    options = (
        ["--build-arg", f"BASE_IMAGE={found['BASE_IMAGE']}", "--network", found["NETWORK"]] if found else []
    )
    dockerfile = str(ROOT / "infra/docker/Dockerfile")
    run("docker", "build", *options, "--file", dockerfile, "--tag", IMAGE, str(ROOT), timeout=3600)
    print(run("docker", "images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"))


def _bring_up(made: ComposeCluster) -> None:
    made.compose("up", "--detach", "--no-build", "--scale", "ray-worker=2")
    await_true("all containers are healthy", lambda: made.is_healthy(SERVICES + 1), 300)


def _tear_down(made: ComposeCluster, found: dict[str, str]) -> None:
    made.compose("down", "--volumes", "--remove-orphans")
    if os.environ.get("KEEP_IMAGES"):
        return
    names = [IMAGE, *({BASE, *found.values()} - {found["NETWORK"]} if found else ())]
    for name in names:
        run("docker", "rmi", "--force", name)


def _left_over() -> list[str]:
    """Containers, volumes and networks of the project that are still there."""
    label = ["--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"]
    listings = (["ps", "--all", *label], ["volume", "ls", *label], ["network", "ls", *label])
    return [line for listing in listings for line in run("docker", *listing).split()]


@pytest.fixture(scope="session")
def fetching_script() -> str:
    """A program that draws pictures with the champion and knows MLflow and torch alone."""
    return Path(__file__).with_name("fetch_with_mlflow.py").read_text()
