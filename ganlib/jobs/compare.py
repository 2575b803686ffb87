"""The comparison job: two registered generators on the same latents and the same held-out pictures.

``python -m ganlib.jobs.compare RUN MODEL CANDIDATE CHAMPION`` on the cluster, for the run's dataset version
and two versions of a model. Each of the run's workers takes a share. It leaves
``runs/RUN/comparison-MODEL-CANDIDATE-CHAMPION.json`` and a picture of both, side by side, in MLflow.
"""

from __future__ import annotations

import ray

from ganlib.cluster.program import connect, emit, run_main
from ganlib.errors import ObjectMissing
from ganlib.ports import ObjectStore
from ganlib.records import Comparison
from ganlib.release.decision import comparison_summary
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.training.spec import comparison_key, read_spec


def main(run: str, model: str, candidate: str, champion: str) -> None:
    """Compare two versions.

    Raises:
        UnknownName: One of the versions does not exist.
        RegistryError: One of them cannot be loaded.
    """
    store = open_store(load_settings())
    spec = read_spec(store, run)
    connect()
    workers = spec.config.compute.workers
    gpus = 1 if ray.cluster_resources().get("GPU", 0.0) >= workers else 0
    share, judge = ray.remote(num_cpus=1, num_gpus=gpus)(_share), ray.remote(num_cpus=1)(_judge)
    versions = (int(candidate), int(champion))
    shares = [share.remote(run, model, versions, rank) for rank in range(workers)]
    key = comparison_key(run, model, *versions)
    comparison = Comparison.from_json(ray.get(judge.remote(run, model, versions, *shares)), source=key)
    store.put(key, comparison.to_json().encode())
    emit(f"version {candidate} against {champion}: {comparison_summary(comparison)}")


def read_comparison(
    store: ObjectStore, run: str, model: str, candidate: int, champion: int
) -> Comparison | None:
    """The comparison of two versions that an earlier job left, if one did."""
    key = comparison_key(run, model, candidate, champion)
    try:
        return Comparison.from_json(store.get(key), source=key)
    except ObjectMissing:
        return None


# The two tasks import what they need by themselves, as those of the evaluation job.


def _share(run: str, model: str, versions: tuple[int, int], rank: int) -> bytes:
    from ganlib.release.comparison import features_of_share

    settings = load_settings()
    store = open_store(settings)
    return features_of_share(settings, store, read_spec(store, run), model, versions, rank)


def _judge(run: str, model: str, versions: tuple[int, int], *shares: bytes) -> str:
    from ganlib.release.comparison import judge

    settings = load_settings()
    store = open_store(settings)
    return judge(settings, store, read_spec(store, run), model, versions, list(shares)).to_json()


if __name__ == "__main__":
    run_main(main)
