"""Resources of a sweep, whether the cluster has them, and how long it may take; asked before it starts."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from ganlib.cluster.program import emit
from ganlib.errors import ConfigError
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.records import SweepPlan, Trial
from ganlib.sweep.spec import SweepSpec, read_sweep_spec

MEASURE_SECONDS = 2.0

Node = Mapping[str, float]
"""Resources of a node, by Ray's names."""


def make_plan(spec: SweepSpec, trials: Sequence[Trial], left: int) -> SweepPlan:
    """The plan of this attempt.

    Args:
        spec: The sweep.
        trials: What is on record; their curves tell how fast trials are here.
        left: Trials that are to be trained.

    Raises:
        ConfigError: No trial would ever find room.
    """
    config, nodes = spec.config, cluster_nodes()
    cuda, at_once = room_for(config, nodes)
    seconds, basis = _trial_seconds(spec, trials, cuda=cuda) if left else (0.0, "nothing is left to train")
    many = min(at_once, max(left, 1))
    shares = expected_shares(config, left)
    return SweepPlan(
        sweep=spec.sweep,
        trials=left,
        device="cuda" if cuda else "cpu",
        cpus_each=config.cpus * config.workers,
        gpus_each=config.gpus * config.workers if cuda else 0.0,
        cluster_cpus=sum(node.get("CPU", 0.0) for node in nodes),
        cluster_gpus=sum(node.get("GPU", 0.0) for node in nodes),
        at_once=many,
        seconds_at_most=seconds * left / many,
        seconds_expected=seconds * shares / many,
        basis=basis,
    )


def plan_summary(plan: SweepPlan) -> str:
    """A plan in a line."""
    each = f"{plan.cpus_each:g} CPUs" + (f" and {plan.gpus_each:g} GPUs" if plan.gpus_each else "")
    has = f"{plan.cluster_cpus:g} CPUs and {plan.cluster_gpus:g} GPUs"
    if not plan.trials:
        return f"{plan.basis}; the cluster has {has}"
    least = ""
    if plan.seconds_expected < plan.seconds_at_most:
        least = f", with stopped trials about {_span(plan.seconds_expected)}"
    return (
        f"{plan.trials} trials on {plan.device}, each needs {each}, the cluster has {has}: {plan.at_once} at "
        f"once; at most {_span(plan.seconds_at_most)}{least} ({plan.basis})"
    )


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def cluster_nodes() -> list[Node]:
    """Resources of every node that is up."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room_for(config: SweepConfig, nodes: Sequence[Node]) -> tuple[bool, int]:
    """Whether trials train on GPUs, and how many find room at a time.

    Raises:
        ConfigError: Not one does.
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
    """Workers that find room; Ray counts GPUs in ten-thousandths, so a third goes three times into one."""
    found = 0
    for node in nodes:
        room = math.floor(node.get("CPU", 0.0) / config.cpus)
        if cuda:
            gpus = node.get("GPU", 0.0)
            # A worker with less than one GPU has it on a single one.
            many = (
                math.floor(gpus) * math.floor(1 / config.gpus + 1e-3)
                if config.gpus <= 1
                else gpus // config.gpus
            )
            room = min(room, int(many))
        found += room
    return found


def expected_shares(config: SweepConfig, trials: int) -> float:
    """Full trials' worth of images that a number of trials is expected to come to.

    With ``asha`` one in ``reduction`` passes each rung, and trial 0 all of them; the other schedulers' stops
    depend on what they see.
    """
    if config.scheduler != "asha" or trials == 0:
        return float(trials)
    images, going, at = 0.0, float(trials - 1), 0.0
    rung = config.grace_kimg
    while rung < config.total_kimg:
        images += going * (rung - at)
        going, at, rung = going / config.reduction, rung, rung * config.reduction
    return 1 + (images + going * (config.total_kimg - at)) / config.total_kimg


def _trial_seconds(spec: SweepSpec, trials: Sequence[Trial], *, cuda: bool) -> tuple[float, str]:
    """Seconds of a trial that trains in full, and where they come from."""
    config = spec.config
    if config.max_seconds is not None:
        return config.max_seconds, "a trial's budget in seconds; evaluations come on top"
    known = [trial.curve[-1] for trial in trials if trial.curve and trial.curve[-1].images_seen]
    images = config.total_kimg * 1000
    if known:
        rate = sum(point.images_seen for point in known) / max(sum(point.seconds for point in known), 1e-9)
        return images / rate, f"the trials so far, {rate:.0f} images/s; evaluations come on top"
    # With several workers a measurement would cost as much as a trial's start; one alone comes near it.
    basis = f"one worker of {config.workers}" if config.workers > 1 else "the recipe"
    task = ray.remote(num_cpus=config.cpus, num_gpus=config.gpus if cuda else 0)(_measure)
    measured: dict[str, float] = json.loads(ray.get(task.remote(spec.sweep, cuda)))
    looks = math.ceil(config.total_kimg / config.trial_config({}).evaluation.every_kimg)
    rate = measured["images_per_second"] * config.workers
    seconds = images / rate + looks * measured["evaluation_seconds"] / config.workers
    return seconds, (
        f"{basis}, measured: {rate:.0f} images/s and {measured['evaluation_seconds']:.1f} s for each of "
        f"{looks} evaluations"
    )


def _measure(sweep: str, cuda: bool) -> str:
    """Train the recipe for a moment and evaluate it once, on one worker; leaves nothing behind."""
    # The sweep's own process never needs what is imported here.
    import torch

    from ganlib.core.loop import train
    from ganlib.core.steps import WorkerPlace
    from ganlib.data.batches import TrainingBatches
    from ganlib.data.cache import pull
    from ganlib.data.versions import load_version
    from ganlib.training.build import build_plan, fresh_state
    from ganlib.training.curve import Curve
    from ganlib.training.worker import equip, prepare_process

    prepare_process()
    settings = load_settings()
    store = open_store(settings)
    spec = read_sweep_spec(store, sweep)
    config = spec.config.trial_config({})
    place = WorkerPlace(device=torch.device("cuda" if cuda else "cpu"))
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    equipment = equip(store, dataset, config.evaluation, place, settings.cache, emit)
    state = fresh_state(config, dataset.version, place.device)
    batches = TrainingBatches(
        dataset.load("train"),
        seed=config.seed,
        batch_size=config.batch_size,
        rank=0,
        world_size=1,
        device=place.device,
        flip=config.dataset.flip,
    )
    seconds, images = 0.0, 0
    for progress in train(state, batches, build_plan(config, place.device), place):
        if not images:
            # The first step pays for what is made once.
            images, seconds = progress.images_seen, state.seconds
        elif state.seconds - seconds > MEASURE_SECONDS:
            break
    rate = (state.images_seen - images) / max(state.seconds - seconds, 1e-9)
    began = time.perf_counter()
    Curve(config, dataset.version, equipment.reference, equipment.extractor, place).point(state.average)
    found: dict[str, Any] = {"images_per_second": rate, "evaluation_seconds": time.perf_counter() - began}
    return json.dumps(found)
