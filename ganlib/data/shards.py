"""Shards: files of pictures as safetensors, the same bytes for the same pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ganlib.records import Shard, Split

MAX_SHARD_IMAGES = 8192
"""Most pictures in one shard."""

MAX_SHARD_BYTES = 64 * 2**20
"""Most bytes of pictures in one shard (one picture of 1024×1024×3 is 3 MiB)."""


class Block(NamedTuple):
    """Some pictures in their final shape."""

    images: NDArray[np.uint8]
    """uint8 [n, channels, height, width]."""
    labels: NDArray[np.int64]
    """int64 [n]."""


def shard_capacity(shape: tuple[int, int, int]) -> int:
    """Pictures of this shape that go into one shard."""
    return max(1, min(MAX_SHARD_IMAGES, MAX_SHARD_BYTES // (shape[0] * shape[1] * shape[2])))


def write_shards(
    folder: Path, split: Split, blocks: Iterable[Block], shape: tuple[int, int, int], capacity: int
) -> Iterator[Shard]:
    """Write a stream of pictures as shards; holds one shard in memory.

    Args:
        folder: The version's folder; shards go to ``shards/`` in it.
        split: Which split this is.
        blocks: The pictures in order, in blocks of any length.
        shape: Channels, height, width.
        capacity: Pictures in each shard but the last.

    Yields:
        Each shard as it is finished.
    """
    images = np.empty((capacity, *shape), np.uint8)
    labels = np.empty(capacity, np.int64)
    filled = number = 0
    for block in blocks:
        start = 0
        while start < len(block.labels):
            take = min(capacity - filled, len(block.labels) - start)
            images[filled : filled + take] = block.images[start : start + take]
            labels[filled : filled + take] = block.labels[start : start + take]
            filled, start = filled + take, start + take
            if filled == capacity:
                yield _write(folder, split, number, images, labels)
                filled, number = 0, number + 1
    if filled:
        yield _write(folder, split, number, images[:filled], labels[:filled])


def _write(
    folder: Path, split: Split, number: int, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> Shard:
    path = f"shards/{split.replace('_', '-')}-{number:05d}.safetensors"
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({"images": images, "labels": labels}, target)
    return Shard(
        path=path, split=split, images=len(labels), bytes=target.stat().st_size, sha256=file_digest(target)
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
