"""A training job of zero pictures, and a bare ``TorchTrainer``: parts of the benchmark.

``python -m ganlib.bench.fixed_cost ganlib|bare``. It needs the services. Both are submitted as jobs to
the same cluster and timed from there to their end. Ours is all of a training job: its dataset in the
cache, tracking, reference statistics, networks, and the evaluation of the untrained generator that
every run begins with, on as few samples as can be. It leaves its runs in the experiment
``benchmark``, and scikit-learn's digits as dataset ``digits``.
"""

from __future__ import annotations

import sys
import time
import uuid
from importlib.metadata import version

from ganlib.bench.parts import Measured, answer
from ganlib.cluster.launch import require_capacity, run_job
from ganlib.config.run import RunConfig, build_config
from ganlib.data.cache import pull
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, TrainResult
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_prefix, open_store
from ganlib.training.spec import RunSpec, result_key, run_name, write_spec

WORKERS = 2


def config() -> RunConfig:
    """A run that ends before its first step."""
    return build_config(
        {
            "recipe": "benchmark",
            "dataset": {"name": "digits", "size": 28},
            "network": {"generator_width": 16, "critic_width": 16},
            # Rounded to whole pictures, this is none.
            "budget": {"total_kimg": 1e-6},
            "evaluation": {"samples": 16, "curve_samples": 16, "reference_images": 16},
            "compute": {"workers": WORKERS, "device": "cpu"},
        }
    )


def ganlib_job(settings: Settings) -> float:
    """Seconds of our job."""
    store, run = open_store(settings), config()
    spec = _ready(settings, store, run)
    try:
        seconds = _timed(settings, f"{spec.run}-train", ["ganlib.jobs.train", spec.run])
        result = TrainResult.from_json(store.get(result_key(spec.run)), source=result_key(spec.run))
        if result.status != "finished" or result.images_seen:
            raise RuntimeError(f"a run of zero pictures was to finish, and this came of it: {result}")
        return seconds
    finally:
        for info in list(store.list(f"runs/{spec.run}/")):
            store.delete(info.key)


def _ready(settings: Settings, store: ObjectStore, run: RunConfig) -> RunSpec:
    """Dataset and spec, in their places before the time runs."""
    dataset = digits(settings, store, run)
    spec = RunSpec(
        run=run_name(run, dataset, f"bench-{uuid.uuid4().hex[:8]}"),
        config=run,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        code_version=version("ganlib"),
    )
    write_spec(store, spec)
    return spec


def digits(settings: Settings, store: ObjectStore, run: RunConfig) -> DatasetVersion:
    """The run's dataset, scikit-learn's digits: prepared, and in this machine's cache."""
    name = run.dataset.name
    add_dataset(
        store, name, None, open_store=lambda uri: open_prefix(settings, uri), scratch=settings.scratch
    )
    dataset = prepare(store, name, Preparation(size=run.dataset.size), scratch=settings.scratch)
    pull(store, dataset, settings.cache, limit=settings.cache_bytes)
    return dataset


def bare(settings: Settings) -> float:
    """Seconds of a job that is a ``TorchTrainer`` and nothing else."""
    name = f"bench-bare-{uuid.uuid4().hex[:8]}"
    return _timed(settings, name, ["ganlib.bench.bare_trainer", name])


def _timed(settings: Settings, job: str, arguments: list[str]) -> float:
    began = time.perf_counter()
    run_job(settings, job, arguments, lambda _: None)
    return time.perf_counter() - began


def main(which: str) -> Measured:
    """Measure one of the two."""
    settings = load_settings()
    require_capacity(settings, WORKERS)
    return Measured(value=ganlib_job(settings) if which == "ganlib" else bare(settings))


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1]))
