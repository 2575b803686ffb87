"""How fast ganlib's loop trains: pictures a second, and how much of the time it waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

from ganlib.config.run import RunConfig, build_config
from ganlib.core.loop import Batch, train
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import mean_over_workers
from ganlib.data.batches import TrainingBatches
from ganlib.data.cache import LocalDataset
from ganlib.training.build import build_plan, fresh_state

WARM_UP = 2
"""Generator steps, with the critic steps before them, that are not timed."""


class Rate(NamedTuple):
    """Result of a timed stretch of training."""

    images_per_second: float
    waiting_share: float
    """Share of the time that was spent waiting for batches."""
    precision: str


def config(width: int = 64, batch_size: int = 64, workers: int = 1) -> RunConfig:
    """DCGAN 64×64×3 with the paper's settings, without bursts and without an end; the rest is usual."""
    return build_config(
        {
            "recipe": "benchmark",
            "dataset": {"name": "bench-pictures", "size": 64, "channels": 3},
            "network": {"generator_width": width, "critic_width": width},
            "cadence": {"n_critic": 5, "bursts": False},
            "batch_size": batch_size,
            "budget": {"total_kimg": 1_000_000},
            "compute": {"workers": workers, "device": "cpu"},
        }
    )


def as_a_job_does() -> None:
    """Set up this process as :func:`ganlib.training.worker.prepare_process` sets up a worker."""
    torch.set_flush_denormal(True)


class Timed:
    """Batches, with a clock that runs while they are waited for."""

    def __init__(self, batches: TrainingBatches) -> None:
        self._batches = batches
        self.seconds = 0.0

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        began = time.perf_counter()
        batch = self._batches(step)
        self.seconds += time.perf_counter() - began
        return batch


def measure(run: RunConfig, dataset: LocalDataset, place: WorkerPlace, seconds: float) -> Rate:
    """Train for at least ``seconds`` after warming up; workers of a process group end together."""
    as_a_job_does()
    state, plan = fresh_state(run, dataset.version, place.device), build_plan(run, place.device)
    batches = Timed(
        TrainingBatches(
            dataset.load("train"),
            seed=run.seed,
            batch_size=run.batch_size,
            rank=place.rank,
            world_size=place.workers,
            device=place.device,
        )
    )
    progress = (step.images_seen for step in train(state, batches, plan, place))
    images, elapsed, waited = stretch(progress, seconds, batches)
    return Rate(images / elapsed, waited / elapsed, plan.acceleration.precision)


def stretch(
    progress: Iterator[int], seconds: float, batches: Timed | None = None
) -> tuple[int, float, float]:
    """Time a loop that yields the images seen: images, seconds, and seconds waited for batches."""
    first = [next(progress) for _ in range(WARM_UP)][-1]
    began, waited_before = time.perf_counter(), batches.seconds if batches else 0.0
    for seen in progress:
        elapsed = time.perf_counter() - began
        # The slowest worker ends it for all, as in ganlib's host, whose loop meets here in every step, too.
        if float(mean_over_workers(torch.tensor(float(elapsed >= seconds)))) > 0:
            return seen - first, elapsed, (batches.seconds if batches else 0.0) - waited_before
    raise RuntimeError("the loop ended before the time was over")
