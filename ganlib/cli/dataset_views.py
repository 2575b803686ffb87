"""Output of `ganlib dataset list` and `show`: typed values for programs, tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganlib.cli.output import TableRow, one_line, print_rows, terminal, without
from ganlib.cli.version_views import print_report, report_values, size_text
from ganlib.data.summary import DatasetDetails, DatasetSummary, VersionSummary

MOST_CLASSES = 40
"""Classes that are printed; programs get all."""


def listed_values(found: Sequence[DatasetSummary]) -> list[dict[str, Any]]:
    """The datasets for programs: plain values, ``None`` for what cannot be read."""
    return [
        {
            "dataset": dataset.name,
            "versions": [_version_values(version) for version in dataset.versions],
            "versions_left_out": dataset.left_out,
        }
        for dataset in found
    ]


def print_datasets(found: Sequence[DatasetSummary]) -> None:
    """Print a row for each version, and one for a dataset that has none; below it, what was not read."""
    full = [row for dataset in found for row in _rows(dataset)]
    # Eight digits, as in the list of a model's versions.
    brief = [{**row, "version": row["version"][:8]} for row in full]
    print_rows(full, brief, without(brief, ["held out"]))
    for dataset in found:
        for version in dataset.versions:
            if version.problem:
                line = f"{dataset.name} {version.digest[:12]} cannot be read: {version.problem}"
                terminal().print(line, style="yellow", markup=False)
        if dataset.left_out:
            terminal().print(f"{dataset.name}: {dataset.left_out:,} more, not read", markup=False)


def detailed_values(found: DatasetDetails, address: str) -> dict[str, Any]:
    """A dataset for programs; ``address`` is the object store's, as ``s3://BUCKET/``."""
    name = found.summary.name
    return {
        "dataset": name,
        "format": found.format,
        "sources": list(found.sources),
        "licence": found.licence,
        "raw": {
            "objects": found.objects,
            "bytes": found.bytes,
            "classes": found.classes,
            "place": f"{address}raw/{name}/",
        },
        "versions": [
            {
                **_version_values(version),
                "bytes": version.bytes,
                "way": version.way,
                "place": f"{address}datasets/{name}/{version.digest}/",
                "report": report_values(found.reports.get(version.digest)),
            }
            for version in found.summary.versions
        ],
        "versions_left_out": found.summary.left_out,
        "reports_unread": list(found.unread),
    }


def print_details(found: DatasetDetails, address: str) -> None:
    """Print everything about a dataset."""
    console, name = terminal(), found.summary.name
    what = "files" if found.format == "pictures" else "IDX files"
    console.print(f"dataset {name}", style="bold", markup=False)
    lines = [
        f"{found.objects:,} {what}, {size_text(found.bytes)}, in {address}raw/{name}/",
        f"from {one_line(', '.join(found.sources))}",
        f"licence {found.licence}",
        f"{len(found.classes):,} classes: {_class_counts(found.classes)}" if found.classes else "no classes",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if not found.summary.versions:
        console.print(f"no version yet; `ganlib dataset prepare {name} --size 32` makes one", markup=False)
        return
    print_datasets([found.summary])
    for version in found.summary.versions:
        size = "" if version.bytes is None else f"{size_text(version.bytes)} in "
        console.print()
        console.print(f"version {version.digest[:12]}", style="bold", markup=False)
        console.print(f"{size}{address}datasets/{name}/{version.digest}/", markup=False, soft_wrap=True)
        if version.way is not None:
            console.print(f"a run now: {version.way}", markup=False, soft_wrap=True)
        print_report(name, version, found.reports.get(version.digest))
    for problem in found.unread:
        console.print(f"a report cannot be read: {one_line(problem)}", style="yellow", markup=False)


def _class_counts(classes: Mapping[str, int | None]) -> str:
    shown = [name if count is None else f"{name} {count:,}" for name, count in classes.items()]
    return ", ".join(shown[:MOST_CLASSES]) + (", …" if len(shown) > MOST_CLASSES else "")


def _version_values(version: VersionSummary) -> dict[str, Any]:
    both = None
    if version.train is not None and version.held_out is not None:
        both = version.train + version.held_out
    return {
        "version": version.digest,
        "pictures": both,
        "train": version.train,
        "held_out": version.held_out,
        "classes": version.classes,
        "shape": version.shape,
        "problem": version.problem,
    }


def _rows(dataset: DatasetSummary) -> list[TableRow]:
    # A dataset without a version has a row all the same, that it be seen.
    return [_row(dataset.name, version) for version in dataset.versions or (VersionSummary("none"),)]


def _row(name: str, version: VersionSummary) -> TableRow:
    return {
        "dataset": name,
        "version": version.digest[:12],
        "to train on": _count(version.train),
        "held out": _count(version.held_out),
        "classes": _count(version.classes),
        "shape": " × ".join(map(str, version.shape or ())),
    }


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
