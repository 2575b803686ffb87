"""Which way a run takes to its pictures: the whole version on each node, or some of its shards at a time.

A version that is larger than the nodes' cache is streamed in windows
(:class:`~ganlib.data.order.WindowedOrder`): a node holds the window that is read, the one after it, and the
held-out pictures. The window is chosen once, when a run is started, since the order of its pictures follows
from it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

from ganlib.data.eviction import in_words
from ganlib.errors import ConfigError
from ganlib.records import DatasetVersion, Shard, Split

_BLOCK_BYTES = 4096
_FOLDER_BYTES = 4 * _BLOCK_BYTES
"""Bytes that a folder in the cache takes beside its shards, twice its list of verified shards among them."""
_NOTE_BYTES = 256
"""Bytes for a shard's names in the folder and in that list."""


def window_of(
    version: DatasetVersion, limit: int | None, *, batch_size: int = 1, runs: int = 1
) -> int | None:
    """Training shards in a window with which a version fits the cache; the largest window that does.

    Args:
        version: What is trained on.
        limit: Most bytes in a node's cache (``Settings.cache_bytes``); ``None``: as many as the disk takes.
        batch_size: Pictures in a global batch, 1 or more.
        runs: Runs that a node trains at once, 1 or more; each has windows of its own.

    Returns:
        1 or more; ``None`` when the version fits as a whole.

    Raises:
        ConfigError: Not even windows of one shard fit.
    """
    size = size_of(version.shards)
    if limit is None or size <= limit:
        return None

    def needed(window: int) -> int:
        # While one of several runs looks at its sample, the others train.
        sample = 0 if runs == 1 else _FOLDER_BYTES + _largest(shards_of(version, "train"), 2 * window)
        held_out = _FOLDER_BYTES + sum(map(_on_disk, shards_of(version, "held_out")))
        return held_out + runs * windows_bytes(version, window, batch_size) + sample

    fitting, too_large = 0, len(shards_of(version, "train")) + 1
    while too_large - fitting > 1:
        middle = (fitting + too_large) // 2
        fitting, too_large = (middle, too_large) if needed(middle) <= limit else (fitting, middle)
    if not fitting:
        at_once = "" if runs == 1 else f" for each of {runs} trials at once"
        fewer = "" if runs == 1 else ", or let fewer trials train at once"
        raise ConfigError(
            f"dataset {version.name} has {size:,} bytes, and GANLIB_CACHE_BYTES is {limit:,}: to be streamed "
            f"it needs room for the held-out pictures and two windows of one shard{at_once}; raise it to "
            f"{min(size, needed(1)):,} or more{fewer}"
        )
    return fitting


def windows_bytes(version: DatasetVersion, window: int, batch_size: int) -> int:
    """Most bytes that a node holds at once of the training shards that are streamed.

    Two windows; and while a batch is read that reaches over more than two, those that lie inside it.

    Args:
        version: What is trained on.
        window: Shards in a window, 1 or more.
        batch_size: Pictures in a global batch, 1 or more.
    """
    shards = shards_of(version, "train")
    inside = max(0, batch_size - 2)
    small = [shard for shard in shards if shard.images <= inside]
    a_picture = max((_on_disk(shard) / shard.images for shard in small), default=0.0)
    reached_over = min(sum(map(_on_disk, small)), math.ceil(a_picture * inside))
    at_once = min(sum(map(_on_disk, shards)), _largest(shards, 2 * window) + reached_over)
    return _FOLDER_BYTES + at_once


def sample_of(version: DatasetVersion, window: int) -> tuple[Shard, ...]:
    """Training shards for what looks at some of them where not all fit: as many as two windows have.

    The same for every run on the version with this window, chosen by a hash.
    """

    def place(shard: Shard) -> str:
        return hashlib.sha256(f"sample/{version.digest}/{shard.path}".encode()).hexdigest()

    chosen = set(sorted(shards_of(version, "train"), key=place)[: 2 * window])
    return tuple(shard for shard in version.shards if shard in chosen)


def way_in_words(version: DatasetVersion, limit: int | None, window: int | None) -> str:
    """Say in a line which way a run takes.

    Args:
        version: What is trained on.
        limit: Most bytes in a node's cache; ``None``: as many as the disk takes.
        window: Shards in a window; ``None``: the run needs the whole version.
    """
    size = size_of(version.shards)
    whole = f"the dataset ({in_words(size)}) is kept whole on each node"
    if window is None:
        return whole
    shards = len(shards_of(version, "train"))
    taken = f"{min(window, shards)} of {shards} training shards at a time"
    if limit is None or size <= limit:
        return f"{whole}, and read as the run began: {taken}"
    return f"the dataset ({in_words(size)}) is larger than the cache's {in_words(limit)}: streamed, {taken}"


def way_now(version: DatasetVersion, limit: int | None) -> str:
    """Say in a line which way a run of a version would take if it were started now, or why there is none."""
    try:
        return way_in_words(version, limit, window_of(version, limit))
    except ConfigError as error:
        return str(error)


def shards_of(version: DatasetVersion, split: Split) -> tuple[Shard, ...]:
    """A split's shards, in the version's order."""
    return tuple(shard for shard in version.shards if shard.split == split)


def size_of(shards: Iterable[Shard]) -> int:
    """Bytes of some shards together."""
    return sum(shard.bytes for shard in shards)


def _on_disk(shard: Shard) -> int:
    """Bytes that a shard takes on a disk."""
    return -(-shard.bytes // _BLOCK_BYTES) * _BLOCK_BYTES + _NOTE_BYTES


def _largest(shards: Iterable[Shard], count: int) -> int:
    """Bytes on a disk of the largest shards, at most so many."""
    return sum(sorted(map(_on_disk, shards), reverse=True)[:count])
