"""Output about one prepared version: how it was made, what was refused, and what is wrong with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganlib.cli.output import one_line, print_rows, terminal
from ganlib.data.preparation import Preparation, PreparationReport
from ganlib.data.reports import SPLITS, fullest_report, stored_reports
from ganlib.data.summary import VersionSummary

if TYPE_CHECKING:
    from ganlib.data.verify import Verification
    from ganlib.ports import ObjectStore

MOST_NAMES = 20
"""Classes in a table, and groups in a line; programs get all."""

SPLIT_RULES = {
    "content": "by a hash of the pixels",
    "groups": "by whole groups",
    "source": "as the source's own files have it",
}
"""Rules of the split in words."""


def report_values(report: PreparationReport | None) -> dict[str, Any] | None:
    """A report for programs, the list of refused pictures among it; ``None`` when there is none."""
    return None if report is None else report.model_dump(mode="json", exclude={"digest"})


def print_report(name: str, version: VersionSummary, report: PreparationReport | None) -> None:
    """Print how a version was prepared, what became of the pictures, and its pictures by class."""
    console = terminal()
    for line in report_lines(name, version.digest, report):
        console.print(line, markup=False, soft_wrap=True)
    if report is None or not report.counts:
        return
    listed = [sum(report.counts.get(split, {}).values()) for split in SPLITS]
    if listed == [version.train, version.held_out]:
        _print_counts(report)
    else:
        console.print(
            f"the report has other counts than the manifest; `ganlib dataset verify {name}` tells more",
            style="yellow",
            markup=False,
        )


def report_lines(name: str, digest: str, report: PreparationReport | None) -> list[str]:
    """How a version was prepared and what became of the pictures, as lines for people."""
    if report is None or report.preparation is None:
        return ["how it was prepared is not recorded: an older ganlib made it"]
    way = report.preparation
    channels = {None: "", 1: "grey, ", 3: "colour, "}[way.channels]
    lines = [f"prepared as {way.size} × {way.size} pixels, {channels}{way.fit}, background {way.background}"]
    if not report.counts:
        return [
            *lines,
            "its pictures by class and the refused ones are not recorded: an older ganlib made it",
        ]
    lines.append(f"split {SPLIT_RULES[report.split_by]}{_groups(report)}")
    refused = sum(report.refused_by_reason.values())
    lines.append(
        f"{report.pictures:,} pictures found: {refused:,} refused, {report.copies:,} exact copies left out, "
        f"{report.near_copies:,} held-out ones that look like one that is trained on"
    )
    if refused:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in _falling(report.refused_by_reason))
        shown = f"ganlib dataset show {name} --version {digest[:12]} --refused"
        lines.append(f"refused: {reasons}; {shown} lists them")
    return lines


def refused_lines(version: VersionSummary, report: PreparationReport | None) -> list[str]:
    """Name, reason and detail of each refused picture, with tabs between, safe for terminals."""
    shown = version.digest[:12]
    if report is None or not report.counts:
        return [f"version {shown}: not recorded, an older ganlib made it"]
    lines = ["\t".join(map(one_line, (each.name, each.reason, each.detail))) for each in report.refused]
    left_out = sum(report.refused_by_reason.values()) - len(report.refused)
    if left_out > 0:
        lines.append(f"version {shown}: {left_out:,} more were refused and are not listed")
    return lines or [f"version {shown}: no picture was refused"]


def print_verification(found: Verification) -> None:
    """Print what was found when a version was read back: a line, and one for each fault."""
    console, which = terminal(), f"dataset {found.name} version {found.digest[:12]}"
    if not found.faults:
        size = size_text(found.bytes)
        console.print(
            f"{which} is whole: {found.pictures:,} pictures in {found.shards:,} shards, {size}", markup=False
        )
        return
    count = len(found.faults)
    console.print(f"{which} has {count:,} fault{'' if count == 1 else 's'}:", style="bold", markup=False)
    for fault in found.faults:
        # Keys and messages may hold what others wrote into the store.
        console.print(f"  {one_line(fault.problem)}", style="yellow", markup=False, soft_wrap=True)


def prepare_command(store: ObjectStore, found: Verification) -> str:
    """The command that prepares a version as it was: by its report, or else by its shape.

    Args:
        store: Has the reports; those that cannot be read say nothing.
        found: The version as it was read back.
    """
    reports = [each for _, each, _ in stored_reports(store, found.name) if each is not None]
    report = fullest_report(reports, found.digest)
    way = None if report is None else report.preparation
    if way is None and found.shape is not None:
        way = Preparation(size=found.shape[1], channels=1 if found.shape[0] == 1 else 3)
    if way is None:
        return f"ganlib dataset prepare {found.name} and the --size that it had"
    words = ["ganlib", "dataset", "prepare", found.name, "--size", str(way.size)]
    usual = Preparation(size=way.size)
    for option in ("channels", "fit", "background"):
        value = getattr(way, option)
        if value != getattr(usual, option):
            words += [f"--{option}", str(value)]
    return shlex.join(words)


def size_text(count: int) -> str:
    """Bytes in kB, or from a million on in MB."""
    return f"{count / 1e6:,.1f} MB" if count >= 10**6 else f"{count / 1e3:,.1f} kB"


def _groups(report: PreparationReport) -> str:
    groups = report.held_out_groups
    if not groups:
        return ""
    more = ", …" if len(groups) > MOST_NAMES else ""
    return f", {len(groups):,} held out: {one_line(', '.join(groups[:MOST_NAMES]))}{more}"


def _falling(counts: Mapping[Any, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _print_counts(report: PreparationReport) -> None:
    train, held_out = (report.counts.get(split, {}) for split in SPLITS)
    names = list(dict.fromkeys([*train, *held_out]))
    if names in ([], [""]):
        return
    print_rows(
        [
            {
                "class": one_line(name),
                "to train on": f"{train.get(name, 0):,}",
                "held out": f"{held_out.get(name, 0):,}",
            }
            for name in names[:MOST_NAMES]
        ]
    )
    if len(names) > MOST_NAMES:
        terminal().print(f"{len(names) - MOST_NAMES:,} more classes; --json has all", markup=False)
