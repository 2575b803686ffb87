"""The rules by which a dataset's pictures get their classes and groups, as its description keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from ganlib.data.formats.entries import MAX_NAME_BYTES
from ganlib.data.labelling.group_pattern import MAX_PATTERN_CHARACTERS, check_group_pattern
from ganlib.data.labelling.label_table import Columns, LabelTable, TableRow, read_label_table
from ganlib.data.labelling.labels import MAX_CLASS_LEVEL, Labelling, LabelRules, label_pictures
from ganlib.data.labelling.statefarm import StateFarmLayout, label_statefarm, within_statefarm
from ganlib.errors import ConfigError, DataError
from ganlib.records import Record

MAX_TABLES = 16
"""Most tables of one dataset."""

TableName = Annotated[str, Field(pattern=r"^\.labels/[0-9a-f]{64}\.csv$")]
"""Where a table lies among a dataset's raw objects. The folder is hidden, so no user's file can be there."""


TablePath = Annotated[str, Field(max_length=2 * MAX_NAME_BYTES + 1)]
"""A container's path, a slash, and the path in it; or a path of the source alone."""


class DatasetLabels(Record):
    """Where the classes and groups of a dataset's pictures come from."""

    class_level: int | None = Field(default=None, ge=0, le=MAX_CLASS_LEVEL)
    """The folder that names the class, 1 the outermost; 0: no classes; ``None``: the outermost where there
    are folders, unless a table or the format gives the classes."""
    group: str = Field(default="", max_length=MAX_PATTERN_CHARACTERS)
    """A column of the tables, or a pattern on the path with one pair of parentheses; empty: the column
    ``group`` where a table has one."""
    tables: dict[TablePath, TableName] = Field(default_factory=dict, max_length=MAX_TABLES)
    """By their path in the source; a table that is added again under its path replaces the earlier one."""
    statefarm: StateFarmLayout | None = None
    """State Farm's archive has its own classes and subjects."""
    unlabelled: bool = False
    """Whether State Farm's pictures without a class are taken, too."""

    @model_validator(mode="after")
    def _one_table_of_subjects(self) -> DatasetLabels:
        if self.statefarm is not None and len(self.tables) > 1:
            raise ValueError(f"State Farm's archive has one table of subjects, not {len(self.tables)}")
        return self

    @property
    def group_pattern(self) -> str | None:
        """The pattern that gives the groups, if one does."""
        return self.group if is_pattern(self.group) else None


AS_BEFORE = DatasetLabels()
"""No rule is given: those of an earlier add hold, if there was one."""


def combined(earlier: DatasetLabels, given: DatasetLabels) -> DatasetLabels:
    """The rules of an earlier add with those changed that are given now: those that are not defaults."""
    changes = {name: value for name, value in given if value != getattr(AS_BEFORE, name)}
    if earlier.statefarm is not None and ("class_level" in changes or "group" in changes):
        changes |= {"statefarm": None, "tables": {}}
    return earlier.model_copy(update=changes)


def is_pattern(group: str) -> bool:
    """Whether groups are given by a pattern on the path; else by a column of a table."""
    return "(" in group


def check_dataset_labels(labels: DatasetLabels) -> None:
    """Refuse rules that cannot give groups. Raises ``ConfigError``."""
    if labels.group_pattern is not None:
        check_group_pattern(labels.group_pattern)
    elif labels.group and not labels.tables:
        raise ConfigError(
            f"--group {labels.group!r} names a column, but there is no table with the columns file and "
            f"{labels.group} beside the pictures. A pattern on the path has parentheses: 'subject_([0-9]+)'"
        )


def takes(labels: DatasetLabels, path: str) -> bool:
    """Whether a picture belongs to the dataset at all, before anything is known but its path."""
    return labels.statefarm is None or within_statefarm(labels.statefarm, path, labels.unlabelled)


def label_dataset(
    labels: DatasetLabels,
    paths: Sequence[str],
    own: Sequence[str | None],
    read: Callable[[str], bytes],
) -> Labelling:
    """Find the class and group of each picture.

    Args:
        labels: The rules.
        paths: Paths of the pictures, checked.
        own: The class that each picture's container gives it.
        read: Reads a table by its name.

    Raises:
        ConfigError: The rules cannot be used.
        DataError: A table cannot be used, or there are too many classes.
    """
    if labels.statefarm is not None:
        table = next(iter(labels.tables.values()), None)
        if table is None:
            raise DataError(f"the description has no {labels.statefarm.table}; add the archive again")
        return label_statefarm(labels.statefarm, paths, read(table), unlabelled=labels.unlabelled)
    tables = [read_table(read(name), name, labels.group) for name in labels.tables.values()]
    rules = LabelRules(labels.class_level, labels.group_pattern)
    return label_pictures(paths, rules, _merged(tables), own)


def read_table(data: bytes, what: str, group: str = "") -> LabelTable:
    """A table with a column ``file``, and one or both of ``label`` and a group's.

    Raises:
        DataError: It has not these columns, or cannot be used.
    """
    column = group if group and not is_pattern(group) else None
    try:
        return read_label_table(data, what, Columns(group=column))
    except DataError:
        if column is None:
            raise
        return read_label_table(data, what, Columns(label=None, group=column))


def _merged(tables: Sequence[LabelTable]) -> LabelTable | None:
    """One table of all rows; rows that differ are contradicted."""
    if len(tables) < 2:
        return tables[0] if tables else None
    rows: dict[str, TableRow] = {}
    contradicted = {path for table in tables for path in table.contradicted}
    for table in tables:
        for path, row in table.rows.items():
            if rows.setdefault(path, row) != row:
                contradicted.add(path)
    return LabelTable(
        tables[0].what,
        {path: row for path, row in rows.items() if path not in contradicted},
        has_labels=any(table.has_labels for table in tables),
        has_groups=any(table.has_groups for table in tables),
        contradicted=frozenset(contradicted),
    )
