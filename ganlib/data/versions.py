"""Prepared versions in the object store: finding, reading and writing their manifests."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.data.formats.entries import ObjectRange
from ganlib.data.layout import datasets, unknown_dataset
from ganlib.data.preparation import PreparationReport
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.errors import DataError, DigestMismatch, ObjectMissing, UnknownName
from ganlib.names import Sha256
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Record, Shard

if TYPE_CHECKING:
    import pyarrow as pa

_MANIFEST = "manifest.json"
_log = logging.getLogger(__name__)


class _Latest(Record):
    """Which preparation was the last one in some way: a hint that may be lost."""

    key: Sha256
    digest: Sha256


def versions(store: ObjectStore, name: str) -> list[DatasetVersion]:
    """The prepared versions of a dataset, in the order of their digests; maybe none."""
    return [read_version(store, name, digest) for digest in manifest_sizes(store, name)]


def manifest_sizes(store: ObjectStore, name: str) -> dict[str, int]:
    """Bytes of each version's manifest by the version's digest, in order; no manifest is read."""
    pattern = re.compile(re.escape(f"datasets/{name}/") + rf"([0-9a-f]{{64}})/{re.escape(_MANIFEST)}")
    listing = sorted(store.list(f"datasets/{name}/"), key=lambda info: info.key)
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


def find_prepared(store: ObjectStore, name: str, key: str) -> DatasetVersion | None:
    """The version that was made under this preparation key, if it is whole."""
    report = find_report(store, name, key)
    try:
        return None if report is None else read_version(store, name, report.digest)
    except ObjectMissing:
        return None


def report_key(name: str, key: str) -> str:
    """Key of the report of a preparation, by the digest of its raw objects and its way."""
    return f"datasets/{name}/prepared/{key}.json"


def find_report(store: ObjectStore, name: str, key: str) -> PreparationReport | None:
    """The report of a preparation; ``None`` where there is none. Raises ``DataError``."""
    index = report_key(name, key)
    try:
        return PreparationReport.from_json(store.get(index), source=index)
    except ObjectMissing:
        return None


def find_known_rows(store: ObjectStore, name: str, way: str) -> pa.Table | None:
    """Rows of the pictures that the last preparation in this way knew; ``None`` where nothing is left of it.

    What cannot be read is passed over: all it costs is to decode the pictures again.

    Args:
        store: Holds the version.
        name: The dataset.
        way: :attr:`ganlib.data.work.PreparationWork.way`.
    """
    from ganlib.data.picture_rows import read_rows

    hint = _latest(name, way)
    try:
        latest = _Latest.from_json(store.get(hint), source=hint)
        read_version(store, name, latest.digest)
        key = _rows(name, latest.key)
        return next(
            (read_rows(ObjectRange(store, info)) for info in store.list(key) if info.key == key), None
        )
    except DataError as error:
        if not isinstance(error, ObjectMissing):
            _log.warning("all pictures of dataset %s are decoded again: %s", name, error)
        return None


def write_rows(store: ObjectStore, version: DatasetVersion, key: str, way: str, rows: pa.Table) -> None:
    """Store the rows of all pictures, and that they are the last ones.

    Args:
        store: The store to write to.
        version: The version that has their pixels; it is in the store already.
        key: As in :func:`write_version`.
        way: :attr:`ganlib.data.work.PreparationWork.way`.
        rows: The rows.
    """
    from ganlib.data.picture_rows import as_parquet

    store.put(_rows(version.name, key), as_parquet(rows))
    store.put(_latest(version.name, way), _Latest(key=key, digest=version.digest).to_json().encode())


def write_version(
    store: ObjectStore,
    version: DatasetVersion,
    folder: Path,
    key: str,
    report: PreparationReport,
    *,
    renew: frozenset[str] = frozenset(),
) -> None:
    """Upload a version: shards, then its manifest, then the entry that finds it again.

    Shards that an interrupted upload left there whole are kept.

    Args:
        store: The store to write to.
        version: The version; its manifest is written last but one.
        folder: Holds its shards, each under ``Shard.path``.
        key: Digest of raw objects and preparation, by which :func:`find_prepared` finds it.
        report: Stored under that key.
        renew: Shards that are stored anew whatever is there, as ``DIGEST/shards/…``.
    """
    present = {info.key: info.size for info in store.list(f"{version.prefix}/")}

    def upload(shard: Shard) -> None:
        target = f"{version.prefix}/{shard.path}"
        # The key holds the digest of the content, and objects are stored whole or not at all.
        if present.get(target) != shard.bytes or f"{version.digest}/{shard.path}" in renew:
            store.put(target, folder / shard.path)

    for _ in ordered_map(upload, version.shards, threads=TRANSFER_THREADS, name="ganlib-upload"):
        pass
    if f"{version.prefix}/{_MANIFEST}" not in present:
        store.put(f"{version.prefix}/{_MANIFEST}", version.to_json().encode())
    store.put(report_key(version.name, key), report.to_json().encode())


def _rows(name: str, key: str) -> str:
    return f"datasets/{name}/prepared/{key}.parquet"


def _latest(name: str, way: str) -> str:
    return f"datasets/{name}/latest/{way}.json"
