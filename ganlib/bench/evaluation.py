"""How long an evaluation takes: a part of the benchmark.

``python -m ganlib.bench.evaluation`` evaluates a generator of 32×32 pictures on 2,000 samples, as the
evaluation job does with two workers of one thread each: pictures, features, the nearest training pictures,
and all distances to 5,000 real pictures. Processes are started and modules imported before the clock is.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from ganlib.bench import benchmark_data, rates
from ganlib.bench.parts import Measured, answer
from ganlib.config.run import RunConfig, load_config
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset
from ganlib.fakes.stores import MemoryStore
from ganlib.quality.extractors import open_extractor
from ganlib.quality.reference import reference_over_workers
from ganlib.release.evaluation import Task, judge, share_of_task
from ganlib.settings import load_settings
from ganlib.training.build import fresh_state
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.spec import RunSpec, run_name

WORKERS, SAMPLES, SIZE = 2, 2000, 32


def config() -> RunConfig:
    """The recipe at 32×32."""
    changes = {"dataset.size": SIZE, "compute.workers": WORKERS, "evaluation.samples": SAMPLES}
    return load_config("fashion-mnist-wgan", changes)


def task_on(store: MemoryStore, dataset: LocalDataset, run: RunConfig) -> Task:
    """An evaluation of the recipe's generator as it begins, its checkpoint in the store."""
    version_ = dataset.version
    spec = RunSpec(
        run=run_name(run, version_, "bench"),
        config=run,
        dataset_name=version_.name,
        dataset_digest=version_.digest,
        code_version=version("ganlib"),
    )
    with Checkpoints(store, spec.run, run, ("bench", "bench")) as checkpoints:
        checkpoints.save(fresh_state(run, version_, torch.device("cpu")), WORKERS, 1.0, 1.0)
        checkpoints.wait()
        best = checkpoints.best()
    assert best is not None, "it was saved with a distance"
    return Task(spec=spec, checkpoint=best, samples=SAMPLES, draw=1, untrained=False)


def worker(rank: int, task_json: str, objects: dict[str, bytes], folder: str) -> None:
    """One of the two; rank 0 leaves the seconds in ``folder``."""
    rates.as_a_job_does()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORKERS)
    task, settings, store = Task.from_json(task_json), load_settings(), MemoryStore()
    store.objects.update(objects)
    dist.barrier()
    began = time.monotonic()
    Path(folder, f"share-{rank}").write_bytes(share_of_task(settings, store, task, rank))
    dist.barrier()
    # What one process does by itself is to wait for no other.
    dist.destroy_process_group()
    if rank == 0:
        shares = [Path(folder, f"share-{other}").read_bytes() for other in range(WORKERS)]
        judge(settings, store, task, shares)
        Path(folder, "seconds").write_text(repr(time.monotonic() - began))


def main() -> Measured:
    """Measure three times and take the median; the reference is there before, as it is after a run."""
    settings, store, run = load_settings(), MemoryStore(), config()
    dataset = benchmark_data.shapes(settings, SIZE)
    store.put(f"{dataset.version.prefix}/manifest.json", dataset.version.to_json().encode())
    extractor = open_extractor(store, dataset, run.evaluation, settings.cache)
    reference_over_workers(store, dataset, extractor, run.evaluation.reference_images, WorkerPlace())
    task = task_on(store, dataset, run)
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="ganlib-bench-") as folder:
            spawn(worker, (task.to_json(), dict(store.objects), folder), nprocs=WORKERS)
            seconds.append(float(Path(folder, "seconds").read_text()))
    return Measured(value=statistics.median(seconds))


if __name__ == "__main__":
    answer(main)
