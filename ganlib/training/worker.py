"""A worker of a training run: what it needs, its host, and the result that it leaves.

Nothing here knows of Ray: a job, a sweep's trial, a benchmark and a test train in the same way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ganlib.cluster.lines import Say
from ganlib.config.parts import EvaluationConfig
from ganlib.core.hardware import allow_tf32
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset
from ganlib.data.windows import way_in_words
from ganlib.errors import TrainingError
from ganlib.ports import ObjectStore, RunTracker
from ganlib.quality.distances import Statistics
from ganlib.quality.extractors import open_extractor
from ganlib.quality.features import Extractor
from ganlib.quality.reference import reference_over_workers
from ganlib.records import CurvePoint, TrainResult
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.tracking.spool import SpooledTracker
from ganlib.training.augmenting import augmentation_in_words
from ganlib.training.build import build_acceleration, pick_kernels
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.dataset import open_dataset
from ganlib.training.dataset_page import log_dataset
from ganlib.training.host import Host
from ganlib.training.spec import RunSpec, find_result, read_spec, result_key

CLOSE_TRACKER_SECONDS = 30.0
"""Seconds that a worker waits at its end for MLflow to take what is spooled."""


@contextmanager
def worker_host(parameters: dict[str, Any], place: WorkerPlace, say: Say) -> Iterator[Host]:
    """The host of a worker, with its tracker and checkpoints closed at the end.

    Args:
        place: This worker among all of the run.
        say: Takes lines and progress for the job's log.
        parameters: ``run`` and ``tracking_run_id``; with ``trial`` the run is a trial of a sweep.
    """
    prepare_process()
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, parameters["run"])
    dataset = open_dataset(settings, store, spec)
    if place.rank == 0:
        say(way_in_words(dataset.version, settings.cache_bytes, spec.window_shards))
    equipment = equip(store, dataset, spec.config.evaluation, place, settings.cache, say)
    with ExitStack() as stack:
        checkpoints = stack.enter_context(open_checkpoints(store, spec))
        tracker: RunTracker = MlflowTracker(settings)
        if place.rank == 0:
            tracker = spooled = SpooledTracker(tracker, settings.home / "spool" / spec.run)
            stack.callback(lambda: spooled.close(CLOSE_TRACKER_SECONDS))
        host = build_host(place, spec, equipment, checkpoints, tracker, parameters["tracking_run_id"], say)
        trial = parameters.get("trial", False)
        host.look_at_untrained = not trial
        if place.rank == 0:
            # All trials of a sweep have the same pictures: a sheet in each would tell nothing new.
            drawing = threading.Thread(
                target=log_dataset,
                args=(store, tracker, host.tracking_run_id, dataset, spec.config.dataset.licence, say),
                kwargs={"with_sheet": not trial},
                name="ganlib-dataset-page",
            )
            # Beside the loop, which does not wait for it; the tracker is closed after it.
            drawing.start()
            stack.callback(drawing.join)
        yield host


def write_result(result: CurvePoint | TrainResult, place: WorkerPlace) -> None:
    """Put a run's result into the object store, before any of its workers counts as done."""
    assert isinstance(result, TrainResult), "the last of a run's rounds"
    if place.rank == 0:
        store, key = open_store(load_settings()), result_key(result.run)
        if not _trained_before(store, result):
            store.put(key, result.to_json().encode())
    if dist.is_initialized():
        dist.barrier()


def _trained_before(store: ObjectStore, result: TrainResult) -> bool:
    """Whether an earlier attempt trained all of it: its result has the rates, which this one cannot know."""
    before = find_result(store, result.run)
    if before is None or not before.status == result.status == "finished":
        return False
    return result.images_per_second == 0 and result.last == before.last


def prepare_process() -> None:
    """Set what holds for all of a worker's process."""
    # Set explicitly: Ray and torch each change the other's thread count.
    torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
    # Numbers below 1e-38 cost a CPU a hundred times as much as others, and change nothing.
    torch.set_flush_denormal(True)


@dataclass(frozen=True)
class Equipment:
    """Dataset, extractor and reference, shared by runs on one dataset version in one process."""

    dataset: LocalDataset
    extractor: Extractor
    reference: Statistics


def equip(
    store: ObjectStore,
    dataset: LocalDataset,
    config: EvaluationConfig,
    place: WorkerPlace,
    cache: Path,
    say: Callable[[str], None],
) -> Equipment:
    """Extractor and the held-out split's statistics; on all workers of a process group together."""
    features = open_extractor(store, dataset, config, cache, place, say)
    reference = reference_over_workers(store, dataset, features, config.reference_images, place)
    return Equipment(dataset, features, reference.statistics)


def build_host(
    place: WorkerPlace,
    spec: RunSpec,
    equipment: Equipment,
    checkpoints: Checkpoints,
    tracker: RunTracker,
    tracking_run_id: str,
    say: Say,
) -> Host:
    """The host of this worker; rank 0 says how it trains."""
    config = spec.config
    acceleration = build_acceleration(config, place.device)
    allow_tf32(acceleration.precision == "tf32")
    if place.rank == 0:
        how = f"{acceleration.describe()}, {pick_kernels(config)} {config.optimizer.kind}"
        threads = torch.get_num_threads()
        say(f"training on {place.workers} × {place.device.type}: {how}, threads each: {threads}")
        for line in augmentation_in_words(config.augmentation, equipment.dataset.version.count("train")):
            say(line)
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
        # Yielded, not raised: Ray would restart the run, which would fail here again.
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
