"""Ray's ``TorchTrainer`` with two workers that do nothing: ``python -m ganlib.bench.bare_trainer NAME``."""

from __future__ import annotations

import ray.train
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from ganlib.cluster.program import connect, run_main
from ganlib.settings import load_settings


def main(name: str) -> None:
    """Run it on the cluster that this process is a job of."""
    connect()
    TorchTrainer(
        worker,
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
        run_config=ray.train.RunConfig(name=name, storage_path=str(load_settings().home / "ray-train")),
    ).fit()


def worker() -> None:
    """Nothing."""


if __name__ == "__main__":
    run_main(main)
