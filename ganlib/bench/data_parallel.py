"""ganlib's loop on one or two workers of one thread each: parts of the benchmark.

``python -m ganlib.bench.data_parallel one|two|apart SECONDS``. All of them have a global batch of 64.
``apart`` is two workers that know nothing of each other, each with half of the batch: what the
machine itself loses when both of its processors work.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from ganlib.bench import benchmark_data, rates
from ganlib.bench.parts import Measured, answer
from ganlib.core.steps import WorkerPlace
from ganlib.settings import load_settings

BATCH = 64


def worker(rank: int, workers: int, together: bool, seconds: float, folder: str, width: int) -> None:
    """One process; leaves its rate in ``folder``."""
    if together:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    dataset = benchmark_data.pictures(load_settings())
    if together:
        run, place = rates.config(width, BATCH, workers), WorkerPlace(rank, workers)
    else:
        run, place = rates.config(width, BATCH // workers), WorkerPlace()
    rate = rates.measure(run, dataset, place, seconds)
    Path(folder, f"{rank}.json").write_text(
        Measured(value=rate.images_per_second, precision=rate.precision).to_json()
    )
    if together:
        dist.destroy_process_group()


def main(which: str, seconds: float, width: int = 64) -> Measured:
    """Pictures a second, over all workers."""
    workers, together = 1 if which == "one" else 2, which == "two"
    benchmark_data.pictures(load_settings())
    with tempfile.TemporaryDirectory(prefix="ganlib-bench-") as folder:
        spawn(worker, (workers, together, seconds, folder, width), nprocs=workers)
        texts = [Path(folder, f"{rank}.json").read_text() for rank in range(workers)]
    measured = [Measured.from_json(text) for text in texts]
    # Workers that train together count the same pictures.
    value = measured[0].value if together else sum(one.value for one in measured)
    return Measured(value=value, precision=measured[0].precision)


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1], float(sys.argv[2])))
