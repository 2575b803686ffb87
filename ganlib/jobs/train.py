"""The training job: a Ray Train run around :class:`~ganlib.jobs.host.Host`.

``python -m ganlib.jobs.train RUN`` on the cluster. It leaves ``runs/RUN/result.json``. Checkpoints
go through ganlib's own object store (:mod:`ganlib.jobs.checkpoints`), not through Ray's, so a run
resumes in the same way under Ray, in a test, and after the cluster itself is gone.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from ganlib.build import build_acceleration, pick_kernels
from ganlib.config import RunConfig
from ganlib.core.hardware import allow_tf32
from ganlib.core.steps import Place
from ganlib.data.cache import LocalDataset, pull
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError, TrainingError
from ganlib.jobs.checkpoints import Checkpoints
from ganlib.jobs.extractors import open_extractor
from ganlib.jobs.host import Host
from ganlib.jobs.reference import reference_over_workers
from ganlib.jobs.runner import connect, emit, run_main
from ganlib.jobs.spec import RunSpec, read_spec, result_key
from ganlib.ports import ObjectStore, RunTracker
from ganlib.records import TrainResult
from ganlib.settings import load_settings
from ganlib.spool import SpooledTracker
from ganlib.storage import open_store
from ganlib.tracking import MlflowTracker

log = logging.getLogger(__name__)

CLOSE_TRACKER_SECONDS = 30.0


def main(run: str) -> None:
    """Train a run on the cluster that this process is a job of.

    Raises:
        ConfigError: The cluster is too small.
        TrainingError: The run must not go on; the reason is in its result.
    """
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    _require_same_code(spec)
    connect()
    use_gpu = _check_capacity(spec.config)
    tracker = MlflowTracker(settings)
    tracking_run_id = tracker.start(spec.tracking(settings.s3_bucket))
    try:
        trainer = TorchTrainer(
            worker,
            train_loop_config={"run": run, "tracking_run_id": tracking_run_id},
            scaling_config=ScalingConfig(
                num_workers=_worker_counts(spec.config),  # type: ignore[arg-type]  # annotated for V1
                use_gpu=use_gpu,
            ),
            run_config=ray.train.RunConfig(
                # A name of its own for each attempt: Ray would take up what another one left.
                name=f"{run}-{ray.get_runtime_context().get_job_id()}",
                storage_path=str(settings.home / "ray-train"),
                failure_config=FailureConfig(max_failures=spec.config.compute.max_failures),
            ),
        )
        trainer.fit()
        result = TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    except BaseException:
        tracker.finish(tracking_run_id, "killed")
        raise
    tracker.finish(tracking_run_id, "finished" if result.status == "finished" else "failed")
    if result.status == "failed":
        raise TrainingError(result.reason)


def worker(parameters: dict[str, Any]) -> None:
    """What each Ray Train worker runs; a worker that is started anew resumes by itself."""
    # Ray and torch would else fall back on one another's thread counts.
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    # Numbers below 1e-38 cost a CPU a hundred times as much as others, and change nothing.
    torch.set_flush_denormal(True)
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), get_device())
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, parameters["run"])
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(open_checkpoints(store, spec))
        tracker: RunTracker = MlflowTracker(settings)
        if place.rank == 0:
            tracker = spooled = SpooledTracker(tracker, settings.home / "spool" / spec.run)
            stack.callback(lambda: spooled.close(CLOSE_TRACKER_SECONDS))
        run_id = parameters["tracking_run_id"]
        result = train_on(place, spec, dataset, store, checkpoints, tracker, run_id, settings.cache)
    if place.rank == 0:
        store.put(result_key(spec.run), result.to_json().encode())
    if dist.is_initialized():
        # Rank 0's result must be written before any worker counts as done.
        dist.barrier()


def train_on(
    place: Place,
    spec: RunSpec,
    dataset: LocalDataset,
    store: ObjectStore,
    checkpoints: Checkpoints,
    tracker: RunTracker,
    tracking_run_id: str,
    cache: Path,
) -> TrainResult:
    """Build the host of this worker and train; a run that must not go on becomes a failed result."""
    config = spec.config
    acceleration = build_acceleration(config, place.device)
    allow_tf32(acceleration.precision == "tf32")
    if place.rank == 0:
        how = f"{acceleration.describe()}, {pick_kernels(config)} {config.optimizer.kind}"
        threads = torch.get_num_threads()
        emit(f"training on {place.workers} × {place.device.type}: {how}, threads each: {threads}")
    features = open_extractor(store, dataset, config.evaluation, cache, place)
    reference = reference_over_workers(store, dataset, features, config.evaluation.reference_images, place)
    host = Host(
        run=spec.run,
        tracking_run_id=tracking_run_id,
        config=config,
        dataset=dataset,
        reference=reference.statistics,
        extractor=features,
        checkpoints=checkpoints,
        tracker=tracker,
        place=place,
        emit=emit,
    )
    try:
        return host.train()
    except TrainingError as error:
        # Returned, not raised: Ray would take the run up again, only to end here again.
        checkpoints.wait()
        if place.rank == 0:
            tracker.artifact(tracking_run_id, "reason.txt", str(error).encode())
        return TrainResult(
            run=spec.run,
            tracking_run_id=tracking_run_id,
            status="failed",
            reason=str(error),
            best=checkpoints.best(),
            last=checkpoints.last(),
            images_lost=checkpoints.images_lost,
        )


def open_checkpoints(store: ObjectStore, spec: RunSpec) -> Checkpoints:
    """The checkpoints of a run, as this code writes them."""
    return Checkpoints(store, spec.run, spec.config, (version("ganlib"), torch.__version__))


def _require_same_code(spec: RunSpec) -> None:
    if spec.code_version != version("ganlib"):
        raise ConfigError(
            f"run {spec.run} was submitted by ganlib {spec.code_version}, this cluster has "
            f"{version('ganlib')}; install the same version on both"
        )


def _worker_counts(config: RunConfig) -> int | tuple[int, int]:
    few, many = config.compute.workers, config.compute.max_workers
    return few if many is None else (few, many)


def _check_capacity(config: RunConfig) -> bool:
    """Whether to train on GPUs; refuses what the cluster could never place."""
    resources = ray.cluster_resources()
    workers = config.compute.workers
    gpus, cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
    use_gpu = config.compute.device == "cuda" or (config.compute.device == "auto" and gpus >= workers)
    if use_gpu and gpus < workers:
        raise ConfigError(
            f"compute.workers = {workers} on cuda needs {workers} GPUs, the cluster has {gpus:g}"
        )
    if cpus < workers:
        raise ConfigError(f"compute.workers = {workers} needs {workers} CPUs, the cluster has {cpus:g}")
    return use_gpu


if __name__ == "__main__":
    run_main(main)
