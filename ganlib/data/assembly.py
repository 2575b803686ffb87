"""Merging the sorted files of pixels to the shards of a version.

The pictures of a split are in the order of their digests. What a version holds is therefore known from its
pictures alone, in whatever order, under whatever names and by however many workers they were prepared, and
each shard is a random sample of the split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ganlib.data.picture_rows import digest_order, digests_of
from ganlib.data.pixel_files import PixelFiles
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.data.split import PictureSplit, pixel_digest
from ganlib.data.threads import ordered_map
from ganlib.errors import DataError, DiskFull
from ganlib.records import Shard, Split

_READERS = 4
"""Files that are read at once; of each, up to :data:`ganlib.data.pixel_files.FILE_BYTES` may be in memory."""

SPLITS: tuple[Split, ...] = ("train", "held_out")


class PixelsAltered(DataError):
    """Files of pixels that are gone, or hold other pixels than were written.

    Args:
        dataset: Name of the dataset.
        files: The files, as :mod:`ganlib.data.pixel_files` names them; one or more.
    """

    def __init__(self, dataset: str, files: frozenset[str]) -> None:
        self.files = files
        more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
        super().__init__(
            f"datasets/{dataset}/{min(files)}{more} is gone or holds other pixels than were written; check "
            "the disk of the object store, and prepare again"
        )


@dataclass(frozen=True)
class MergedShards:
    """The shards of a version, and where each picture lies in them."""

    shards: tuple[Shard, ...]
    shard: NDArray[np.int64]
    """Number of the shard of each row, int64 [n]; −1: the row is a copy of another one."""
    at: NDArray[np.int64]
    """Position in that shard, int64 [n]."""


def merge_shards(
    rows: pa.Table, labels: NDArray[np.int64], split: PictureSplit, files: PixelFiles, folder: Path
) -> MergedShards:
    """Write the shards of both splits; holds little more than a shard in memory.

    Args:
        rows: Of decoded pictures, with their files and positions.
        labels: int64 [n].
        split: Positions in ``rows`` by side.
        files: The files.
        folder: Where the shards go, under ``Shard.path``.

    Raises:
        PixelsAltered: Files are gone or hold other pixels than their rows say; it names all of them.
    """
    sources = _Sources(files, rows["file"].to_numpy(), rows["row"].to_numpy(), digests_of(rows), labels)
    shards: list[Shard] = []
    shard_of, at = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
    for side, positions in zip(SPLITS, (split.train, split.held_out), strict=True):
        chosen = np.array(positions, np.int64)
        chosen = chosen[digest_order(sources.digests[chosen], labels[chosen])]
        capacity = shard_capacity(files.shape)
        made = list(write_shards(folder, side, sources.blocks(chosen, capacity), files.shape, capacity))
        ends = accumulate(shard.images for shard in made)
        for shard, end in zip(made, ends, strict=True):
            first = end - shard.images
            shard_of[chosen[first:end]], at[chosen[first:end]] = len(shards), np.arange(shard.images)
            shards.append(shard)
    if sources.altered:
        raise PixelsAltered(files.dataset, frozenset(sources.altered))
    return MergedShards(tuple(shards), shard_of, at)


@dataclass(frozen=True)
class _Sources:
    files: PixelFiles
    named: NDArray[np.object_]
    at: NDArray[np.int64]
    digests: NDArray[np.uint8]
    labels: NDArray[np.int64]
    altered: set[str] = field(default_factory=set)
    """Files whose pixels are not what their rows say; what :meth:`blocks` gives of them is worthless."""

    def blocks(self, chosen: NDArray[np.int64], capacity: int) -> Iterator[Block]:
        """The chosen pictures in their order, a shard's worth at a time."""
        images = np.empty((min(capacity, len(chosen)), *self.files.shape), np.uint8)
        for start in range(0, len(chosen), capacity):
            some = chosen[start : start + capacity]
            self._gather(some, images)
            yield Block(images[: len(some)], self.labels[some])

    def _gather(self, chosen: NDArray[np.int64], images: NDArray[np.uint8]) -> None:
        names, which = np.unique(self.named[chosen].astype(str), return_inverse=True)
        order = np.argsort(which, kind="stable")
        cuts = np.searchsorted(which[order], np.arange(1, len(names)))
        parts: Sequence[NDArray[np.int64]] = np.split(order, cuts)

        def bring(number: int) -> None:
            positions = parts[number]
            rows = self.at[chosen[positions]]
            first = int(rows.min())
            try:
                pixels = self.files.read(str(names[number]), first, int(rows.max()) + 1)[rows - first]
            except DiskFull:
                raise
            except DataError:  # it is gone, too short, or no file of pixels
                self.altered.add(str(names[number]))
                return
            for position, picture in zip(positions, pixels, strict=True):
                if pixel_digest(picture) != self.digests[chosen[position]].tobytes():
                    # Others may be altered, too, and all of them are decoded again at once.
                    self.altered.add(str(names[number]))
                    return
                images[position] = picture

        for _ in ordered_map(bring, range(len(names)), threads=_READERS, name="ganlib-merge"):
            pass
