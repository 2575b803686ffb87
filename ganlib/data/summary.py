"""Prepared versions in numbers, for a list of datasets."""

from __future__ import annotations

from dataclasses import dataclass

from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.data.versions import manifest_sizes, read_version
from ganlib.errors import DataError
from ganlib.ports import ObjectStore
from ganlib.records import MAX_JSON_BYTES

MOST_VERSIONS = 100
"""Versions of a dataset whose manifests are read for a summary."""


@dataclass(frozen=True)
class VersionSummary:
    """A prepared version in numbers; all are ``None`` where its manifest cannot be read."""

    digest: str
    train: int | None = None
    """Pictures to train on."""
    held_out: int | None = None
    """Pictures held out."""
    classes: int | None = None
    """How many; 0 when the pictures have none."""
    shape: tuple[int, int, int] | None = None
    """Channels, height, width."""
    problem: str | None = None
    """Why its manifest cannot be read."""


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset's prepared versions, in the order of their digests."""

    name: str
    versions: tuple[VersionSummary, ...]
    """At most :data:`MOST_VERSIONS`."""
    left_out: int = 0
    """Versions beyond those, unread."""


def summarize(store: ObjectStore, name: str) -> DatasetSummary:
    """Read the manifests of a dataset's versions, none longer than :data:`~ganlib.records.MAX_JSON_BYTES`.

    A manifest that cannot be read is told in its version's ``problem``, so that it hides no other.
    """
    sizes = manifest_sizes(store, name)
    read = list(sizes.items())[:MOST_VERSIONS]

    def look(found: tuple[str, int]) -> VersionSummary:
        return _summary(store, name, *found)

    versions = tuple(ordered_map(look, read, threads=TRANSFER_THREADS, name="ganlib-summary"))
    return DatasetSummary(name, versions, len(sizes) - len(read))


def _summary(store: ObjectStore, name: str, digest: str, size: int) -> VersionSummary:
    if size > MAX_JSON_BYTES:
        return VersionSummary(
            digest, problem=f"its manifest has {size:,} bytes; at most {MAX_JSON_BYTES:,} are read"
        )
    try:
        version = read_version(store, name, digest)
    except DataError as error:  # damaged, or removed since it was listed
        return VersionSummary(digest, problem=str(error))
    return VersionSummary(
        digest,
        train=version.count("train"),
        held_out=version.count("held_out"),
        classes=len(version.classes),
        shape=version.image_shape,
    )
