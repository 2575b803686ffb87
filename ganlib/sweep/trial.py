"""The trials of a sweep on Ray Tune: of one worker inside an actor, of several as a Ray Train run.

A trial of one worker trains inside a Tune actor that outlives it and takes the next one.

What the trials of a sweep have in common is loaded once: torch, the dataset's shards, the extractor, the
held-out split's statistics. Everything a trial leaves behind goes to ganlib's own object store, as with any
run; Tune gets a few numbers and a line of JSON.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import ray.train
import ray.tune
import torch
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune import Trainable
from ray.tune.integration.ray_train import TuneReportCallback

from ganlib.cluster.lines import Say, StageProgress
from ganlib.cluster.program import emit, worker_place
from ganlib.core.steps import WorkerPlace
from ganlib.data.streaming import bring
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError
from ganlib.records import CurvePoint, TrainResult
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.spec import read_sweep_spec
from ganlib.sweep.trial_report import TrialReport, report_of
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.tracking.spool import SpooledTracker
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.spec import read_spec, result_key
from ganlib.training.worker import (
    CLOSE_TRACKER_SECONDS,
    build_host,
    equip,
    open_checkpoints,
    prepare_process,
    rounds_on,
    worker_host,
    write_result,
)


class TrialActor(Trainable):
    """Trains one trial after another; a step is the way to its next evaluation.

    A trial that Tune pauses, moves or starts anew goes on from the newest checkpoint in ganlib's store, so
    nothing is ever saved into Tune's.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Load what all trials share, and begin the first.

        Args:
            config: ``sweep`` and ``cuda``, and of the trial as ``member``: ``number``, ``run`` and
                ``tracking_run_id``.
        """
        # Tune would warn about the duration of this setup.
        logging.getLogger("ray.tune").setLevel(logging.WARNING)
        prepare_process()
        self._settings = load_settings()
        self._store = open_store(self._settings)
        spec = read_sweep_spec(self._store, config["sweep"])
        self._place = WorkerPlace(device=_device(config["cuda"]))
        version = load_version(self._store, spec.dataset_name, spec.dataset_digest)
        evaluation, cache = spec.config.base.evaluation, self._settings.cache
        limit = self._settings.cache_bytes
        dataset = bring(self._store, version, cache, limit=limit, window=spec.window_shards)
        self._equipment = equip(self._store, dataset, evaluation, self._place, cache, emit)
        self._tracker = MlflowTracker(self._settings)
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="tracker")
        self._closing: Future[int] | None = None
        self._trial = ExitStack()
        self._begin(config["member"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """End the current trial and begin another one, or the same with changed values."""
        self._end()
        self._begin(new_config["member"])
        return True

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation."""
        return next(self._reports).for_tune()

    def cleanup(self) -> None:
        """End the trial at hand, and wait until its tracking is sent."""
        self._end()
        self._wait_for_tracker()
        self._closer.shutdown()

    def _begin(self, member: dict[str, Any]) -> None:
        spec = read_spec(self._store, member["run"])
        # A tracking journal has one writer, and the earlier trial may be the same run.
        self._wait_for_tracker()
        spooled = SpooledTracker(self._tracker, self._settings.home / "spool" / spec.run)
        self._trial.callback(self._close_later, spooled)
        checkpoints = self._trial.enter_context(open_checkpoints(self._store, spec))
        host = build_host(
            self._place,
            spec,
            self._equipment,
            checkpoints,
            spooled,
            member["tracking_run_id"],
            say=_saying(member["number"]),
        )
        host.look_at_untrained = False
        self._reports = self._report(rounds_on(host), checkpoints)

    def _report(
        self, steps: Iterator[CurvePoint | TrainResult], checkpoints: Checkpoints
    ) -> Iterator[TrialReport]:
        for step in steps:
            if isinstance(step, TrainResult):
                self._store.put(result_key(step.run), step.to_json().encode())
            yield report_of(step, checkpoints)

    def _end(self) -> None:
        self._trial.close()

    def _close_later(self, tracker: SpooledTracker) -> None:
        # The next trial does not wait until this one's last pictures are sent.
        self._closing = self._closer.submit(tracker.close, CLOSE_TRACKER_SECONDS)

    def _wait_for_tracker(self) -> None:
        if self._closing is not None:
            closing, self._closing = self._closing, None
            closing.result()


def train_trial(config: dict[str, Any]) -> None:
    """Run a Ray Train trainer inside a Tune trial, and hand its reports on.

    Args:
        config: ``cuda``, ``cpus``, ``gpus``, and of the trial as ``member``: ``run`` and ``tracking_run_id``.
    """
    member = config["member"]
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, member["run"])
    resources = {"CPU": float(config["cpus"])} | ({"GPU": config["gpus"]} if config["cuda"] else {})
    trainer = TorchTrainer(
        trial_worker,
        train_loop_config={"run": spec.run, "tracking_run_id": member["tracking_run_id"], "trial": True},
        scaling_config=ScalingConfig(
            num_workers=spec.config.compute.workers, use_gpu=config["cuda"], resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            # A name of its own for each attempt: Ray would resume an earlier attempt of the same name.
            name=f"{spec.run}-{ray.tune.get_context().get_trial_id()}",
            storage_path=str(settings.home / "ray-train"),
            failure_config=FailureConfig(max_failures=spec.config.compute.max_failures),
            callbacks=[TuneReportCallback()],  # type: ignore[list-item]  # annotated for V1
        ),
    )
    trainer.fit()
    result = TrainResult.from_json(store.get(result_key(spec.run)), source=result_key(spec.run))
    end = TrialReport(status="finished" if result.status == "finished" else "diverged", reason=result.reason)
    ray.tune.report(end.for_tune())


def trial_worker(parameters: dict[str, Any]) -> None:
    """Train as a worker of a run does, and report every evaluation."""
    with worker_host(parameters, worker_place(), _emit_text) as host:
        for step in rounds_on(host):
            if isinstance(step, CurvePoint):
                ray.train.report(report_of(step, host.checkpoints).for_tune())
    write_result(step, host.place)


def _emit_text(said: str | StageProgress) -> None:
    """Print a trial's lines; how far the whole sweep is, its own job tells."""
    if isinstance(said, str):
        emit(said)


def _device(cuda: bool) -> torch.device:
    if cuda and not torch.cuda.is_available():
        raise ConfigError("this node's GPU cannot be used by torch; train with compute.device = cpu")
    return torch.device("cuda" if cuda else "cpu")


def _saying(number: int) -> Say:
    """Return a function that prints a trial's warnings; the sweep itself prints the progress."""

    def say(said: str | StageProgress) -> None:
        if isinstance(said, str) and said.startswith("warning"):
            emit(f"trial {number}: {said}")

    return say
