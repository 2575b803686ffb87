"""A version of many small shards whose pictures tell their numbers, and a store that notes requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np

from ganlib.data.shards import Block, write_shards
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion, Shard, Split

SHAPE = (1, 64, 64)


class NotingStore(MemoryStore):
    """Notes each streamed key in a file, across processes, and calls back before every piece."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log
        self.before_piece: Callable[[str], None] = lambda key: None
        self._lock = threading.Lock()

    def stream(self, key: str, start: int, length: int) -> Generator[bytes, None, None]:
        with self._lock, self.log.open("a") as out:
            out.write(f"{key}\n")
        for piece in super().stream(key, start, length):
            self.before_piece(key)
            yield piece

    def noted(self) -> list[str]:
        """The names of the streamed shards since this was last called."""
        keys = self.log.read_text().split() if self.log.exists() else []
        self.log.write_text("")
        return [key.rpartition("/")[2] for key in keys]


def make_version(
    store: MemoryStore,
    folder: Path,
    *,
    train: int = 73,
    held_out: int = 16,
    capacity: int = 10,
    shape: tuple[int, int, int] = SHAPE,
) -> DatasetVersion:
    """Put a version into a store: noise, with the picture's number in its first two pixels."""
    random = np.random.default_rng(0)
    shards: list[Shard] = []
    splits: tuple[tuple[Split, int], ...] = (("train", train), ("held_out", held_out))
    for split, count in splits:
        images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
        labels = np.arange(count, dtype=np.int64) % 3
        shards += write_shards(folder, split, [Block(images, labels)], shape, capacity)
    classes = ("a", "b", "c")
    digest = DatasetVersion.digest_for(shape, classes, tuple(shards))
    version = DatasetVersion(
        name="numbered", digest=digest, image_shape=shape, classes=classes, shards=tuple(shards)
    )
    store.put(f"{version.prefix}/manifest.json", version.to_json().encode())
    for shard in shards:
        store.put(f"{version.prefix}/{shard.path}", folder / shard.path)
    return version


def bytes_in(cache: Path) -> int:
    """Bytes on disk of everything in a cache, while others work there."""
    found = 0
    for path in cache.rglob("*"):
        try:
            found += path.lstat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue
    return found
