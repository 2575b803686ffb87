"""The nodes of the Ray cluster: room for a run, disks, and the versions that they have installed.

All of it comes from one page of the dashboard. A node's versions stand there as labels, where it was started
by :mod:`ganlib.cluster.node` or with ``--labels="$(python -m ganlib.cluster.node_labels)"``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganlib.cluster.node_labels import installed_versions, shared_memory_of_labels, versions_of_labels
from ganlib.config.run import RunConfig
from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.http_answers import ask
from ganlib.logins import login_headers
from ganlib.settings import Settings
from ganlib.stack.state import LEAST_FREE_BYTES

_MORE_SHARED_MEMORY = "give its container a shm_size above 30 % of the memory: Ray uses the disk instead"

LOW_FREE_BYTES = 10 * LEAST_FREE_BYTES
"""Free space below which a disk is worth a warning."""


def alive_nodes(settings: Settings, timeout_seconds: float) -> list[dict[str, Any]]:
    """The cluster's alive nodes as Ray's dashboard describes them.

    Raises:
        NoAnswer: It does not answer, or refuses.
    """
    url = f"{settings.require('ray').rstrip('/')}/nodes?view=summary"
    answer = ask(url, login_headers(settings, "ray"), timeout_seconds=timeout_seconds).json()
    return [node for node in answer["data"]["summary"] if node["raylet"].get("state") == "ALIVE"]


def look_at_nodes(nodes: list[dict[str, Any]]) -> Iterator[Finding]:
    """Disk, versions and shared memory of every node.

    Args:
        nodes: As :func:`alive_nodes` gives them.
    """
    if not nodes:
        yield Topic("nodes", "ray").broken("no node is alive", "start Ray's nodes, or wait until they are up")
        return
    for node in nodes:
        yield _disk(node)
        yield _versions(node)
        yield from _shared_memory(node)


def look_at_room(
    settings: Settings, nodes: list[dict[str, Any]], config: RunConfig, asked_by: str
) -> Finding:
    """Compare the CPUs and GPUs of all nodes, used or not, with those that a run asks for.

    Args:
        settings: They say up to how much the cluster grows.
        nodes: As :func:`alive_nodes` gives them.
        config: Of the run.
        asked_by: Where the configuration comes from, for a person.
    """
    topic, workers, device = Topic("room", "ray"), config.compute.workers, config.compute.device
    cpus, gpus = (
        sum(float(node["raylet"]["resourcesTotal"].get(name, 0)) for node in nodes) for name in ("CPU", "GPU")
    )
    seen = f"{cpus:g} CPUs and {gpus:g} GPUs; {asked_by} asks for {workers} workers on {device}"
    cpus, gpus = max(cpus, settings.ray_most_cpus), max(gpus, settings.ray_most_gpus)
    if cpus < workers:
        return topic.broken(seen, "add nodes, or lower compute.workers")
    if device == "cuda" and gpus < workers:
        return topic.broken(seen, "add a GPU for each worker, or set compute.device=auto")
    if device == "auto" and 0 < gpus < workers:
        return topic.warning(
            seen, f"it trains on CPUs: lower compute.workers to {gpus:g}, or add a GPU for each worker"
        )
    return topic.ok(seen)


def disk_finding(topic: Topic, where: str, free_bytes: float) -> Finding:
    """Judge a disk by its free space.

    Args:
        topic: Of the finding.
        where: The disk, for a person.
        free_bytes: Its free space.
    """
    seen = f"{where}: {free_bytes / 1e9:,.1f} GB free"
    if free_bytes < LEAST_FREE_BYTES:
        return topic.broken(seen, f"make room: below {LEAST_FREE_BYTES / 1e9:g} GB nothing can be started")
    if free_bytes < LOW_FREE_BYTES:
        return topic.warning(seen, "make room, or bound the cache with GANLIB_CACHE_BYTES")
    return topic.ok(seen)


def _name(node: dict[str, Any]) -> str:
    return f"node {node['raylet']['nodeManagerHostname']}"


def _disk(node: dict[str, Any]) -> Finding:
    topic = Topic("disk", "ray")
    # In a pod Ray tells of a disk of one byte, since it sees the host's; a new node has told nothing yet.
    disks = {path: disk for path, disk in (node.get("disk") or {}).items() if disk["total"] > 1}
    if not disks:
        return topic.skipped(f"{_name(node)} tells of no disk: it is new, or in Kubernetes")
    path, disk = min(disks.items(), key=lambda item: float(item[1]["free"]))
    return disk_finding(topic, f"{_name(node)}, {path}", float(disk["free"]))


def _versions(node: dict[str, Any]) -> Finding:
    topic, here = Topic("versions", "ray"), installed_versions()
    there = versions_of_labels(node["raylet"].get("labels") or {})
    if not there:
        return topic.skipped(
            f"{_name(node)} does not tell its versions: start it with "
            '`ray start --labels="$(python -m ganlib.cluster.node_labels)"`'
        )
    told = ", ".join(f"{name} {there.get(name, 'none')}" for name in here)
    others = [name for name in here if there.get(name) != here[name]]
    if not others:
        return topic.ok(f"{_name(node)}: {told}")
    wanted = ", ".join(f"{name} {here[name]}" for name in others)
    # A Python of another patch level, or torch for another device, computes the same.
    severe = any(_release(there.get(name, "")) != _release(here[name]) for name in others)
    seen, remedy = f"{_name(node)}: {told}", f"install {wanted} there, as here"
    return topic.broken(seen, remedy) if severe else topic.warning(seen, remedy)


def _shared_memory(node: dict[str, Any]) -> Iterator[Finding]:
    total = shared_memory_of_labels(node["raylet"].get("labels") or {})
    if total is None:
        return  # said with the versions
    topic = Topic("shared memory", "ray")
    store = float(node["raylet"]["resourcesTotal"].get("objectStoreMemory", 0))
    seen = f"{_name(node)}: {total / 2**20:,.0f} MiB for an object store of {store / 2**20:,.0f} MiB"
    if total < store:
        yield topic.warning(seen, _MORE_SHARED_MEMORY)
    else:
        yield topic.ok(seen)


def _release(text: str) -> list[str]:
    """A version's first two numbers."""
    return text.split(".")[:2]
