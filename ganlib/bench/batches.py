"""Pictures as a loop wants them, from mapped shards or from ``ImageFolder``: parts of the benchmark.

``python -m ganlib.bench.batches ganlib|plain SECONDS``
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import count

import torch
from torch import Tensor

from ganlib.bench import benchmark_data, plain
from ganlib.bench.parts import Measured, answer
from ganlib.core.steps import to_float
from ganlib.data.batches import TrainingBatches
from ganlib.data.cache import LocalDataset
from ganlib.settings import load_settings

WARM_UP = 8
"""Batches that are not timed: processes start, files come into memory."""


def from_shards(dataset: LocalDataset) -> Iterator[Tensor]:
    """Float [64, 3, 64, 64] in [−1, 1], epoch after epoch."""
    device = torch.device("cpu")
    batches = TrainingBatches(
        dataset.load("train"), seed=0, batch_size=plain.BATCH, rank=0, world_size=1, device=device
    )
    return (to_float(batches(step).images, device) for step in count())


def rate(batches: Iterator[Tensor], seconds: float) -> float:
    """Pictures a second."""
    for _ in range(WARM_UP):
        next(batches)
    began, pictures = time.perf_counter(), 0
    for batch in batches:
        pictures += len(batch)
        if (elapsed := time.perf_counter() - began) >= seconds:
            break
    return pictures / elapsed


def main(which: str, seconds: float) -> Measured:
    """Measure one of the two."""
    settings = load_settings()
    dataset = benchmark_data.pictures(settings)
    if which == "ganlib":
        return Measured(value=rate(from_shards(dataset), seconds))
    return Measured(value=rate(plain.batches(benchmark_data.folder_of(settings)), seconds))


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1], float(sys.argv[2])))
