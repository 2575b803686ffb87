"""From decoded pictures to a version: their classes and groups, the split, the shards, and the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ganlib.data.assembly import MergedShards, merge_shards
from ganlib.data.formats.entries import Reason, Refused, shown_name
from ganlib.data.labelling.dataset_labels import label_dataset
from ganlib.data.labelling.labels import LabelledPicture
from ganlib.data.layout import raw_prefix
from ganlib.data.near_copies import near_copies
from ganlib.data.picture_rows import digests_of, join_rows
from ganlib.data.pixel_files import PixelFiles
from ganlib.data.preparation import MAX_LISTED, PreparationReport, SplitRule
from ganlib.data.split import PictureSplit, split_by_source, split_groups, split_pictures
from ganlib.data.versions import write_rows, write_version
from ganlib.data.work import PreparationWork
from ganlib.errors import DataError
from ganlib.records import DatasetVersion, Split

MOST_SHOWN = 5
"""Refused pictures that an error message names."""


class _Labelled(NamedTuple):
    """The usable pictures of a dataset."""

    rows: pa.Table
    labels: NDArray[np.int64]
    groups: list[str | None]
    classes: tuple[str, ...]


class _Split(NamedTuple):
    pictures: PictureSplit
    rule: SplitRule


def publish_rows(
    work: PreparationWork,
    known: pa.Table,
    decoded: Sequence[pa.Table],
    files: PixelFiles,
    folder: Path,
    most_refused: float,
    started: float,
    *,
    known_decoded: int = 0,
    altered: frozenset[str] = frozenset(),
) -> DatasetVersion:
    """Make the version of decoded pictures, and store it with its report and rows.

    Args:
        work: The preparation.
        known: Rows of pictures that needed no decoding.
        decoded: Rows of the others.
        files: Their pixels.
        folder: Where shards are made.
        most_refused: Largest share of the pictures that may be refused, 0 to 1.
        started: When the preparation began, by :func:`time.monotonic`.
        known_decoded: How many of the known ones were decoded for this version.
        altered: Files of pixels in the store that were altered; shards among them are stored anew.

    Raises:
        PixelsAltered: Files of pixels are gone or were altered.
        DataError: More than ``most_refused`` of the pictures cannot be used, or none can.
    """
    rows = join_rows([known, *decoded])
    refused, usable = _refused(rows), rows.filter(pc.is_null(rows["reason"]))
    labelled, unlabelled, left_out = _label(work, usable)
    refused = sorted([*refused, *unlabelled], key=lambda each: each.name)
    pictures = len(rows) - left_out
    if pictures == 0:
        raise DataError(f"dataset {work.name!r} has no pictures; add it again from a source that has some")
    check_refused(work.name, refused, len(refused), pictures, most_refused)
    split = _split(labelled)
    merged = merge_shards(labelled.rows, labelled.labels, split.pictures, files, folder)
    version = work.version(labelled.classes, merged.shards)
    hashes = labelled.rows["hash"].to_numpy()
    report = PreparationReport(
        digest=version.digest,
        preparation=work.preparation,
        pictures=pictures,
        counts=_counts(labelled, split.pictures),
        split_by=split.rule,
        held_out_groups=_held_out_groups(labelled, split),
        copies=split.pictures.copies,
        near_copies=int(near_copies(hashes[split.pictures.held_out], hashes[split.pictures.train]).sum()),
        refused_by_reason=dict(Counter(each.reason for each in refused)),
        refused=tuple(refused[:MAX_LISTED]),
        passed_over=work.raw.passed_over,
        decoded=known_decoded + sum(len(table) for table in decoded),
        seconds=time.monotonic() - started,
    )
    placed = _placed(rows, labelled, merged, version)
    write_version(work.store, version, folder, work.key, report, renew=altered)
    write_rows(work.store, version, work.key, work.way, placed)
    return version


def _refused(rows: pa.Table) -> list[Refused]:
    some = rows.filter(pc.is_valid(rows["reason"])).select(["name", "reason", "detail"])
    return [
        Refused(name=shown_name(row["name"]), reason=row["reason"], detail=row["detail"] or "")
        for row in some.to_pylist()
    ]


def _label(work: PreparationWork, rows: pa.Table) -> tuple[_Labelled, list[Refused], int]:
    """The pictures with class and group, those refused for want of one, and how many are left out."""
    prefix = raw_prefix(work.name)
    names = rows["name"].to_pylist()
    found = label_dataset(
        work.raw.labels,
        rows["path"].to_pylist(),
        rows["label"].to_pylist(),
        lambda table: work.store.get(prefix + table),
    )
    taken = [at for at, outcome in enumerate(found.outcomes) if isinstance(outcome, LabelledPicture)]
    numbers = {name: number for number, name in enumerate(found.classes)}
    labelled = [cast("LabelledPicture", found.outcomes[at]) for at in taken]
    labels = [0 if each.label is None else numbers[each.label] for each in labelled]
    refused = [
        outcome.model_copy(update={"name": names[at]})
        for at, outcome in enumerate(found.outcomes)
        if isinstance(outcome, Refused)
    ]
    return (
        _Labelled(
            rows.take(pa.array(taken, pa.int64())),
            np.array(labels, np.int64),
            [each.group for each in labelled],
            found.classes,
        ),
        refused,
        found.passed_over,
    )


def check_refused(name: str, refused: Sequence[Refused], count: int, pictures: int, most: float) -> None:
    """Refuse a dataset of which too many pictures cannot be used, or all.

    Args:
        name: The dataset.
        refused: The pictures that cannot be used, or the first of them.
        count: How many there are.
        pictures: All pictures.
        most: Largest share of the pictures that may be refused, 0 to 1.

    Raises:
        DataError: With the numbers by reason and the first of them.
    """
    if count == 0 or (count <= most * pictures and count < pictures):
        return
    counts: Counter[Reason] = Counter(each.reason for each in refused)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    first = "; ".join(f"{each.name}: {each.detail or each.reason}" for each in refused[:MOST_SHOWN])
    raise DataError(
        f"{count:,} of the {pictures:,} pictures of dataset {name!r} cannot be used ({by_reason}); at "
        f"most {100 * most:g} % may be refused, and nothing was made. {first}. Repair the source, or "
        "accept more with --most-refused"
    )


def _split(labelled: _Labelled) -> _Split:
    digests = [bytes(digest) for digest in digests_of(labelled.rows)]
    labels = labelled.labels.tolist()
    sides = labelled.rows["split"].to_pylist()
    if any(group is not None for group in labelled.groups):
        return _Split(split_groups(digests, labels, labelled.groups), "groups")
    if {"train", "held_out"} == set(sides):
        return _Split(split_by_source(digests, labels, [side == "held_out" for side in sides]), "source")
    return _Split(split_pictures(digests, labels), "content")


def _counts(labelled: _Labelled, split: PictureSplit) -> Mapping[Split, dict[str, int]]:
    names = labelled.classes or ("",)
    sides: tuple[tuple[Split, list[int]], ...] = (("train", split.train), ("held_out", split.held_out))
    return {
        side: dict(
            zip(names, np.bincount(labelled.labels[positions], minlength=len(names)).tolist(), strict=True)
        )
        for side, positions in sides
    }


def _held_out_groups(labelled: _Labelled, split: _Split) -> tuple[str, ...]:
    if split.rule != "groups":
        return ()
    groups = {labelled.groups[at] for at in split.pictures.held_out}
    return tuple(sorted(group for group in groups if group is not None))[:MAX_LISTED]


def _placed(rows: pa.Table, labelled: _Labelled, merged: MergedShards, version: DatasetVersion) -> pa.Table:
    """All rows, with the places of their pixels in the version; those without pixels there have none."""
    paths = [f"{version.digest}/{shard.path}" for shard in merged.shards]
    digests = [bytes(digest) for digest in digests_of(labelled.rows)]
    # A copy's pixels are those of the picture that was kept, under whatever label.
    places = {
        digests[row]: (paths[merged.shard[row]], int(merged.at[row]))
        for row in np.flatnonzero(merged.shard >= 0)
    }
    found = [None if digest is None else places.get(digest) for digest in rows["digest"].to_pylist()]
    file = pa.array([None if place is None else place[0] for place in found], pa.string())
    at = pa.array([None if place is None else place[1] for place in found], pa.int64())
    placed = rows.set_column(rows.schema.get_field_index("file"), rows.schema.field("file"), file)
    placed = placed.set_column(rows.schema.get_field_index("row"), rows.schema.field("row"), at)
    # A picture that is not in the version, because it has no class, has no pixels to be found again.
    return placed.filter(pc.or_(pc.is_valid(placed["file"]), pc.is_valid(placed["reason"])))
