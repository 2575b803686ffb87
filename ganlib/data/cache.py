"""Prepared versions on this machine: brought from object storage once, verified, then mapped.

::

    CACHE/datasets/DIGEST/shards/…          as in the object store
    CACHE/datasets/DIGEST/verified.json     size and time of each shard when its digest was checked
    CACHE/datasets/DIGEST.lock              held while a process fetches
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ganlib.data.scratch import locked
from ganlib.data.shards import file_digest
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.errors import DataError, DigestMismatch
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

    def load(self, split: Split) -> Pictures:
        """The pictures of a split, mapped from disk where that is possible.

        Raises:
            DataError: A shard is gone, or is not what the manifest says.
        """
        # Imported here: it needs torch, and those that only bring a version to this machine do not.
        from ganlib.data.pictures import open_pictures

        shards = [shard for shard in self.version.shards if shard.split == split]
        classes = len(self.version.classes)
        return open_pictures(self.folder, shards, self.version.image_shape, classes=classes)


def pull(store: ObjectStore, version: DatasetVersion, cache: Path) -> LocalDataset:
    """Bring a version's shards into the cache; what is there already is not fetched again.

    Processes on one machine wait for one another, so that each shard is fetched once. A shard on
    disk is trusted while it has the size and the time it had when its digest was checked, and
    checked again otherwise.

    Args:
        store: Holds the version.
        version: The version to bring.
        cache: The machine's cache; may be deleted at any time when nobody uses it.

    Raises:
        ObjectMissing: A shard is not in the store.
        DigestMismatch: A shard is altered in the store: it was fetched twice and was wrong both times.
        DataError: The cache cannot be written, or a shard would lie outside the version's folder.
    """
    folder = cache / "datasets" / version.digest
    try:
        (folder / "shards").mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")):
            _fetch_missing(store, version, folder)
    except OSError as error:
        raise DataError(
            f"the cache {cache} cannot be used: {error.strerror or error}. "
            "Make room there, or set GANLIB_HOME to another folder"
        ) from error
    return LocalDataset(version, folder)


def _fetch_missing(store: ObjectStore, version: DatasetVersion, folder: Path) -> None:
    record = folder / "verified.json"
    before = _read_verified(record)
    # Before anything is fetched: a bad path means that nothing of the manifest can be trusted.
    paths = {shard.path: _path_inside(folder / "shards", folder / shard.path) for shard in version.shards}

    def ensure(shard: Shard) -> tuple[int, int]:
        path = paths[shard.path]
        stamp = _stamp(path)
        if stamp is not None and stamp == before.shards.get(shard.path):
            return stamp
        if stamp is None or file_digest(path) != shard.sha256:
            _fetch(store, f"{version.prefix}/{shard.path}", shard.sha256, path)
        return _stamp(path) or (0, 0)

    stamps = ordered_map(ensure, version.shards, threads=TRANSFER_THREADS, name="ganlib-pull")
    after = _Verified(shards=dict(zip((shard.path for shard in version.shards), stamps, strict=True)))
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


def _fetch(store: ObjectStore, key: str, sha256: str, path: Path) -> None:
    """Download, verify, then rename. A wrong copy is deleted and fetched once more."""
    part = path.with_suffix(".part")
    actual = ""
    for _ in range(2):
        part.unlink(missing_ok=True)
        store.download(key, part)
        actual = file_digest(part)
        if actual == sha256:
            part.replace(path)
            return
        part.unlink()
    path.unlink(missing_ok=True)
    raise DigestMismatch(key, sha256, actual)


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
