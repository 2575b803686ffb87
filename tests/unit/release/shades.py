"""A small dataset of stripes, and runs on it that are evaluated in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganlib.config.run import load_config
from ganlib.data.cache import LocalDataset, pull
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.fakes.stores import MemoryStore
from ganlib.training.spec import RunSpec

TINY: dict[str, Any] = {
    "dataset.name": "shades",
    "network.generator_width": 4,
    "network.critic_width": 4,
    "network.latent_dim": 4,
    "batch_size": 60,
    "evaluation.samples": 50,
    "evaluation.extractor": "classifier",
}


def add(store: MemoryStore, name: str, classes: tuple[str, ...], folder: Path) -> LocalDataset:
    """Upright and lying stripes of all shades."""
    random = np.random.default_rng(0)
    for label, kind in enumerate(classes):
        for index in range(120 // len(classes)):
            picture = random.integers(0, 100, (28, 28), dtype=np.uint8)
            (picture if label == 0 else picture.T)[:: 3 + index % 5] += np.uint8(50 + index)
            path = folder / name / kind / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    add_dataset(store, name, str(folder / name), open_store=lambda _: store, scratch=folder / "s")
    version = prepare(store, name, Preparation(size=28, channels=1), scratch=folder / "s")
    return pull(store, version, folder / "home" / "cache")


def spec(dataset: LocalDataset, workers: int) -> RunSpec:
    version = dataset.version
    config = load_config("digits-wgan", {**TINY, "compute.workers": workers})
    return RunSpec(
        run="run", config=config, dataset_name="shades", dataset_digest=version.digest, code_version="0"
    )
