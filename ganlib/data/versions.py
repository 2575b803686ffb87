"""Prepared versions in the object store: finding, reading and writing their manifests."""

from __future__ import annotations

import re
from pathlib import Path

from ganlib.data.layout import datasets, unknown_dataset
from ganlib.data.preparation import PreparationReport
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.errors import DataError, DigestMismatch, ObjectMissing, UnknownName
from ganlib.ports import ObjectStore
from ganlib.records import MAX_JSON_BYTES, DatasetVersion, Shard

_MANIFEST = "manifest.json"


def versions(store: ObjectStore, name: str) -> list[DatasetVersion]:
    """The prepared versions of a dataset, in the order of their digests; maybe none."""
    return [read_version(store, name, digest) for digest in manifest_sizes(store, name)]


def manifest_sizes(store: ObjectStore, name: str) -> dict[str, int]:
    """Bytes of each version's manifest by the version's digest, in order; no manifest is read."""
    pattern = re.compile(re.escape(f"datasets/{name}/") + rf"([0-9a-f]{{64}})/{re.escape(_MANIFEST)}")
    listing = store.list(f"datasets/{name}/")
    return {match[1]: info.size for info in listing if (match := pattern.fullmatch(info.key))}


def load_version(store: ObjectStore, name: str, digest: str) -> DatasetVersion:
    """A prepared version.

    Raises:
        UnknownName: There is no dataset of this name, or no version with this digest.
        DataError: Its manifest cannot be read.
        DigestMismatch: Its manifest does not have the digest it stands under.
    """
    try:
        return read_version(store, name, digest)
    except ObjectMissing:
        known = [version.digest for version in versions(store, name)]
        prepare = f"make one with `ganlib dataset prepare {name} --size 32`"
        if not known and name not in datasets(store):
            raise unknown_dataset(store, name) from None
        raise UnknownName(f"version of dataset {name}", digest, known, prepare) from None


def read_version(store: ObjectStore, name: str, digest: str) -> DatasetVersion:
    """Read a version's manifest and check it.

    Raises:
        ObjectMissing: There is none.
        DataError: It cannot be read, or belongs to another dataset.
        DigestMismatch: It does not have the digest it stands under.
    """
    key = f"datasets/{name}/{digest}/{_MANIFEST}"
    version = DatasetVersion.from_json(store.get(key), source=key)
    actual = DatasetVersion.digest_for(version.image_shape, version.classes, version.shards)
    if not actual == version.digest == digest:
        raise DigestMismatch(key, digest, actual)
    if version.name != name:
        raise DataError(
            f"{key} belongs to dataset {version.name!r}; versions cannot be moved by hand, prepare anew"
        )
    return version


def find_reports(store: ObjectStore, name: str, digest: str) -> list[PreparationReport]:
    """The reports of the preparations that gave a version: one for each set of raw objects, mostly one.

    Raises:
        DataError: A report cannot be read.
    """
    prefix, found = f"datasets/{name}/prepared/", []
    for info in store.list(prefix):
        if info.key.endswith(".json") and info.size <= MAX_JSON_BYTES:
            report = PreparationReport.from_json(store.get(info.key), source=info.key)
            if report.digest == digest:
                found.append(report)
    return found


def find_prepared(store: ObjectStore, name: str, key: str) -> DatasetVersion | None:
    """The version that was made under this preparation key, if it is whole."""
    index = _index(name, key)
    try:
        return read_version(store, name, PreparationReport.from_json(store.get(index), source=index).digest)
    except ObjectMissing:
        return None


def write_version(
    store: ObjectStore, version: DatasetVersion, folder: Path, key: str, report: PreparationReport
) -> None:
    """Upload a version: shards, then its manifest, then the entry that finds it again.

    Shards that an interrupted upload left there whole are kept.

    Args:
        store: The store to write to.
        version: The version; its manifest is written last but one.
        folder: Holds its shards, each under ``Shard.path``.
        key: Digest of raw objects and preparation, by which :func:`find_prepared` finds it.
        report: Stored under that key.
    """
    present = {info.key: info.size for info in store.list(f"{version.prefix}/")}

    def upload(shard: Shard) -> None:
        target = f"{version.prefix}/{shard.path}"
        # The key holds the digest of the content, and objects are stored whole or not at all.
        if present.get(target) != shard.bytes:
            store.put(target, folder / shard.path)

    for _ in ordered_map(upload, version.shards, threads=TRANSFER_THREADS, name="ganlib-upload"):
        pass
    if f"{version.prefix}/{_MANIFEST}" not in present:
        store.put(f"{version.prefix}/{_MANIFEST}", version.to_json().encode())
    store.put(_index(version.name, key), report.to_json().encode())


def _index(name: str, key: str) -> str:
    return f"datasets/{name}/prepared/{key}.json"
