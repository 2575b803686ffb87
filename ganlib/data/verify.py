"""Reading a prepared version back from the object store, every byte, to find what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.entries import ByteRange
from ganlib.data.reports import SPLITS, class_counts, stored_reports
from ganlib.data.shard_reader import OpenShard, ShardReader, read_parts, stored_shards
from ganlib.data.threads import ordered_map
from ganlib.data.versions import read_version
from ganlib.errors import DataError, ObjectMissing
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Shard, Split

VERIFY_THREADS = 8
"""Shards that are read at once; each has a few MiB in memory."""

Progress = Callable[[int, int], None]
"""Takes the MB that are read and those in all."""


class Fault(NamedTuple):
    """Something that is not as it should be."""

    key: str
    """The object."""
    problem: str
    """For a person; names the object, too."""


@dataclass(frozen=True)
class Verification:
    """The outcome of reading a version back."""

    name: str
    digest: str
    faults: tuple[Fault, ...]
    """All of them, in the order of the shards."""
    shape: tuple[int, int, int] | None = None
    """Channels, height, width; ``None`` when the manifest cannot be trusted, and nothing else was read."""
    shards: int = 0
    pictures: int = 0
    bytes: int = 0
    """Size of the shards, as the manifest says."""


class _Checked(NamedTuple):
    """A shard that was read."""

    shard: Shard
    faults: list[Fault]
    counts: NDArray[np.int64]
    """Its pictures by class; zeros where its labels cannot be read."""


def verify_version(
    store: ObjectStore, name: str, digest: str, progress: Progress | None = None
) -> Verification:
    """Check everything that a version says about itself.

    That is: the manifest against its digest; of each shard that it is there, its size, its SHA-256, its
    tensors' types and shapes, and that its labels are classes; the pictures by class and split against the
    reports of the preparations. A fault ends nothing, all are listed.

    Args:
        store: Holds the version.
        name: The dataset.
        digest: The version.
        progress: Called in this thread after each shard.

    Raises:
        ObjectMissing: There is no such version.
        ServiceError: The store cannot be reached, or fails.
    """
    key = f"datasets/{name}/{digest}/manifest.json"
    try:
        version = read_version(store, name, digest)
    except ObjectMissing:
        raise
    except DataError as error:
        return Verification(name, digest, (Fault(key, str(error)),))
    open_shard, faults = stored_shards(store, version), list[Fault]()
    counts: dict[Split, NDArray[np.int64]] = {
        split: np.zeros(max(1, len(version.classes)), np.int64) for split in SPLITS
    }
    done, total = 0, sum(shard.bytes for shard in version.shards)

    def check(shard: Shard) -> _Checked:
        return _check_shard(version, open_shard, shard)

    for found in ordered_map(check, version.shards, threads=VERIFY_THREADS, name="ganlib-verify"):
        faults.extend(found.faults)
        counts[found.shard.split] += found.counts
        done += found.shard.bytes
        if progress is not None:
            progress(done // 10**6, total // 10**6)
    if not faults:
        faults = _check_reports(store, version, counts)
    return Verification(
        name,
        digest,
        tuple(faults),
        version.image_shape,
        len(version.shards),
        version.count("train") + version.count("held_out"),
        total,
    )


def discard_faults(store: ObjectStore, found: Verification) -> list[str]:
    """Remove the objects that have faults, so that preparing again makes them anew.

    Where shards have faults the manifest goes, too, and first: without it there is no version, whatever else
    is left. Shards without faults stay, and are not uploaded again. A report goes alone.

    Returns:
        The keys that were removed.
    """
    prefix, faulty = f"datasets/{found.name}/{found.digest}/", [fault.key for fault in found.faults]
    manifest = [f"{prefix}manifest.json"] if any(key.startswith(prefix) for key in faulty) else []
    keys = list(dict.fromkeys([*manifest, *faulty]))
    for key in keys:
        store.delete(key)
    return keys


def _check_shard(version: DatasetVersion, open_shard: OpenShard, shard: Shard) -> _Checked:
    key, classes = f"{version.prefix}/{shard.path}", len(version.classes)
    counts = np.zeros(max(1, classes), np.int64)
    try:
        source = open_shard(shard)
    except DataError as error:
        return _Checked(shard, [Fault(key, str(error))], counts)
    faults = []
    try:
        labels = ShardReader(source, shard, version.image_shape, classes).labels
        counts = np.bincount(labels, minlength=len(counts))
    except DataError as error:
        faults.append(Fault(key, str(error)))
    if source.size == shard.bytes:
        try:
            actual = _digest(source)
            if actual != shard.sha256:
                problem = f"{key} is damaged or altered: SHA-256 is {actual}, expected {shard.sha256}"
                faults.append(Fault(key, problem))
        except DataError as error:
            faults.append(Fault(key, str(error)))
    return _Checked(shard, faults, counts)


def _digest(source: ByteRange) -> str:
    digest = hashlib.sha256()
    for part in read_parts(source, 0, source.size):
        digest.update(part)
    return digest.hexdigest()


def _check_reports(
    store: ObjectStore, version: DatasetVersion, counts: dict[Split, NDArray[np.int64]]
) -> list[Fault]:
    """Faults of the reports of this version, and of reports that cannot be read, whosever they are."""
    faults = []
    for key, report, problem in stored_reports(store, version.name):
        if report is None:
            faults.append(Fault(key, problem))
        elif report.digest == version.digest and report.counts:
            told = class_counts(version, report)
            if told is None or any(told[split] != counts[split].tolist() for split in SPLITS):
                faults.append(Fault(key, f"{key} has other pictures by class and split than the shards"))
    return faults
