"""Preparing IDX files, which bring their own split: the ``t10k`` files are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.decode import fit_grey
from ganlib.data.formats.idx import IDX_FILES, IDX_NAMES, IdxFile, check_idx_set, open_idx
from ganlib.data.preparation import Preparation
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.data.threads import decode_threads, ordered_map
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Shard, Split

_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class IdxSet:
    """Four IDX files on this machine, checked."""

    files: Mapping[str, IdxFile]
    labels: Mapping[Split, NDArray[np.int64]]
    classes: tuple[str, ...]

    @property
    def pictures(self) -> int:
        """Pictures of both splits."""
        return sum(map(len, self.labels.values()))

    def counts(self) -> dict[Split, dict[str, int]]:
        """Pictures by split and class."""
        return {
            split: dict(
                zip(self.classes, np.bincount(labels, minlength=len(self.classes)).tolist(), strict=True)
            )
            for split, labels in self.labels.items()
        }

    def write(
        self,
        folder: Path,
        preparation: Preparation,
        shape: tuple[int, int, int],
        count: Callable[[int], None],
    ) -> tuple[Shard, ...]:
        """Write all pictures as shards, in the order of the files.

        Args:
            folder: Where the shards go, under ``Shard.path``.
            preparation: How pictures become square.
            shape: Channels, height, width.
            count: Told how many more pictures are done.
        """
        return tuple(
            shard
            for split in IDX_FILES
            for shard in write_shards(
                folder, split, self._blocks(split, preparation, shape, count), shape, shard_capacity(shape)
            )
        )

    def _blocks(
        self,
        split: Split,
        preparation: Preparation,
        shape: tuple[int, int, int],
        count: Callable[[int], None],
    ) -> Iterator[Block]:
        channels, size, _ = shape

        def resize(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            grey = fit_grey(images, size, preparation.fit, preparation.colour)
            return np.repeat(grey[:, None], channels, axis=1)

        file = self.files[IDX_FILES[split][0]]
        with open_idx(file.path, 3, file.what) as reader:
            largest = max(channels * size * size, reader.shape[1] * reader.shape[2])
            at_once = max(1, min(512, _BLOCK_BYTES // largest))
            total = len(self.labels[split])
            cuts = [*range(0, total, at_once), total]
            resized = ordered_map(
                resize, reader.blocks(at_once), threads=decode_threads(), name="ganlib-resize"
            )
            for images, (start, stop) in zip(resized, pairwise(cuts), strict=True):
                yield Block(images, self.labels[split][start:stop])
                count(stop - start)


def open_idx_set(
    store: ObjectStore, name: str, objects: Mapping[str, ObjectInfo], classes: tuple[str, ...], work: Path
) -> IdxSet:
    """Bring the four files to this machine and check them.

    Raises:
        DataError: One is missing or damaged, they do not fit one another, or a label is no class.
    """
    missing = [f"{idx}.gz" for idx in IDX_NAMES if f"{idx}.gz" not in objects]
    if missing:
        raise DataError(f"raw/{name}/ lacks {', '.join(missing)}; add the dataset again")
    files: dict[str, IdxFile] = {}
    for idx in IDX_NAMES:
        info = objects[f"{idx}.gz"]
        files[idx] = IdxFile(work / f"{idx}.gz", info.key)
        store.download(info.key, files[idx].path)
    check_idx_set(files)
    labels: dict[Split, NDArray[np.int64]] = {}
    for split, (_, of_labels) in IDX_FILES.items():
        with open_idx(files[of_labels].path, 1, files[of_labels].what) as reader:
            labels[split] = reader.all().astype(np.int64)
    highest = max(int(values.max()) for values in labels.values())
    if not classes:
        classes = tuple(str(label) for label in range(highest + 1))
    if highest >= len(classes):
        raise DataError(
            f"a label is {highest}, but the dataset has {len(classes)} classes: {', '.join(classes)}"
        )
    return IdxSet(files, labels, classes)
