"""The list of `ganlib dataset list`: rows as typed values, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganlib.cli.output import TableRow, print_rows, terminal, without
from ganlib.data.summary import DatasetSummary, VersionSummary


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
