"""The training job: a Ray Train run around :class:`~ganlib.training.host.Host`.

``python -m ganlib.jobs.train RUN`` on the cluster. It leaves ``runs/RUN/evaluation.json``, which the
workers make when they have trained, and then ``runs/RUN/result.json``. Checkpoints
go through ganlib's own object store (:mod:`ganlib.training.checkpoints`), not through Ray's, so a run
resumes in the same way under Ray, in a test, and after the cluster itself is gone.
"""

from __future__ import annotations

from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ganlib.cluster.program import connect, emit, run_main, worker_place
from ganlib.config.run import RunConfig
from ganlib.core.workers import gather_bytes
from ganlib.errors import ConfigError, ObjectMissing, TrainingError
from ganlib.jobs.evaluate import RUN_DRAW, log_evaluation, summary
from ganlib.ports import ObjectStore
from ganlib.records import Evaluation, TrainResult
from ganlib.release.evaluation import Task, evaluate_over_workers
from ganlib.release.run_page import complete_run_page
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.host import Host
from ganlib.training.spec import evaluation_key, read_spec, require_same_code, result_key
from ganlib.training.worker import rounds_on, worker_host, write_result


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
                # A new name for each attempt: under an old one Ray would restore its own state.
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
    """Run one Ray Train worker; a restarted worker resumes from the newest checkpoint."""
    with worker_host(parameters, worker_place(), emit) as host:
        *_, result = rounds_on(host)
        assert isinstance(result, TrainResult), "the last of a run's rounds"
        _evaluate(host, result)
    write_result(result, host.place)


def _evaluate(host: Host, result: TrainResult) -> None:
    """Evaluate the trained run on all of its workers, unless that has been done; rank 0 records it.

    It comes before the result: a job that dies in between resumes at the end of its training, and ends its
    tracking run with everything in it.
    """
    store, place, run = open_store(load_settings()), host.place, host.run
    # Only rank 0 knows the newest checkpoints; all must evaluate the same one, or none.
    plan = gather_bytes(_to_evaluate(store, result) if place.rank == 0 else b"", place)[0]
    if not plan:
        return
    task = Task.from_json(plan, source=f"the evaluation of {run}")
    outcome = evaluate_over_workers(store, task, host.dataset, host.extractor, place)
    if outcome is not None:
        log_evaluation(host.tracker, host.tracking_run_id, outcome.evaluation, outcome.strip)
        complete_run_page(store, host.tracker, host.tracking_run_id, outcome.evaluation)
        store.put(evaluation_key(run), outcome.evaluation.to_json().encode())
        emit(summary(outcome.evaluation))


def _to_evaluate(store: ObjectStore, result: TrainResult) -> bytes:
    """The evaluation that is still to be made, as JSON; empty when there is none."""
    run, checkpoint = result.run, result.best or result.last
    if result.status != "finished" or checkpoint is None:
        return b""
    try:
        done = Evaluation.from_json(store.get(evaluation_key(run)), source=evaluation_key(run))
    except ObjectMissing:
        done = None
    if done is not None and done.checkpoint == checkpoint:
        return b""
    spec = read_spec(store, run)
    samples = spec.config.evaluation.samples
    return Task(spec=spec, checkpoint=checkpoint, samples=samples, draw=RUN_DRAW).to_json().encode()


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
