"""The reports of all preparations of a dataset, those that cannot be read among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ganlib.data.preparation import PreparationReport
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import MAX_JSON_BYTES, DatasetVersion, Split

SPLITS: tuple[Split, ...] = ("train", "held_out")


class StoredReport(NamedTuple):
    """A report and its place; ``None`` when it cannot be read."""

    key: str
    report: PreparationReport | None
    problem: str = ""
    """Why it cannot be read."""


def stored_reports(store: ObjectStore, name: str) -> list[StoredReport]:
    """The reports of a dataset's preparations, in the order of their keys."""

    def read(info: ObjectInfo) -> StoredReport:
        if info.size > MAX_JSON_BYTES:
            return StoredReport(info.key, None, f"it has {info.size:,} bytes, at most {MAX_JSON_BYTES:,}")
        try:
            return StoredReport(info.key, PreparationReport.from_json(store.get(info.key), source=info.key))
        except DataError as error:
            return StoredReport(info.key, None, str(error))

    listed = (info for info in store.list(f"datasets/{name}/prepared/") if info.key.endswith(".json"))
    return list(ordered_map(read, listed, threads=TRANSFER_THREADS, name="ganlib-reports"))


def fullest_report(reports: Sequence[PreparationReport], digest: str) -> PreparationReport | None:
    """The report that says most about a version: several sources may have given it."""
    found = [report for report in reports if report.digest == digest]
    return max(found, key=lambda report: (bool(report.counts), report.pictures), default=None)


def class_counts(version: DatasetVersion, report: PreparationReport | None) -> dict[Split, list[int]] | None:
    """Pictures of each class in the order of the labels, by split.

    Returns:
        ``None`` when the report does not say, or says other numbers than the version's manifest: an older
        ganlib wrote none, and others can write to the store.
    """
    if report is None or not report.counts:
        return None
    names = version.classes or ("",)
    counts = {split: [report.counts.get(split, {}).get(name, 0) for name in names] for split in SPLITS}
    listed = {split: sum(report.counts.get(split, {}).values()) for split in SPLITS}
    right = all(sum(counts[split]) == listed[split] == version.count(split) for split in SPLITS)
    return counts if right else None
