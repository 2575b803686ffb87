"""The pictures of a contact sheet: a few of each class, found with few reads in however many shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ganlib.data.shard_reader import OpenShard, ShardReader
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.records import DatasetVersion, Shard, Split

Counts = Mapping[Split, Sequence[int]]
"""Pictures of each class in the order of the labels, by split; one number where there are no classes."""

Picture = NDArray[np.uint8]
"""uint8 [channels, height, width]."""


@dataclass
class ClassPictures:
    """The content of a row of the sheet."""

    label: int
    chosen: dict[Split, list[Picture]] = field(default_factory=dict)
    counts: dict[Split, int] = field(default_factory=dict)
    """Pictures of this class in the version."""


def choose_pictures(
    version: DatasetVersion,
    open_shard: OpenShard,
    wanted: Mapping[Split, int],
    labels: Sequence[int],
    counts: Counts | None = None,
) -> list[ClassPictures]:
    """A few pictures of some classes; the same ones whenever the version is the same.

    Shards are looked at in an order that jumps about, since pictures of a class mostly lie together, and only
    until all is found when the counts are known.

    Args:
        version: The version.
        open_shard: Gives the bytes of its shards.
        wanted: Pictures of each class, by split.
        labels: The classes to look for.
        counts: Pictures of each class, where they are known. Otherwise the labels of all shards are read, 8
            bytes a picture, and counted.

    Raises:
        DataError: A shard is gone or damaged.
    """
    rows = {label: ClassPictures(label) for label in labels}
    for split, number in wanted.items():
        shards = [shard for shard in version.shards if shard.split == split]
        known = None if counts is None else counts[split]
        total = _choose(version, open_shard, shards, split, number, rows, known)
        for label, row in rows.items():
            row.counts[split] = int(total[label])
    return list(rows.values())


def _choose(
    version: DatasetVersion,
    open_shard: OpenShard,
    shards: Sequence[Shard],
    split: Split,
    number: int,
    rows: Mapping[int, ClassPictures],
    known: Sequence[int] | None,
) -> Sequence[int] | NDArray[np.int64]:
    """Fill the rows with pictures of a split; returns its pictures by class."""
    classes = len(version.classes)
    counted = np.zeros(max(1, classes), np.int64)
    missing = {label: number if known is None else min(number, known[label]) for label in rows}

    def look(shard: Shard) -> ShardReader:
        return ShardReader(open_shard(shard), shard, version.image_shape, classes)

    order = (shards[place] for place in _spread(len(shards)))
    with closing(ordered_map(look, order, threads=TRANSFER_THREADS, name="ganlib-sheet")) as readers:
        # This check comes before the next shard is opened: where the first has everything, no other is read.
        while known is None or any(missing.values()):
            reader = next(readers, None)
            if reader is None:
                break
            counted += np.bincount(reader.labels, minlength=len(counted))
            for label, lacking in missing.items():
                if not lacking:
                    continue
                places = np.flatnonzero(reader.labels == label)
                take = min(lacking, len(places))
                if take:
                    chosen = [int(places[i * len(places) // take]) for i in range(take)]
                    rows[label].chosen.setdefault(split, []).extend(reader.chosen(chosen))
                    missing[label] -= take
    return counted if known is None else known


def _spread(count: int) -> Iterator[int]:
    """0 to ``count`` less 1 in an order whose every beginning is spread over them: 0, 4, 2, 6, 1, 5, 3, 7."""
    bits = max(0, count - 1).bit_length()
    for number in range(2**bits):
        place = int(f"{number:0{bits}b}"[::-1], 2) if bits else 0
        if place < count:
            yield place
