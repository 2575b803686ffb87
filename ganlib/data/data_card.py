"""The data card of a dataset version, in Markdown: what it holds, where it is from, how it was prepared."""

from __future__ import annotations

from ganlib.data.preparation import PreparationReport, SplitRule
from ganlib.data.reports import class_counts
from ganlib.records import DatasetVersion

MOST_CLASSES = 200
"""Classes in a card; below them stands how many there are."""

MOST_GROUPS = 50
"""Held-out groups in a card."""

SPLIT_RULES: dict[SplitRule, str] = {
    "content": "by a hash of the pixels: about a tenth is held out, exact copies stay on one side",
    "groups": "by whole groups: no group has pictures on both sides",
    "source": "as the source's own files have it",
}
"""Rules of the split in words."""


def data_card(
    version: DatasetVersion, report: PreparationReport | None, licence: str, *, sheet: str = ""
) -> str:
    """The card of a version.

    It is made of lists, since MLflow draws tables without space between the columns.

    Args:
        version: The version.
        report: What its preparation reported; what is not recorded is said to be so.
        licence: Licence of the pictures, or ``unknown``.
        sheet: Name of its contact sheet, which lies beside the card; empty: there is none.
    """
    channels, height, width = version.image_shape
    train, held_out = version.count("train"), version.count("held_out")
    parts = [
        f"# Dataset {version.name}",
        _list(
            f"digest: `{version.digest}`",
            f"source: {_text(version.source) or 'not recorded'}",
            f"licence: {_text(licence)}",
            f"pictures: {width} × {height} pixels, {'grey' if channels == 1 else 'colour'}",
            f"count: {train:,} to train on, {held_out:,} held out",
        ),
    ]
    if sheet:
        # No link: MLflow's page resolves it against its own address.
        parts.append(f"Pictures of each class are in `{sheet}`, beside this file.")
    parts += ["## Classes", _classes(version, report), "## Preparation", _preparation(report)]
    return "\n\n".join(parts) + "\n"


def _classes(version: DatasetVersion, report: PreparationReport | None) -> str:
    if not version.classes:
        return "The pictures have no classes."
    counts, lines = class_counts(version, report), []
    for label, name in enumerate(version.classes[:MOST_CLASSES]):
        numbers = ""
        if counts is not None:
            numbers = f": {counts['train'][label]:,} to train on, {counts['held_out'][label]:,} held out"
        lines.append(f"{_text(name)}{numbers}")
    if len(version.classes) > MOST_CLASSES:
        lines.append(f"… {len(version.classes) - MOST_CLASSES:,} more of {len(version.classes):,}")
    return _list(*lines)


def _preparation(report: PreparationReport | None) -> str:
    if report is None or report.preparation is None:
        return "How it was prepared is not recorded: an older ganlib made it."
    way = report.preparation
    lines = [f"scaled to {way.size} × {way.size} pixels: {way.fit}, background `{way.background}`"]
    if not report.counts:
        lines.append("refused pictures and the split are not recorded: an older ganlib made it")
        return _list(*lines)
    lines.append(f"split {SPLIT_RULES[report.split_by]}")
    if groups := report.held_out_groups:
        more = ", …" if len(groups) > MOST_GROUPS else ""
        shown = ", ".join(map(_text, groups[:MOST_GROUPS]))
        lines.append(f"held-out groups: {len(groups):,}: {shown}{more}")
    reasons = sorted(report.refused_by_reason.items(), key=lambda item: (-item[1], item[0]))
    refused = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
    lines += [
        f"pictures in the source: {report.pictures:,}",
        f"refused: {refused or 'none'}",
        f"exact copies left out: {report.copies:,}",
        f"held-out pictures that look like one that is trained on: {report.near_copies:,}",
    ]
    return _list(*lines)


def _list(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _text(text: str) -> str:
    """Text of whatever origin as one line that makes no HTML."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).replace("<", "&lt;")
