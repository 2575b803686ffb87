"""How good a generator is after a given time: a part of the benchmark.

``python -m ganlib.bench.quality recipe|reference SECONDS [FOLDER]`` trains on Fashion-MNIST with two
workers of one thread each, as the training job does but for Ray and the services, and evaluates the
best checkpoint as the evaluation job does: on 2,000 samples, against the held-out split. Only time
in the loop counts.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from ganlib.bench import benchmark_data, rates
from ganlib.bench.parts import Measured, answer
from ganlib.config.run import RunConfig, load_config
from ganlib.core.hardware import accelerate
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset, pull
from ganlib.errors import TrainingError
from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.quality.extractors import open_extractor
from ganlib.quality.reference import reference_over_workers
from ganlib.records import CheckpointRef, TrainResult
from ganlib.release.evaluation import Task, judge, share_of_task
from ganlib.settings import Settings, load_settings
from ganlib.tracking.spool import SpooledTracker
from ganlib.training.spec import RunSpec, run_name
from ganlib.training.worker import build_host, equip, open_checkpoints, rounds_on

RECIPE, WORKERS = "fashion-mnist-wgan", 2
REFERENCE: dict[str, Any] = {
    "budget.total_kimg": 1_000_000,
    "network.generator_width": 64,
    "network.critic_width": 64,
    "objective.clip": 0.01,
    "optimizer.generator_learning_rate": 5e-5,
    "optimizer.critic_learning_rate": 5e-5,
    "cadence.n_critic": 5,
    "cadence.bursts": True,
}
"""The WGAN paper's settings and its authors' bursts."""

CLOSE_SECONDS = 10.0


def config(which: str, seconds: float) -> RunConfig:
    """The recipe as it stands or with the reference settings, which time alone ends."""
    changes: dict[str, Any] = {
        "budget.max_seconds": seconds,
        "compute.workers": WORKERS,
        "compute.device": "cpu",
    }
    return load_config(RECIPE, changes | (REFERENCE if which == "reference" else {}))


def worker(rank: int, spec_json: str, objects: dict[str, bytes], folder: str) -> None:
    """One of the two; rank 0 leaves the result and its checkpoints in ``folder``.

    Args:
        rank: Which.
        spec_json: The run.
        objects: A store's content: the version's manifest and the reference statistics.
        folder: Empty.
    """
    logging.basicConfig(level=logging.WARNING)
    rates.as_a_job_does()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    spec, settings, store = RunSpec.from_json(spec_json), load_settings(), MemoryStore()
    store.objects.update(objects)
    dataset = benchmark_data.fashion_mnist(settings)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(open_checkpoints(store, spec))
        memory = MemoryTracker()
        tracker = SpooledTracker(memory, Path(folder, f"spool-{rank}"))
        stack.callback(lambda: tracker.close(CLOSE_SECONDS))
        run_id = memory.start(spec.tracking("benchmark"))
        place, say = WorkerPlace(rank, WORKERS), logging.info
        equipment = equip(store, dataset, spec.config.evaluation, place, settings.cache, say)
        host = build_host(place, spec, equipment, checkpoints, tracker, run_id, say)
        *_, result = rounds_on(host)
    assert isinstance(result, TrainResult)
    if rank == 0:
        Path(folder, "result.json").write_text(result.to_json())
        for info in store.list(f"runs/{spec.run}/"):
            path = Path(folder, info.key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.get(info.key))
    dist.destroy_process_group()


def train(spec: RunSpec, store: MemoryStore) -> CheckpointRef:
    """Train in two processes, put what they kept into the store, and name the best of it.

    Raises:
        TrainingError: The run must not go on, or saved nothing.
    """
    with tempfile.TemporaryDirectory(prefix="ganlib-bench-") as folder:
        spawn(worker, (spec.to_json(), dict(store.objects), folder), nprocs=WORKERS)
        result = TrainResult.from_json(Path(folder, "result.json").read_text())
        for path in Path(folder, "runs").rglob("*"):
            if path.is_file():
                store.put(path.relative_to(folder).as_posix(), path)
    if result.status == "failed" or result.best is None:
        raise TrainingError(result.reason or "the run kept no evaluated checkpoint")
    return result.best


def measure(run: RunConfig, dataset: LocalDataset, settings: Settings) -> Measured:
    """Train, and evaluate the best checkpoint."""
    store, version_ = MemoryStore(), dataset.version
    store.put(f"{version_.prefix}/manifest.json", version_.to_json().encode())
    # Once for both workers, with all threads.
    features = open_extractor(store, dataset, run.evaluation, settings.cache)
    reference_over_workers(store, dataset, features, run.evaluation.reference_images, WorkerPlace())
    spec = RunSpec(
        run=run_name(run, version_, "bench"),
        config=run,
        dataset_name=version_.name,
        dataset_digest=version_.digest,
        code_version=version("ganlib"),
    )
    best = train(spec, store)
    task = Task(spec=spec, checkpoint=best, samples=run.evaluation.samples, draw=1, untrained=False)
    shares = [share_of_task(settings, store, task, rank) for rank in range(WORKERS)]
    evaluation = judge(settings, store, task, shares).evaluation
    precision = accelerate(torch.device("cpu"), run.compute.precision).precision
    return Measured(value=evaluation.value, precision=precision)


def main(which: str, seconds: float, source: Path | None = None) -> Measured:
    """Measure one of the two."""
    settings = load_settings()
    dataset = benchmark_data.fashion_mnist(settings, source)
    return measure(
        config(which, seconds),
        pull(MemoryStore(), dataset.version, settings.cache, limit=settings.cache_bytes),
        settings,
    )


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1], float(sys.argv[2]), *(Path(word) for word in sys.argv[3:])))
