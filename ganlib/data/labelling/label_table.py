"""A table of labels beside the pictures: a CSV file with a picture, a class and perhaps a group in each row.

The table comes from whoever made the dataset. Its bytes, lines, columns and rows are bounded; a row that
cannot be used is counted with its reason, and only a table without use at all is an error.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from ganlib.data.formats.entries import MAX_NAME_BYTES, shown_name
from ganlib.errors import DataError
from ganlib.names import MAX_CLASSES, ClassName

MAX_TABLE_BYTES = 256 * 2**20
"""Largest table; two million rows of 100 bytes fit."""

MAX_TABLE_ROWS = 4_000_000
"""Most rows of a table."""

MAX_TABLE_COLUMNS = 1024
"""Most columns of a table."""

MAX_ROW_CHARACTERS = 2**16
"""Longest row. It is below the 131,072 characters that Python's csv module allows a single field."""

SHOWN_ROWS = 20
"""Refused rows that are kept with their line, as examples."""

_DELIMITERS = (",", ";", "\t", "|")
_CLASS_NAME = TypeAdapter(ClassName)


class Columns(NamedTuple):
    """Headers of the columns that are read; capitals and spaces around them do not matter."""

    file: str = "file"
    """The picture's name or path."""
    label: str | None = "label"
    """Its class; ``None``: the table gives no classes."""
    group: str | None = None
    """Its group; ``None``: a column ``group`` is read if the table has one."""


class TableRow(NamedTuple):
    """A picture's row."""

    label: str | None
    """Its class; ``None`` where the table gives no classes."""
    group: str | None
    """Its group; ``None`` where the table gives no groups."""


class RefusedRow(NamedTuple):
    """A row that cannot be used."""

    line: int
    """Line at which it ends, from 1."""
    reason: str


@dataclass(frozen=True)
class LabelTable:
    """The rows of a table that can be used."""

    what: str
    """Its path or key, for messages."""
    rows: Mapping[str, TableRow]
    """Rows by the picture's path as written, with slashes and in Unicode's composed form."""
    has_labels: bool
    has_groups: bool
    contradicted: frozenset[str] = frozenset()
    """Paths with several rows that differ; they are not in ``rows``."""
    refused: Mapping[str, int] | None = None
    """Number of rows that cannot be used, by reason; ``None``: there are none."""
    examples: tuple[RefusedRow, ...] = ()
    """The first refused rows, at most :data:`SHOWN_ROWS`."""


def read_label_table(data: bytes, what: str, columns: Columns | None = None) -> LabelTable:
    """Read a table of labels.

    UTF-8 with or without a byte order mark, or UTF-16 with one; comma, semicolon, tab or ``|`` between
    columns; fields may be quoted. A label or group that a spreadsheet would run as a formula is refused.

    Args:
        data: The file; callers check its size against :data:`MAX_TABLE_BYTES` before they read it.
        what: Names it in messages.
        columns: Its headers; those of :class:`Columns` when ``None``.

    Raises:
        DataError: It is larger than the limits, has no such columns, no usable row, or more classes
            than :data:`~ganlib.names.MAX_CLASSES`.
    """
    columns = columns or Columns()
    if len(data) > MAX_TABLE_BYTES:
        raise DataError(
            f"{what} has {len(data):,} bytes; at most {MAX_TABLE_BYTES:,} are accepted. Keep only the "
            "columns for picture, class and group"
        )
    lines = _Lines(data)
    delimiter, where = _read_header(lines, what, columns)
    collected = _Rows(what)
    for row in _records(lines, delimiter, collected):
        collected.take(lines.number, row, where)
    if not collected.rows:
        refused = ", ".join(f"{count:,} {reason}" for reason, count in collected.refused.most_common(5))
        raise DataError(f"{what} has no usable row ({refused or 'it ends after its header'}); repair it")
    return LabelTable(
        what,
        collected.rows,
        has_labels=where.label is not None,
        has_groups=where.group is not None,
        contradicted=frozenset(collected.contradicted),
        refused=dict(collected.refused) or None,
        examples=tuple(collected.examples),
    )


class _Positions(NamedTuple):
    file: int
    label: int | None
    group: int | None


class _LongRow(Exception):
    """A row is longer than the limit."""


class _Lines:
    """The lines of a file, none held longer than a row may be; raises ``_LongRow`` and goes on after it."""

    def __init__(self, data: bytes) -> None:
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        self._text = io.TextIOWrapper(io.BytesIO(data), encoding=encoding, errors="replace")
        self.number, self.characters = 0, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_ROW_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.characters += len(line)
        if self.characters > MAX_ROW_CHARACTERS:
            while line and not line.endswith("\n"):
                line = self._text.readline(MAX_ROW_CHARACTERS)
            raise _LongRow
        return line


def _read_header(lines: _Lines, what: str, columns: Columns) -> tuple[str, _Positions]:
    """The delimiter under which the header has the wanted columns, and where they are."""
    try:
        line = next(lines, "")
    except _LongRow:
        raise DataError(
            f"{what} has a first line of more than {MAX_ROW_CHARACTERS:,} characters; its first line must "
            "name the columns"
        ) from None
    found: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        try:
            header = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        found[delimiter] = names = [_folded(name) for name in header]
        wanted = [name for name in columns if name is not None]
        if len(names) <= MAX_TABLE_COLUMNS and all(names.count(_folded(name)) == 1 for name in wanted):
            group = columns.group or ("group" if names.count("group") == 1 else None)
            label = None if columns.label is None else names.index(_folded(columns.label))
            return delimiter, _Positions(
                names.index(_folded(columns.file)),
                label,
                None if group is None else names.index(_folded(group)),
            )
    widest = max(found.values(), key=len, default=[])
    if len(widest) > MAX_TABLE_COLUMNS:
        raise DataError(f"{what} has {len(widest):,} columns; at most {MAX_TABLE_COLUMNS:,} are accepted")
    shown = ", ".join(shown_name(name) for name in widest[:20])
    raise DataError(
        f"{what} has the columns {shown or '(none)'}, but needs each of "
        f"{', '.join(name for name in columns if name is not None)} once; name its own columns"
    )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _records(lines: _Lines, delimiter: str, collected: _Rows) -> Iterator[list[str]]:
    """The rows as fields; those that cannot be parsed are refused and passed over."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.characters = 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except _LongRow:
            collected.refuse(lines.number, "longer than a row may be, or with a quote that is never closed")
            # A new reader, since the old one is within a quoted field.
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
        except csv.Error:
            collected.refuse(lines.number, "quoted wrongly")
        else:
            if row:
                yield row


class _Rows:
    """Rows as they are read, with those refused."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.rows: dict[str, TableRow] = {}
        self.contradicted: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.examples: list[RefusedRow] = []
        self._count = 0
        self._names: dict[str, str] = {}
        self._classes: set[str] = set()

    def refuse(self, line: int, reason: str) -> None:
        self.refused[reason] += 1
        if len(self.examples) < SHOWN_ROWS:
            self.examples.append(RefusedRow(line, reason))

    def take(self, line: int, row: list[str], where: _Positions) -> None:
        self._count += 1
        if self._count > MAX_TABLE_ROWS:
            raise DataError(f"{self.what} has more than {MAX_TABLE_ROWS:,} rows; divide the dataset")
        if len(row) > MAX_TABLE_COLUMNS:
            return self.refuse(line, "more columns than the header")
        if len(row) <= max(position for position in where if position is not None):
            return self.refuse(line, "fewer columns than the header")
        try:
            path = _path(row[where.file])
            label = None if where.label is None else self._name(row[where.label], "class")
            group = None if where.group is None else self._name(row[where.group], "group")
        except ValueError as error:
            return self.refuse(line, str(error))
        if label is not None:
            self._classes.add(label)
            if len(self._classes) > MAX_CLASSES:
                raise DataError(
                    f"{self.what} has more than {MAX_CLASSES:,} classes; name the column that has the class"
                )
        self._add(path, TableRow(label, group))

    def _add(self, path: str, found: TableRow) -> None:
        if path in self.contradicted:
            return
        if self.rows.setdefault(path, found) != found:
            del self.rows[path]
            self.contradicted.add(path)

    def _name(self, text: str, what: str) -> str:
        """A class or group, the same object for equal names. Raises ``ValueError`` with the reason."""
        known = self._names.get(text)
        if known is None:
            known = self._names[text] = checked_label(text, what)
        return known


def checked_label(text: str, what: str) -> str:
    """A class or group from outside, without spaces around it and in Unicode's composed form.

    Args:
        text: The name, as found.
        what: ``class`` or ``group``, for the message.

    Raises:
        ValueError: It is empty, too long, has control characters, is not UTF-8, or a spreadsheet would run
            it as a formula; the text is the reason.
    """
    name = unicodedata.normalize("NFC", text).strip(" \u00a0")
    if not name:
        raise ValueError(f"without a {what}")
    if "\ufffd" in name:
        raise ValueError(f"with a {what} that is not UTF-8")
    try:
        _CLASS_NAME.validate_python(name)
    except ValidationError:
        raise ValueError(f"with a {what} of more than 255 characters, or with control characters") from None
    if name[0] in "=@" or (name[0] in "+-" and not _is_number(name)):
        raise ValueError(f"with a {what} that a spreadsheet would run as a formula")
    return name


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _path(text: str) -> str:
    """A picture's path in a table: it is only compared with names, so it may be absolute."""
    path = unicodedata.normalize("NFC", text).strip(" \u00a0").replace("\\", "/")
    if not path or path.endswith("/"):
        raise ValueError("without a file")
    if "\ufffd" in path:
        raise ValueError("with a file that is not UTF-8")
    if not path.isprintable() and any(unicodedata.category(character) == "Cc" for character in path):
        raise ValueError("with control characters in the file")
    if len(path.encode("utf-8", "surrogatepass")) > 4 * MAX_NAME_BYTES:
        raise ValueError(f"with a file of more than {4 * MAX_NAME_BYTES:,} bytes")
    return "/".join(part for part in path.split("/") if part not in ("", "."))
