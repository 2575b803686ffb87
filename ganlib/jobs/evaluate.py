"""The evaluation job: how far the trained and the untrained generator are from held-out pictures.

``python -m ganlib.jobs.evaluate RUN`` on the cluster. Both generators get the same latents, and
none that was used during training: the best checkpoint was chosen on those. Each of the run's
workers takes a share (:mod:`ganlib.jobs.judge`). It leaves ``runs/RUN/evaluation.json``.
"""

from __future__ import annotations

import json
import time

import ray

from ganlib.errors import ConfigError
from ganlib.jobs.runner import connect, emit, run_main
from ganlib.jobs.spec import evaluation_key, read_spec, result_key
from ganlib.records import CheckpointRef, Evaluation, TrainResult
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.tracking import MlflowTracker


def main(run: str) -> None:
    """Evaluate a trained run.

    Raises:
        ConfigError: The run has no checkpoint yet.
    """
    began = time.monotonic()
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    result = TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    checkpoint = result.best or result.last
    if checkpoint is None:
        raise ConfigError(f"run {run} has no checkpoint to evaluate; train it first")
    connect()
    workers = spec.config.compute.workers
    gpus = 1 if ray.cluster_resources().get("GPU", 0.0) >= workers else 0
    share, judge = ray.remote(num_cpus=1, num_gpus=gpus)(_share), ray.remote(num_cpus=1)(_judge)
    shares = [share.remote(run, checkpoint.to_json(), rank) for rank in range(workers)]
    metric, values = json.loads(ray.get(judge.remote(run, *shares)))
    evaluation = Evaluation(
        run=run,
        checkpoint=checkpoint,
        dataset_digest=spec.dataset_digest,
        metric=metric,
        samples=spec.config.evaluation.samples,
        value=values["trained"],
        value_untrained=values["untrained"],
        seconds=time.monotonic() - began,
    )
    tracker = MlflowTracker(settings)
    tracker.metrics(result.tracking_run_id, 0, {evaluation.metric: evaluation.value_untrained})
    tracker.metrics(result.tracking_run_id, checkpoint.images_seen, {evaluation.metric: evaluation.value})
    store.put(evaluation_key(run), evaluation.to_json().encode())
    emit(f"{evaluation.metric} = {evaluation.value:.1f} (untrained {evaluation.value_untrained:.1f})")


# The two tasks import what they need by themselves: this process would spend ten seconds on
# importing what it never uses, before the first of them could start.


def _share(run: str, checkpoint: str, rank: int) -> bytes:
    from ganlib.jobs.judge import features_of_share

    store = open_store(load_settings())
    reference = CheckpointRef.from_json(checkpoint, source="the evaluation job")
    return features_of_share(store, read_spec(store, run), reference, rank)


def _judge(run: str, *shares: bytes) -> str:
    from ganlib.jobs.judge import distances

    settings = load_settings()
    store = open_store(settings)
    return json.dumps(distances(settings, store, read_spec(store, run), list(shares)))


if __name__ == "__main__":
    run_main(main)
