"""The evaluation job: how far the trained and the untrained generator are from held-out pictures.

``python -m ganlib.jobs.evaluate RUN`` on the cluster. Both generators get the same latents, and
none that was used during training: the best checkpoint was chosen on those. Each of the run's
workers takes a share (:mod:`ganlib.release.evaluation`). It leaves ``runs/RUN/evaluation.json``.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import numpy as np
import ray

from ganlib.cluster.program import connect, emit, run_main
from ganlib.errors import ConfigError
from ganlib.records import CheckpointRef, Evaluation, TrainResult
from ganlib.release.evaluation_log import log_evaluation, summary
from ganlib.release.run_page import complete_run_page
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.spec import RunSpec, evaluation_key, read_spec, result_key, run_draw

if TYPE_CHECKING:
    from ganlib.quality.grids import Picture


def main(run: str) -> None:
    """Evaluate a trained run.

    Raises:
        ConfigError: The run has no checkpoint yet.
    """
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    result = TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    checkpoint = result.best or result.last
    if checkpoint is None:
        raise ConfigError(f"run {run} has no checkpoint to evaluate; train it first")
    connect()
    evaluation, strip = examine(spec, checkpoint, samples=spec.config.evaluation.samples, draw=run_draw(run))
    tracker = MlflowTracker(settings)
    log_evaluation(tracker, result.tracking_run_id, evaluation, strip)
    complete_run_page(store, tracker, result.tracking_run_id, evaluation)
    store.put(evaluation_key(run), evaluation.to_json().encode())
    emit(summary(evaluation))


def examine(
    spec: RunSpec, checkpoint: CheckpointRef, *, samples: int, draw: int, untrained: bool = True
) -> tuple[Evaluation, Picture]:
    """Evaluate a checkpoint on all of the run's workers, from a process that is connected to the cluster.

    Args:
        spec: The run; nothing of it needs to be in the store but the checkpoint.
        checkpoint: The checkpoint to evaluate.
        samples: Generated pictures.
        draw: Number of the draw of latents.
        untrained: Whether the generator is measured as it was before training, too.

    Returns:
        The evaluation, its ``value_untrained`` NaN unless asked for, and the strip that shows copying,
        uint8 [H, W, 3].
    """
    # The two tasks import the computing packages themselves: here that would delay their start by ten
    # seconds, and this process uses none of them.
    began = time.monotonic()
    workers = spec.config.compute.workers
    task = {
        "spec": spec.model_dump(mode="json"),
        "checkpoint": checkpoint.model_dump(mode="json"),
        "samples": samples,
        "draw": draw,
        "untrained": untrained,
    }
    gpus = 1 if ray.cluster_resources().get("GPU", 0.0) >= workers else 0
    share, judge = ray.remote(num_cpus=1, num_gpus=gpus)(_share), ray.remote(num_cpus=1)(_judge)
    shares = [share.remote(task, rank) for rank in range(workers)]
    judged, strip = ray.get(judge.remote(task, *shares))
    evaluation = Evaluation.from_json(judged, source="the evaluation")
    seconds = time.monotonic() - began
    return evaluation.model_copy(update={"seconds": seconds}), np.load(io.BytesIO(strip), allow_pickle=False)


def evaluate_checkpoint(
    spec: RunSpec, checkpoint: CheckpointRef, *, samples: int, draw: int, untrained: bool = True
) -> Evaluation:
    """As :func:`examine`, without the strip."""
    return examine(spec, checkpoint, samples=samples, draw=draw, untrained=untrained)[0]


def _share(task: dict[str, object], rank: int) -> bytes:
    from ganlib.release.evaluation import Task, share_of_task
    from ganlib.training.worker import prepare_process

    settings = load_settings()
    prepare_process()
    return share_of_task(settings, open_store(settings), Task.model_validate(task), rank)


def _judge(task: dict[str, object], *shares: bytes) -> tuple[str, bytes]:
    from ganlib.release.evaluation import Task, judge

    settings = load_settings()
    outcome = judge(settings, open_store(settings), Task.model_validate(task), list(shares))
    buffer = io.BytesIO()
    np.save(buffer, outcome.strip, allow_pickle=False)
    return outcome.evaluation.to_json(), buffer.getvalue()


if __name__ == "__main__":
    run_main(main)
