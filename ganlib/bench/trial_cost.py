"""A sweep of trials that train one step each: a part of the benchmarks.

``python -m ganlib.bench.trial_cost``. It needs the services. One trial at a time, so that what lies between
the end of the first and the end of the last is what the others cost: run, networks, one step, an
evaluation of as few samples as can be, a checkpoint, tracking. It leaves its runs in the experiment
``digits-wgan``, and scikit-learn's digits as dataset ``digits``.
"""

from __future__ import annotations

import re
import time
import uuid
from importlib.metadata import version

from ganlib.bench.fixed_cost import digits
from ganlib.bench.parts import Measured, answer
from ganlib.cluster.launch import require_capacity, run_job
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.load import load_sweep
from ganlib.sweep.space import Choice
from ganlib.sweep.spec import SweepSpec, sweep_name, write_sweep_spec

TRIALS = 9


def config() -> SweepConfig:
    """A sweep whose trials differ by their seed."""
    return load_sweep(
        "digits-wgan",
        {
            "network.generator_width": 16,
            "network.critic_width": 16,
            "cadence.n_critic": 1,
            "evaluation.curve_samples": 16,
            "evaluation.reference_images": 16,
            "compute.device": "cpu",
        },
        {"seed": Choice(values=tuple(range(TRIALS)))},
        algorithm="grid",
        scheduler="none",
        total_kimg=0.064,
        # So that the time is not spent on a measurement of the loop.
        max_seconds=60,
        concurrency=1,
        finalists=1,
        final_samples=16,
    )


def main() -> Measured:
    """Measure it."""
    settings = load_settings()
    require_capacity(settings, 1)
    store, sweep = open_store(settings), config()
    dataset = digits(settings, store, sweep.base)
    name = sweep_name(sweep, dataset.digest, f"bench-{uuid.uuid4().hex[:8]}")
    spec = SweepSpec(
        sweep=name,
        config=sweep,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        code_version=version("ganlib"),
    )
    write_sweep_spec(store, spec)
    ends: list[float] = []

    def watch(line: str) -> None:
        if re.search(r"trial \d+ finished after", line):
            ends.append(time.perf_counter())

    try:
        run_job(settings, f"{name}-sweep", ["ganlib.jobs.sweep", name], watch)
    finally:
        for prefix in (f"sweeps/{name}/", f"runs/{name}-trial-"):
            for info in list(store.list(prefix)):
                store.delete(info.key)
    if len(ends) != TRIALS:
        raise RuntimeError(f"{TRIALS} trials were to finish, and {len(ends)} did")
    return Measured(value=(ends[-1] - ends[0]) / (TRIALS - 1))


if __name__ == "__main__":
    answer(main)
