"""The comparison job: two registered generators on the same latents and the same held-out pictures.

``python -m ganlib.jobs.compare RUN DIGEST`` on the cluster, for a task that lies in the object store
(:class:`~ganlib.release.comparison_task.ComparisonTask`). Each of the run's workers takes a share. The job
leaves the comparison beside its task, and a picture of both versions, side by side, in MLflow.
"""

from __future__ import annotations

from typing import Any

import ray

from ganlib.cluster.program import connect, emit, run_main
from ganlib.records import Comparison
from ganlib.release.comparison_task import ComparisonTask, read_task, write_comparison
from ganlib.release.decision import comparison_summary
from ganlib.settings import load_settings
from ganlib.storage import open_store


def main(run: str, digest: str) -> None:
    """Compare two versions.

    Raises:
        ObjectMissing: There is no such task.
        UnknownName: One of the versions does not exist.
        RegistryError: One of them cannot be loaded.
    """
    store = open_store(load_settings())
    task = read_task(store, run, digest)
    connect()
    workers = task.spec.config.compute.workers
    gpus = 1 if ray.cluster_resources().get("GPU", 0.0) >= workers else 0
    share, judge = ray.remote(num_cpus=1, num_gpus=gpus)(_share), ray.remote(num_cpus=1)(_judge)
    plain = task.model_dump(mode="json")
    shares = [share.remote(plain, rank) for rank in range(workers)]
    comparison = Comparison.from_json(ray.get(judge.remote(plain, *shares)), source=task.result_key)
    write_comparison(store, task, comparison)
    emit(f"version {task.candidate} against {task.champion}: {comparison_summary(comparison)}")


# The two tasks import by themselves what they need, as those of the evaluation job do.


def _share(task: dict[str, Any], rank: int) -> bytes:
    from ganlib.release.comparison import features_of_versions

    settings = load_settings()
    return features_of_versions(settings, open_store(settings), ComparisonTask.model_validate(task), rank)


def _judge(task: dict[str, Any], *shares: bytes) -> str:
    from ganlib.release.comparison import judge

    settings = load_settings()
    found = judge(settings, open_store(settings), ComparisonTask.model_validate(task), list(shares))
    return found.to_json()


if __name__ == "__main__":
    run_main(main)
