"""Class and group of each picture, from its name and from the tables beside it; nothing is read here.

A picture's class is, in this order: its row in a table that gives classes; the class that its format
carries (IDX, npz, Parquet); its folder at the class level; none. Its group is from a pattern on the name,
or its row in the table, or none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ganlib.data.formats.entries import Refused, shown_name
from ganlib.data.labelling.group_pattern import groups_by_pattern
from ganlib.data.labelling.label_table import LabelTable, TableRow, checked_label
from ganlib.errors import ConfigError, DataError
from ganlib.names import MAX_CLASSES

MAX_CLASS_LEVEL = 32
"""Deepest folder that can name classes."""

_LONGEST_NUMBER = 18


class LabelRules(NamedTuple):
    """The way in which pictures get their class and group."""

    class_level: int | None = None
    """The folder that names the class, 1 the outermost; 0: no classes. ``None``: the outermost, and no
    classes where no picture is in a folder."""
    group_pattern: str | None = None
    """Pattern on the name with one capture group, as :func:`~.group_pattern.groups_by_pattern` takes it."""


class LabelledPicture(NamedTuple):
    """A picture with its class and group."""

    name: str
    label: str | None
    """``None``: the dataset has no classes."""
    group: str | None
    """Pictures of one group stay on one side of the split; ``None``: it belongs to no group."""


@dataclass(frozen=True)
class Labelling:
    """Classes and groups of a dataset's pictures."""

    outcomes: tuple[LabelledPicture | Refused | None, ...]
    """For each name, in order: its class and group, or why it has none where others have one; ``None`` for a
    picture that is left out on purpose, such as an unlabelled one that was not asked for."""
    classes: tuple[str, ...]
    """Classes with a picture, in the order of the labels: sorted, numbers by their size, unless the dataset
    has its own order."""
    rows_without_picture: int = 0
    """Rows of the table that no picture was found for."""
    pictures_without_row: int = 0
    """Pictures that the table has no row for."""

    @property
    def pictures(self) -> tuple[LabelledPicture, ...]:
        """Those that can be used, in the order of the names."""
        return tuple(each for each in self.outcomes if isinstance(each, LabelledPicture))

    @property
    def refused(self) -> tuple[Refused, ...]:
        """Those without a class or group where the others have one."""
        return tuple(each for each in self.outcomes if isinstance(each, Refused))

    @property
    def passed_over(self) -> int:
        """Number of pictures left out on purpose."""
        return self.outcomes.count(None)


def label_pictures(
    names: Sequence[str],
    rules: LabelRules | None = None,
    table: LabelTable | None = None,
    own: Sequence[str | None] | None = None,
) -> Labelling:
    """Find the class and group of each picture.

    Args:
        names: Names of the pictures, checked (:func:`~ganlib.data.formats.entries.check_name`).
        rules: How; those of :class:`LabelRules` when ``None``.
        table: The table beside the pictures.
        own: The class that the format carries for each, ``None`` where it carries none.

    Raises:
        ConfigError: The class level or the pattern cannot be used.
        DataError: There are more classes than :data:`~ganlib.names.MAX_CLASSES`, or the pattern gives no
            picture a group.
    """
    rules = rules or LabelRules()
    level = rules.class_level
    if level is not None and not 0 <= level <= MAX_CLASS_LEVEL:
        raise ConfigError(
            f"--class-level {level} cannot be used: 1 is the outermost folder, {MAX_CLASS_LEVEL} the "
            "deepest, and 0 gives no classes"
        )
    rows = match_rows(names, table) if table is not None else RowMatches({}, 0, frozenset())
    if level is None:
        level = 1 if any("/" in name for name in names) else 0
    groups = _Groups(names, rules.group_pattern, table)
    own = own or [None] * len(names)
    labels = _Labels(level, table, any(label is not None for label in own))
    outcomes: list[LabelledPicture | Refused | None] = []
    for name, carried, by_pattern in zip(names, own, groups.by_pattern, strict=True):
        row = rows.found.get(name)
        label, why = labels.of(name, row, carried, name in rows.ambiguous)
        if why:
            outcomes.append(Refused(name=name, reason="no label", detail=why))
            continue
        group, why = groups.of(row, by_pattern)
        if why:
            outcomes.append(Refused(name=name, reason="no group", detail=why))
            continue
        outcomes.append(LabelledPicture(name, label, group))
    return Labelling(
        tuple(outcomes),
        _classes([each for each in outcomes if isinstance(each, LabelledPicture)]),
        rows_without_picture=rows.unused,
        pictures_without_row=len(names) - len(rows.found) if table is not None else 0,
    )


def _classes(pictures: Sequence[LabelledPicture]) -> tuple[str, ...]:
    found = {picture.label for picture in pictures if picture.label is not None}
    # Numbers in their own order, in which 10 comes after 9.
    numbers = all(label.isascii() and label.isdigit() and len(label) <= _LONGEST_NUMBER for label in found)
    classes = sorted(found, key=lambda label: (int(label), label)) if numbers else sorted(found)
    if len(classes) > MAX_CLASSES:
        raise DataError(
            f"the pictures have {len(classes):,} classes; at most {MAX_CLASSES:,} are accepted. Choose "
            "another folder with --class-level, or none with --class-level 0"
        )
    return tuple(classes)


@dataclass
class _Labels:
    """Classes of pictures, one by one."""

    level: int
    table: LabelTable | None
    carried: bool
    """Whether the format carries classes."""
    checked: dict[str, tuple[str | None, str]] = field(default_factory=dict)

    def of(
        self, name: str, row: TableRow | None, carried: str | None, ambiguous: bool
    ) -> tuple[str | None, str]:
        """A picture's class, or the reason why it has none."""
        if self.table is not None and self.table.has_labels:
            if ambiguous:
                return (
                    None,
                    f"its row in {self.table.what} fits other pictures too, or differs from another row",
                )
            if row is None:
                return None, f"it has no row in {self.table.what}"
            return row.label, ""
        if self.carried:
            return (None, "its file gives it no class") if carried is None else self._check(carried)
        if self.level == 0:
            return None, ""
        folders = name.split("/")[:-1]
        if len(folders) < self.level:
            return None, f"it lies in {len(folders)} folders; folder {self.level} names the class"
        return self._check(folders[self.level - 1])

    def _check(self, text: str) -> tuple[str | None, str]:
        if text not in self.checked:
            try:
                self.checked[text] = checked_label(text, "class"), ""
            except ValueError as error:
                self.checked[text] = None, f"{error}: {shown_name(text)}"
        return self.checked[text]


class _Groups:
    """Groups of pictures, one by one."""

    def __init__(self, names: Sequence[str], pattern: str | None, table: LabelTable | None) -> None:
        self.pattern, self.table = pattern, table
        self.by_pattern: Sequence[str] = [""] * len(names)
        if pattern is not None:
            self.by_pattern = groups_by_pattern(names, pattern)
            if names and not any(self.by_pattern):
                raise DataError(
                    f"--group {pattern!r} matches none of {len(names):,} names, such as "
                    f"{shown_name(names[0])}; the pattern is searched in the whole relative path"
                )

    def of(self, row: TableRow | None, by_pattern: str) -> tuple[str | None, str]:
        """A picture's group, or the reason why it has none although others have."""
        if self.pattern is not None:
            return (
                (by_pattern, "")
                if by_pattern
                else (None, f"{shown_name(self.pattern)} does not match its name")
            )
        if self.table is None or not self.table.has_groups:
            return None, ""
        if row is None:
            return None, f"it has no row of its own in {self.table.what}"
        return row.group, ""


class RowMatches(NamedTuple):
    """Rows of a table with the pictures that they are for."""

    found: Mapping[str, TableRow]
    """Row by the picture's name."""
    unused: int
    """Rows that fit no picture."""
    ambiguous: frozenset[str]
    """Pictures whose row fits several of them equally well, or that have rows which differ."""


def match_rows(names: Sequence[str], table: LabelTable) -> RowMatches:
    """Find each picture's row, where either may have folders before it that the other lacks.

    The row with the picture's whole path counts, else the longest end of the path that is a row, else the
    row of which the picture's whole path is an end. A row that fits several pictures is used for none,
    unless it is one of them by its whole path. Time and memory are linear in pictures and rows, times the
    depth of the folders.
    """
    known = table.rows.keys() | table.contradicted
    paths: dict[str, list[str]] = {}
    for name in names:
        path = next((end for end in _ends(name) if end in known), None)
        if path is not None:
            paths[name] = [path]
    used = {path for [path] in paths.values()}
    missing = set(names) - paths.keys()
    for path in (known - used) if missing else ():
        # The longest end first: of nested pictures, a row belongs to the deepest.
        picture = next((end for end in _ends(path) if end in missing), None)
        if picture is not None:
            paths.setdefault(picture, []).append(path)
            used.add(path)
    fits = Counter(path for several in paths.values() for path in several)
    found: dict[str, TableRow] = {}
    for name, (path, *others) in paths.items():
        only = name == path or fits[path] == 1
        if only and not others and path in table.rows:
            found[name] = table.rows[path]
    return RowMatches(found, len(table.rows.keys() - used), frozenset(paths.keys() - found.keys()))


def _ends(path: str) -> Iterator[str]:
    """A path, then without its first folder, then without its first two, to the bare name."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path
