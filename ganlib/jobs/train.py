"""The training job: a Ray Train run around :class:`~ganlib.training.host.Host`.

``python -m ganlib.jobs.train RUN`` on the cluster. When the workers have trained they leave
``runs/RUN/result.json``, and then evaluate, publish and compare the generator
(:mod:`ganlib.release.conclusion`): whatever fails of that, the flow makes up for. Checkpoints go through
ganlib's own object store (:mod:`ganlib.training.checkpoints`), not through Ray's, so a run resumes in the
same way under Ray, in a test, and after the cluster itself is gone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import ray
import ray.train
from ray.train import FailureConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ganlib.cluster.metrics import NoMetrics, RayMetrics, RunMetrics
from ganlib.cluster.program import connect, emit, run_main, worker_place
from ganlib.config.run import RunConfig
from ganlib.errors import ConfigError, TrainingError
from ganlib.records import TrainResult
from ganlib.release.conclusion import conclude_run, services_of
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.host import Host
from ganlib.training.spec import find_result, read_spec, require_same_code, result_key
from ganlib.training.worker import rounds_on, worker_host, write_result


def main(run: str, conclusion: Literal["publish", "evaluate"] = "publish") -> None:
    """Train a run on the cluster that this process is a job of.

    Args:
        run: Its name.
        conclusion: Whether the trained run is published, too, or evaluated only.

    Raises:
        ConfigError: The cluster is too small.
        TrainingError: The run must not go on; the reason is in its result.
    """
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    require_same_code(f"run {run}", spec.code_version)
    connect()
    use_gpu = _check_capacity(spec.config, settings)
    tracker = MlflowTracker(settings)
    tracking_run_id = tracker.start(spec.tracking(settings.s3_bucket))
    try:
        trainer = TorchTrainer(
            worker,
            train_loop_config={"run": run, "tracking_run_id": tracking_run_id, "conclusion": conclusion},
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
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            trained = find_result(store, run)
            if trained is None or trained.status != "finished":
                raise
            emit(f"warning: the run is trained, and what comes after that is made up for: {error}")
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
        with _live_numbers(host) as host.metrics:
            *_, result = rounds_on(host)
        assert isinstance(result, TrainResult), "the last of a run's rounds"
        write_result(result, host.place)
        publishing = parameters["conclusion"] == "publish"
        conclude_run(services_of(load_settings()), host, result, publishing=publishing)


def _live_numbers(host: Host) -> AbstractContextManager[RunMetrics]:
    if host.place.rank != 0:
        return nullcontext(NoMetrics())
    return RayMetrics(host.run, host.config.model_name)


def _worker_counts(config: RunConfig) -> int | tuple[int, int]:
    few, many = config.compute.workers, config.compute.max_workers
    return few if many is None else (few, many)


def _check_capacity(config: RunConfig, settings: Settings) -> bool:
    """Whether to train on GPUs; refuses what the cluster could never place.

    Workers that a growing cluster has no room for yet are waited for: Ray's autoscaler sees them.
    """
    resources = ray.cluster_resources()
    workers = config.compute.workers
    gpus = max(resources.get("GPU", 0.0), settings.ray_most_gpus)
    cpus = max(resources.get("CPU", 0.0), settings.ray_most_cpus)
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
