"""Resources of a sweep, and whether the cluster has them: asked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import ray

from ganlib.errors import ConfigError
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.records import SweepPlan
from ganlib.sweep.spec import SweepSpec

Node = Mapping[str, float]
"""Resources of a node, by Ray's names."""


def make_plan(spec: SweepSpec, left: int) -> SweepPlan:
    """Return the plan of this attempt.

    Args:
        spec: The sweep.
        left: Trials that are to be trained.

    Raises:
        ConfigError: No trial would ever find room.
    """
    config, nodes = spec.config, cluster_nodes()
    cuda, at_once = room_for(config, nodes)
    return SweepPlan(
        sweep=spec.sweep,
        trials=left,
        device="cuda" if cuda else "cpu",
        cpus_each=config.cpus * config.workers,
        gpus_each=config.gpus * config.workers if cuda else 0.0,
        cluster_cpus=sum(node.get("CPU", 0.0) for node in nodes),
        cluster_gpus=sum(node.get("GPU", 0.0) for node in nodes),
        at_once=min(at_once, max(left, 1)),
    )


def plan_summary(plan: SweepPlan) -> str:
    """Return a plan as one line."""
    each = f"{plan.cpus_each:g} CPUs" + (f" and {plan.gpus_each:g} GPUs" if plan.gpus_each else "")
    has = f"{plan.cluster_cpus:g} CPUs and {plan.cluster_gpus:g} GPUs"
    if not plan.trials:
        return f"nothing is left to train; the cluster has {has}"
    each = f"each needs {each}, the cluster has {has}: {plan.at_once} at once"
    return f"{plan.trials} trials on {plan.device}, {each}"


def cluster_nodes() -> list[Node]:
    """Resources of every node that is up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room_for(config: SweepConfig, nodes: Sequence[Node]) -> tuple[bool, int]:
    """Return whether trials train on GPUs, and how many fit at a time.

    Raises:
        ConfigError: No trial fits.
    """
    device = config.base.compute.device
    on_gpus = _slots(config, nodes, cuda=True) // config.workers
    cuda = device == "cuda" or (device == "auto" and on_gpus > 0)
    room = on_gpus if cuda else _slots(config, nodes, cuda=False) // config.workers
    if room < 1:
        each = f"{config.cpus:g} CPUs" + (f" and {config.gpus:g} GPUs" if cuda else "")
        has = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ConfigError(
            f"a trial needs {config.workers} times {each}, each on one node, and the cluster's nodes have "
            f"{has}; lower workers, cpus or gpus, or add nodes"
        )
    return cuda, min(room, config.concurrency or room)


def _slots(config: SweepConfig, nodes: Sequence[Node], *, cuda: bool) -> int:
    """Return how many workers fit; Ray counts GPUs in ten-thousandths, so three thirds fit on one."""
    found = 0
    for node in nodes:
        room = math.floor(node.get("CPU", 0.0) / config.cpus)
        if cuda:
            gpus = node.get("GPU", 0.0)
            # A worker with a fraction of a GPU must get it on a single GPU.
            many = (
                math.floor(gpus) * math.floor(1 / config.gpus + 1e-3)
                if config.gpus <= 1
                else gpus // config.gpus
            )
            room = min(room, int(many))
        found += room
    return found
