"""Prepared versions of made-up pictures, without a preparation."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganlib.data.preparation import PreparationReport
from ganlib.data.shards import Block, write_shards
from ganlib.data.versions import write_version
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Split

Labels = Mapping[Split, Sequence[int]]


def made_picture(split: Split, index: int, label: int, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Picture ``index`` of a split: uint8 in this shape; noise, a shade of its label on average."""
    random = np.random.default_rng([index, label, split == "train"])
    return (random.integers(0, 50, shape) + 20 * (label % 10)).astype(np.uint8)


def made_version(
    store: ObjectStore,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    labels: Labels,
    *,
    capacity: int = 8192,
    name: str = "made",
    report: PreparationReport | None = None,
) -> DatasetVersion:
    """Put a version into a store: :func:`made_picture` of each label, ``capacity`` pictures in a shard."""
    with tempfile.TemporaryDirectory() as folder:
        shards = tuple(
            shard
            for split, listed in labels.items()
            for shard in write_shards(
                Path(folder),
                split,
                (
                    Block(made_picture(split, index, label, shape)[None], np.array([label]))
                    for index, label in enumerate(listed)
                ),
                shape,
                capacity,
            )
        )
        version = DatasetVersion(
            name=name,
            digest=DatasetVersion.digest_for(shape, tuple(classes), shards),
            image_shape=shape,
            classes=tuple(classes),
            shards=shards,
            source="here",
        )
        report = report or PreparationReport(digest=version.digest)
        report = report.model_copy(update={"digest": version.digest})
        write_version(store, version, Path(folder), f"{'0' * 63}1", report)
    return version
