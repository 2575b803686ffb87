"""The State Farm archive of distracted drivers, exactly as Kaggle gives it.

::

    driver_imgs_list.csv                    subject,classname,img
    imgs/train/c0/img_44733.jpg             22,424 pictures of 26 subjects in c0 to c9
    imgs/test/img_1.jpg                     79,726 pictures without class and subject

All of it may lie in one folder more, as it does when the archive was unpacked and packed again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from ganlib.data.formats.entries import MAX_DETAIL, MAX_NAME_BYTES, Refused
from ganlib.data.labelling.label_table import Columns, read_label_table
from ganlib.data.labelling.labels import LabelledPicture, Labelling, match_rows
from ganlib.errors import DataError
from ganlib.records import Record

STATEFARM_CLASSES = (
    "safe driving",
    "texting right",
    "phone right",
    "texting left",
    "phone left",
    "radio",
    "drinking",
    "reaching behind",
    "hair and makeup",
    "passenger",
)
"""The classes in the order of the labels, c0 to c9."""

UNLABELLED_CLASS = "unlabelled"
"""Class of the pictures of ``imgs/test``, where they are asked for; the last one."""

SUBJECTS_TABLE = "driver_imgs_list.csv"
"""Name of the table with the subjects."""

SUBJECTS_COLUMNS = Columns(file="img", label="classname", group="subject")
"""Headers of that table."""

_TRAIN = re.compile(r"imgs/train/(c[0-9])/[^/]+\.jpe?g", re.IGNORECASE)
_TEST = re.compile(r"imgs/test/[^/]+\.jpe?g", re.IGNORECASE)


class StateFarmLayout(Record):
    """Where the parts of the archive lie among a source's files."""

    top: Annotated[str, Field(max_length=MAX_NAME_BYTES)] = ""
    """Folder that holds all of it, with its final slash; empty: none."""

    @property
    def table(self) -> str:
        """Path of the table of subjects."""
        return f"{self.top}{SUBJECTS_TABLE}"


def find_statefarm(names: Iterable[str]) -> StateFarmLayout | None:
    """Recognize the archive, packed or unpacked, by the names of its files.

    Args:
        names: All names of a source, in any order; read to the end of it, once.

    Returns:
        ``None`` unless there is one table of subjects, at the top or in a folder at the top, with at least
        one picture of a class beside it.
    """
    tables: list[str] = []
    tops: set[str] = set()
    for name in names:
        first, slash, rest = name.partition("/")
        if name == SUBJECTS_TABLE or (slash and rest == SUBJECTS_TABLE):
            tables.append(name)
        elif _TRAIN.fullmatch(name):
            tops.add("")
        elif _TRAIN.fullmatch(rest):
            tops.add(f"{first}/")
    found = [table for table in tables if table.removesuffix(SUBJECTS_TABLE) in tops]
    if len(found) != 1:
        return None
    return StateFarmLayout(top=found[0].removesuffix(SUBJECTS_TABLE))


def label_statefarm(
    layout: StateFarmLayout, names: Sequence[str], table: bytes, *, unlabelled: bool = False
) -> Labelling:
    """Class and subject of each picture of the archive.

    Args:
        layout: As :func:`find_statefarm` found it.
        names: Names of the pictures.
        table: The file ``layout.table``.
        unlabelled: Whether to take the pictures of ``imgs/test``, too. They get a class of their own and no
            group: all are trained on, since their subjects are unknown but none of the labelled ones.

    Returns:
        Subjects are the groups. Refused is a picture that the table has no row for, or another class than its
        folder; passed over one outside of the layout's folders, and ``imgs/test`` unless it is asked for.

    Raises:
        DataError: The table cannot be used, or no picture has a row in it.
    """
    rows = read_label_table(table, layout.table, SUBJECTS_COLUMNS)
    labels = {name: found[1] for name in names if (found := _within(layout, name, _TRAIN))}
    matches = match_rows(list(labels), rows)
    outcomes: list[LabelledPicture | Refused | None] = []
    for name in names:
        if name in labels:
            row, label = matches.found.get(name), labels[name].lower()
            if row is None:
                detail = f"it has no row in {layout.table}"
                outcomes.append(Refused(name=name, reason="no group", detail=detail[:MAX_DETAIL]))
            elif row.label != label:
                detail = f"its folder is {label}, its row in {layout.table} says {row.label}"
                outcomes.append(Refused(name=name, reason="no label", detail=detail[:MAX_DETAIL]))
            else:
                outcomes.append(LabelledPicture(name, STATEFARM_CLASSES[int(label[1])], row.group))
        elif unlabelled and _within(layout, name, _TEST):
            outcomes.append(LabelledPicture(name, UNLABELLED_CLASS, None))
        else:
            outcomes.append(None)
    present = {each.label for each in outcomes if isinstance(each, LabelledPicture)}
    if not present - {UNLABELLED_CLASS}:
        raise DataError(
            f"no picture of {layout.top}imgs/train has a row in {layout.table} with its class; the "
            "archive is not as Kaggle gives it. Give the classes with --class-level 3 and no table"
        )
    return Labelling(
        tuple(outcomes),
        tuple(name for name in (*STATEFARM_CLASSES, UNLABELLED_CLASS) if name in present),
        rows_without_picture=matches.unused,
        pictures_without_row=len(labels) - len(matches.found),
    )


def within_statefarm(layout: StateFarmLayout, name: str, unlabelled: bool) -> bool:
    """Whether a picture lies in one of the archive's folders of labelled, or of any, pictures."""
    return bool(_within(layout, name, _TRAIN) or (unlabelled and _within(layout, name, _TEST)))


def _within(layout: StateFarmLayout, name: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    return pattern.fullmatch(name, len(layout.top)) if name.startswith(layout.top) else None
