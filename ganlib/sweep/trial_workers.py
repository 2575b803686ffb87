"""A trial of several workers: a Ray Train run of its own, started from a Tune trial."""

from __future__ import annotations

from typing import Any

import ray.train
import ray.tune
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from ganlib.jobs.train import leave, rounds_on, worker_host
from ganlib.records import TrainResult
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.records import CurvePoint
from ganlib.sweep.trial_report import TrialReport, report_of
from ganlib.training.spec import read_spec, result_key


def train_trial(config: dict[str, Any]) -> None:
    """What the Tune trial runs: a trainer, whose reports are handed on.

    Args:
        config: ``cuda``, ``cpus``, ``gpus``, and of the trial as ``member``: ``run`` and ``tracking_run_id``.
    """
    member = config["member"]
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, member["run"])
    resources = {"CPU": float(config["cpus"])} | ({"GPU": config["gpus"]} if config["cuda"] else {})
    trainer = TorchTrainer(
        worker,
        train_loop_config={"run": spec.run, "tracking_run_id": member["tracking_run_id"], "trial": True},
        scaling_config=ScalingConfig(
            num_workers=spec.config.compute.workers, use_gpu=config["cuda"], resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            # A name of its own for each attempt: Ray would take up what another one left.
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


def worker(parameters: dict[str, Any]) -> None:
    """What each worker runs: as in a run of its own, with every evaluation reported."""
    with worker_host(parameters) as host:
        for step in rounds_on(host):
            if isinstance(step, CurvePoint):
                ray.train.report(report_of(step, host.checkpoints).for_tune())
    leave(step, host.place)
