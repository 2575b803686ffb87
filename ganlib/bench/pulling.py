"""A dataset version brought from object storage, by ganlib and by s3transfer: parts of the benchmark.

``python -m ganlib.bench.pulling make BYTES|ganlib|plain|remove``. It needs S3. ``make`` puts a version of
random pictures there, in shards of 64 MiB, which ``remove`` takes away again. The plain side downloads the
same objects, all at once, with s3transfer's own settings, and does not look at what came.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from s3transfer.manager import TransferManager

from ganlib.bench.parts import Measured, answer
from ganlib.data.cache import pull
from ganlib.data.scratch import scratch_folder
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.records import DatasetVersion
from ganlib.settings import Settings, load_settings
from ganlib.storage import S3Store, open_store

SHAPE = (3, 64, 64)
_RECORD = "version.json"


def bench_store(settings: Settings) -> S3Store:
    """A place in the bucket for the benchmark alone."""
    return S3Store(settings, bucket=open_store(settings).bucket, prefix="bench/pull/")


def make(settings: Settings, size: int) -> float:
    """Put a version of about ``size`` bytes into the store; returns its number of shards."""
    store, capacity = bench_store(settings), shard_capacity(SHAPE)
    count = max(1, size // math.prod(SHAPE))
    with scratch_folder(settings.scratch, "bench-") as folder:
        shards = tuple(write_shards(folder, "train", _noise(count, capacity), SHAPE, capacity))
        digest = DatasetVersion.digest_for(SHAPE, (), shards)
        version = DatasetVersion(name="pull", digest=digest, image_shape=SHAPE, classes=(), shards=shards)
        for shard in shards:
            store.put(f"{version.prefix}/{shard.path}", folder / shard.path)
    store.put(_RECORD, version.to_json().encode())
    return len(shards)


def _noise(count: int, at_once: int) -> Iterator[Block]:
    """Random pictures, which nothing between here and the disk can compress."""
    random = np.random.default_rng(0)
    for start in range(0, count, at_once):
        some = min(at_once, count - start)
        yield Block(random.integers(0, 256, (some, *SHAPE), dtype=np.uint8), np.zeros(some, np.int64))


def remove(settings: Settings) -> float:
    """Take the version out of the store; returns its number of objects."""
    store = bench_store(settings)
    keys = [found.key for found in store.list("")]
    for key in keys:
        store.delete(key)
    return len(keys)


def rate(settings: Settings, which: str) -> float:
    """Bytes a second of one of the two, into an empty folder of this machine's disk.

    Raises:
        ObjectMissing: Nothing was made.
    """
    store = bench_store(settings)
    version = DatasetVersion.from_json(store.get(_RECORD), source=_RECORD)
    with scratch_folder(settings.scratch, "bench-") as folder:
        began = time.perf_counter()
        if which == "ganlib":
            pull(store, version, folder)
        else:
            _transfer(store, version, folder)
        seconds = time.perf_counter() - began
    return sum(shard.bytes for shard in version.shards) / seconds


def _transfer(store: S3Store, version: DatasetVersion, folder: Path) -> None:
    with TransferManager(store.client) as manager:
        waiting = []
        for shard in version.shards:
            key = f"{store.prefix}{version.prefix}/{shard.path}"
            waiting.append(manager.download(store.bucket, key, str(folder / Path(shard.path).name)))
        for one in waiting:
            one.result()


def main(which: str, size: int = 0) -> Measured:
    """Make, measure or remove; the value is in bytes a second, or a number of objects."""
    settings = load_settings()
    if which == "make":
        return Measured(value=make(settings, size))
    return Measured(value=remove(settings) if which == "remove" else rate(settings, which))


if __name__ == "__main__":
    answer(lambda: main(sys.argv[1], *map(int, sys.argv[2:])))
