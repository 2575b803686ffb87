"""Prepared versions on this machine: brought from object storage once, verified, then mapped.

::

    CACHE/datasets/DIGEST/shards/…          as in the object store
    CACHE/datasets/DIGEST/verified.json     size and time of each shard when its digest was checked

:mod:`ganlib.data.eviction` has the locks beside the folder, and makes room;
:mod:`ganlib.data.fetching` brings the shards.
"""

from __future__ import annotations

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
    from ganlib.data.pictures import Pictures


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
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f"{folder.name}.lock")):
            hold = Hold(folder)
            _fetch_missing(store, version, folder, hold, limit)
    except OSError as error:
        raise DataError(
            f"the cache {cache} cannot be used: {error.strerror or error}. "
            "Make room there, or set GANLIB_HOME to another folder"
        ) from error
    return LocalDataset(version, folder, hold)


def _fetch_missing(
    store: ObjectStore, version: DatasetVersion, folder: Path, hold: Hold, limit: int | None
) -> None:
    record = folder / "verified.json"
    before = _read_verified(record)
    # Before anything is fetched: a bad path means that nothing of the manifest can be trusted.
    paths = {shard.path: _path_inside(folder / "shards", folder / shard.path) for shard in version.shards}

    def is_there(shard: Shard) -> bool:
        path = paths[shard.path]
        stamp = _stamp(path)
        if stamp is None:
            return False
        return stamp == before.shards.get(shard.path) or file_digest(path) == shard.sha256

    there = ordered_map(is_there, version.shards, threads=TRANSFER_THREADS, name="ganlib-verify")
    missing = [shard for shard, found in zip(version.shards, there, strict=True) if not found]
    if missing:
        size = sum(shard.bytes for shard in version.shards)
        make_room(folder, hold, size, limit, f"dataset {version.name}")
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        fetch_files(
            store,
            [
                WantedFile(f"{version.prefix}/{shard.path}", paths[shard.path], shard.bytes, shard.sha256)
                for shard in missing
            ],
        )
    after = _Verified(shards={path: stamp for path in paths if (stamp := _stamp(paths[path]))})
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
