"""Prepared versions in numbers, for a list of datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ganlib.data.layout import describe_raw, raw_objects
from ganlib.data.licences import licence_of
from ganlib.data.preparation import PreparationReport
from ganlib.data.reports import fullest_report, stored_reports
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.data.versions import manifest_sizes, read_version
from ganlib.errors import DataError
from ganlib.ports import ObjectStore
from ganlib.records import MAX_JSON_BYTES, DatasetVersion

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
    bytes: int | None = None
    """Size of its shards."""
    problem: str | None = None
    """Why its manifest cannot be read."""
    way: str | None = None
    """How a run would get its pictures, in words; ``None`` where it was not asked for."""


@dataclass(frozen=True)
class DatasetSummary:
    """A dataset's prepared versions, in the order of their digests."""

    name: str
    versions: tuple[VersionSummary, ...]
    """At most :data:`MOST_VERSIONS`."""
    left_out: int = 0
    """Versions beyond those, unread."""


@dataclass(frozen=True)
class DatasetDetails:
    """Everything about a dataset: what was added, and its prepared versions."""

    summary: DatasetSummary
    format: str
    """``pictures`` or ``idx``."""
    sources: tuple[str, ...]
    objects: int
    """Raw pictures or IDX files."""
    bytes: int
    """Their size."""
    classes: dict[str, int | None]
    """Raw pictures by class, in the order of the labels; ``None``: not known before they are read."""
    licence: str
    """As whoever added it stated it, or else a recipe; ``unknown`` when none does."""
    reports: Mapping[str, PreparationReport]
    """By the version's digest; those that an older ganlib wrote say little, and a version may have none."""
    unread: tuple[str, ...]
    """Why reports cannot be read, a sentence for each."""


Way = Callable[[DatasetVersion], str]
"""Says how a run would get a version's pictures."""


def describe(
    store: ObjectStore, name: str, *, only: str | None = None, way: Way | None = None
) -> DatasetDetails:
    """Look up everything about a dataset; no picture is read. Reports that cannot be read are told in it.

    Args:
        store: Holds the dataset.
        name: The dataset.
        only: Digest of the version to look up; ``None``: all.
        way: Says how a run would get a version's pictures; ``None``: it is not told.

    Raises:
        UnknownName: It was never added.
        DataError: It was added in part only, or its description cannot be read.
    """
    raw, objects = describe_raw(store, name), raw_objects(store, name)
    summary, stored = summarize(store, name, only=only, way=way), stored_reports(store, name)
    read = [report for _, report, _ in stored if report is not None]
    reports = {version.digest: fullest_report(read, version.digest) for version in summary.versions}
    found: Mapping[str, int] | None = raw.counts or None
    if found is None and raw.format == "pictures":  # an older ganlib added it
        found = Counter(relative.partition("/")[0] for relative in objects)
    return DatasetDetails(
        summary=summary,
        format=raw.format,
        sources=raw.sources,
        objects=len(objects),
        bytes=sum(info.size for info in objects.values()),
        classes={each: None if found is None else found.get(each, 0) for each in raw.classes},
        licence=licence_of(store, name),
        reports={digest: report for digest, report in reports.items() if report is not None},
        unread=tuple(problem for _, report, problem in stored if report is None),
    )


def summarize(
    store: ObjectStore, name: str, *, only: str | None = None, way: Way | None = None
) -> DatasetSummary:
    """Read the manifests of a dataset's versions, none longer than :data:`~ganlib.records.MAX_JSON_BYTES`.

    A manifest that cannot be read is told in its version's ``problem``, so that it hides no other.
    """
    sizes = {key: size for key, size in manifest_sizes(store, name).items() if only in (None, key)}
    read = list(sizes.items())[:MOST_VERSIONS]

    def look(found: tuple[str, int]) -> VersionSummary:
        return _summary(store, name, *found, way)

    versions = tuple(ordered_map(look, read, threads=TRANSFER_THREADS, name="ganlib-summary"))
    return DatasetSummary(name, versions, len(sizes) - len(read))


def _summary(store: ObjectStore, name: str, digest: str, size: int, way: Way | None) -> VersionSummary:
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
        bytes=sum(shard.bytes for shard in version.shards),
        way=None if way is None else way(version),
    )
