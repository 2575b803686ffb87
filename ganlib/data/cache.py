"""Prepared versions on this machine: brought from object storage once, verified, then mapped.

::

    CACHE/datasets/DIGEST/shards/…          as in the object store
    CACHE/datasets/DIGEST/verified.json     size and time of each shard when its digest was checked

:mod:`ganlib.data.eviction` has the locks beside the folder, and makes room;
:mod:`ganlib.data.fetching` brings the shards.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ganlib.data.eviction import Hold, make_room
from ganlib.data.fetching import WantedFile, fetch_files
from ganlib.data.scratch import locked
from ganlib.data.shards import file_digest
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.errors import DataError
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Record, Shard, Split

if TYPE_CHECKING:
    from ganlib.data.order import WindowedOrder
    from ganlib.data.pictures import Pictures
    from ganlib.data.windowed_pictures import WindowedPictures


class _Verified(Record):
    """Shards with a verified digest: size in bytes and time of change in ns when they were verified."""

    shards: dict[str, tuple[int, int]] = Field(default_factory=dict)


@dataclass(frozen=True)
class LocalDataset:
    """A version whose shards are all on this machine."""

    version: DatasetVersion
    folder: Path
    """Holds each shard under ``Shard.path``."""
    hold: Hold | None = field(default=None, compare=False, repr=False)
    """Keeps the version in the cache as long as somebody refers to it."""
    window: int | None = None
    """Training shards in a window of the run that reads it; ``None``: each epoch is a permutation of all."""

    def load(self, split: Split) -> Pictures:
        """The pictures of a split, mapped from disk where that is possible.

        Raises:
            DataError: A shard is gone, or is not what the manifest says.
        """
        # Imported here: it needs torch, and those that only bring a version to this machine do not.
        from ganlib.data.pictures import open_pictures

        shards = [shard for shard in self.version.shards if shard.split == split]
        classes = len(self.version.classes)
        return open_pictures(self.folder, shards, self.version.image_shape, classes=classes, keep=self.hold)

    def order(self, seed: int) -> WindowedOrder | None:
        """The order of the training pictures by windows; ``None``: each epoch is a permutation of all.

        Args:
            seed: Any integer.
        """
        if self.window is None:
            return None
        from ganlib.data.order import WindowedOrder

        counts = [shard.images for shard in self.version.shards if shard.split == "train"]
        return WindowedOrder(counts, seed, self.window)

    def sample(self) -> Pictures:
        """Training pictures for what can do with a sample of them: all, unless the version is streamed."""
        return self.load("train")

    @contextmanager
    def training(self, run: str, *, seed: int, batch_size: int) -> Iterator[Pictures | WindowedPictures]:
        """The training pictures: here all of them, of a streamed dataset those of the windows at hand.

        Args:
            run: The name of the run that reads them.
            seed: Seed of their order.
            batch_size: Pictures in the global batch.

        Raises:
            DataError: As of :meth:`load`.
        """
        del run, seed, batch_size  # what is whole on this machine is the same for all runs
        yield self.load("train")


def pull(
    store: ObjectStore, version: DatasetVersion, cache: Path, *, limit: int | None = None
) -> LocalDataset:
    """Bring a version's shards into the cache; what is there already is not fetched again.

    Processes on one machine wait for one another, so that each shard is fetched once. A shard on
    disk is trusted while it has the size and the time it had when its digest was checked, and
    checked again otherwise. Other versions leave the cache when there is no room, the least recently
    used one first; one that a process has pulled stays while that process has its ``LocalDataset`` or
    its pictures.

    Args:
        store: Holds the version.
        version: The version to bring.
        cache: The machine's cache; may be deleted at any time when nobody uses it.
        limit: Most bytes of all versions in the cache (``Settings.cache_bytes``); ``None``: as many as the
            disk takes.

    Raises:
        ObjectMissing: A shard is not in the store.
        DigestMismatch: A shard is altered in the store: it was fetched twice and was wrong both times.
        DataError: The cache cannot be written or has no room, a shard is too short in the store, or a shard
            would lie outside the version's folder.
        ServiceError: The store cannot be reached, or fails again and again. What has come is kept, and the
            next pull goes on from there.
    """
    folder = cache / "datasets" / version.digest
    return LocalDataset(version, folder, pull_part(store, version, version.shards, folder, limit))


def pull_part(
    store: ObjectStore,
    version: DatasetVersion,
    shards: Sequence[Shard],
    folder: Path,
    limit: int | None,
) -> Hold:
    """Bring some of a version's shards into a folder of the cache, as :func:`pull` brings all of them.

    Args:
        store: Holds the version.
        version: The version.
        shards: Those to bring.
        folder: The folder for them, of a name that is a SHA-256, as eviction expects it.
        limit: As in :func:`pull`.

    Returns:
        The hold that keeps the folder in the cache. Raises as :func:`pull`.
    """
    with cache_of(folder), locked(folder.with_name(f"{folder.name}.lock")):
        hold = Hold(folder)
        size = sum(shard.bytes for shard in shards)
        fetch_missing(
            store,
            version,
            shards,
            folder,
            before_fetching=lambda: make_room(folder, hold, size, limit, f"dataset {version.name}"),
        )
    return hold


@contextmanager
def cache_of(folder: Path) -> Iterator[None]:
    """Around work in a folder of the cache, whose parent is made: turns ``OSError`` into ``DataError``."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DataError(
            f"the cache {folder.parent.parent} cannot be used: {error.strerror or error}. "
            "Make room there, or set GANLIB_HOME to another folder"
        ) from error


def fetch_missing(
    store: ObjectStore,
    version: DatasetVersion,
    shards: Sequence[Shard],
    folder: Path,
    *,
    before_fetching: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
) -> None:
    """Bring those of some shards that a folder lacks or has altered; the caller holds the folder's lock.

    Args:
        store: Holds the version.
        version: The version.
        shards: Those that are to be there afterwards.
        folder: Holds each under ``Shard.path``.
        before_fetching: Called once it is known that something is missing; may raise.
        stop: As in :func:`~ganlib.data.fetching.fetch_files`.
    """
    record = folder / "verified.json"
    before = _read_verified(record)
    # Before anything is fetched: a bad path means that nothing of the manifest can be trusted.
    paths = {shard.path: _path_inside(folder / "shards", folder / shard.path) for shard in shards}

    def is_there(shard: Shard) -> bool:
        path = paths[shard.path]
        stamp = _stamp(path)
        if stamp is None:
            return False
        return stamp == before.shards.get(shard.path) or file_digest(path) == shard.sha256

    there = ordered_map(is_there, shards, threads=TRANSFER_THREADS, name="ganlib-verify")
    missing = [shard for shard, found in zip(shards, there, strict=True) if not found]
    if missing:
        before_fetching()
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        fetch_files(
            store,
            [
                WantedFile(f"{version.prefix}/{shard.path}", paths[shard.path], shard.bytes, shard.sha256)
                for shard in missing
            ],
            stop=stop,
        )
    others = {path: stamp for path, stamp in before.shards.items() if stamp == _stamp(folder / path)}
    stamps = {path: stamp for path in paths if (stamp := _stamp(paths[path]))}
    after = _Verified(shards=others | stamps)
    if after != before:
        beside = record.with_suffix(".part")
        beside.write_text(after.to_json())
        beside.replace(record)


def _path_inside(shards: Path, path: Path) -> Path:
    """A shard's path. Raises ``DataError`` unless it is a file of the folder of shards, links followed."""
    if path.resolve().parent != shards.resolve():
        raise DataError(
            f"a shard would be written to {path}, outside {shards}; its manifest cannot be trusted"
        )
    return path


def _read_verified(path: Path) -> _Verified:
    try:
        return _Verified.from_json(path.read_bytes(), source=str(path))
    except (FileNotFoundError, DataError):
        # Without it, or with a damaged one, every shard is checked again.
        return _Verified()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
