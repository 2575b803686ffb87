"""The training job: a Ray Train run around :class:`~ganlib.training.host.Host`.

``python -m ganlib.jobs.train RUN`` on the cluster. It leaves ``runs/RUN/result.json``. Checkpoints
go through ganlib's own object store (:mod:`ganlib.training.checkpoints`), not through Ray's, so a run
resumes in the same way under Ray, in a test, and after the cluster itself is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
import torch.distributed as dist
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device

from ganlib.cluster.program import connect, emit, run_main
from ganlib.config.parts import EvaluationConfig
from ganlib.config.run import RunConfig
from ganlib.core.hardware import allow_tf32
from ganlib.core.steps import Place
from ganlib.data.cache import LocalDataset, pull
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError, TrainingError
from ganlib.ports import ObjectStore, RunTracker
from ganlib.quality.distances import Statistics
from ganlib.quality.extractors import open_extractor
from ganlib.quality.features import Extractor
from ganlib.quality.shared_reference import reference_over_workers
from ganlib.records import TrainResult
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.records import CurvePoint
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.tracking.spool import SpooledTracker
from ganlib.training.build import build_acceleration, pick_kernels
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.host import Host
from ganlib.training.spec import RunSpec, read_spec, require_same_code, result_key

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
    require_same_code(f"run {run}", spec.code_version)
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
    with worker_host(parameters) as host:
        *_, result = rounds_on(host)
    leave(result, host.place)


@contextmanager
def worker_host(parameters: dict[str, Any]) -> Iterator[Host]:
    """The host of a Ray Train worker.

    Args:
        parameters: ``run`` and ``tracking_run_id``; with ``trial`` the run is a trial of a sweep.
    """
    prepare_process()
    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), get_device())
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, parameters["run"])
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    equipment = equip(store, dataset, spec.config.evaluation, place, settings.cache)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(open_checkpoints(store, spec))
        tracker: RunTracker = MlflowTracker(settings)
        if place.rank == 0:
            tracker = spooled = SpooledTracker(tracker, settings.home / "spool" / spec.run)
            stack.callback(lambda: spooled.close(CLOSE_TRACKER_SECONDS))
        host = build_host(place, spec, equipment, checkpoints, tracker, parameters["tracking_run_id"])
        host.look_at_untrained = not parameters.get("trial", False)
        yield host


def leave(result: CurvePoint | TrainResult, place: Place) -> None:
    """Put a run's result into the object store, before any of its workers counts as done."""
    assert isinstance(result, TrainResult), "the last of a run's rounds"
    if place.rank == 0:
        open_store(load_settings()).put(result_key(result.run), result.to_json().encode())
    if dist.is_initialized():
        dist.barrier()


def prepare_process() -> None:
    """Set what holds for all of a worker's process."""
    # Ray and torch would else fall back on one another's thread counts.
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    # Numbers below 1e-38 cost a CPU a hundred times as much as others, and change nothing.
    torch.set_flush_denormal(True)


@dataclass(frozen=True)
class Equipment:
    """What runs on one dataset version have in common, in one process."""

    dataset: LocalDataset
    extractor: Extractor
    reference: Statistics


def equip(
    store: ObjectStore, dataset: LocalDataset, config: EvaluationConfig, place: Place, cache: Path
) -> Equipment:
    """Extractor and the held-out split's statistics; on all workers of a process group together."""
    features = open_extractor(store, dataset, config, cache, place)
    reference = reference_over_workers(store, dataset, features, config.reference_images, place)
    return Equipment(dataset, features, reference.statistics)


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
    equipment = equip(store, dataset, spec.config.evaluation, place, cache)
    *_, result = rounds_on(build_host(place, spec, equipment, checkpoints, tracker, tracking_run_id))
    assert isinstance(result, TrainResult)
    return result


def build_host(
    place: Place,
    spec: RunSpec,
    equipment: Equipment,
    checkpoints: Checkpoints,
    tracker: RunTracker,
    tracking_run_id: str,
    say: Callable[[str], None] = emit,
) -> Host:
    """The host of this worker; rank 0 says how it trains."""
    config = spec.config
    acceleration = build_acceleration(config, place.device)
    allow_tf32(acceleration.precision == "tf32")
    if place.rank == 0:
        how = f"{acceleration.describe()}, {pick_kernels(config)} {config.optimizer.kind}"
        threads = torch.get_num_threads()
        say(f"training on {place.workers} × {place.device.type}: {how}, threads each: {threads}")
    return Host(
        run=spec.run,
        tracking_run_id=tracking_run_id,
        config=config,
        dataset=equipment.dataset,
        reference=equipment.reference,
        extractor=equipment.extractor,
        checkpoints=checkpoints,
        tracker=tracker,
        place=place,
        emit=say,
    )


def rounds_on(host: Host) -> Iterator[CurvePoint | TrainResult]:
    """A run's evaluations and, last, its result; a run that must not go on has a failed one."""
    try:
        yield (yield from host.rounds())
    except TrainingError as error:
        # Handed out, not raised: Ray would take the run up again, only to end here again.
        host.checkpoints.wait()
        if host.place.rank == 0:
            host.tracker.artifact(host.tracking_run_id, "reason.txt", str(error).encode())
        yield TrainResult(
            run=host.run,
            tracking_run_id=host.tracking_run_id,
            status="failed",
            reason=str(error),
            best=host.checkpoints.best(),
            last=host.checkpoints.last(),
            images_lost=host.checkpoints.images_lost,
        )


def open_checkpoints(store: ObjectStore, spec: RunSpec) -> Checkpoints:
    """The checkpoints of a run, as this code writes them."""
    versions = (version("ganlib"), torch.__version__)
    return Checkpoints(store, spec.run, spec.config, versions, spec.adopt)


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
