"""The tables of a source that may give classes and groups, looked at within bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from ganlib.data.labelling.dataset_labels import read_table
from ganlib.data.labelling.label_table import MAX_TABLE_BYTES
from ganlib.data.labelling.statefarm import SUBJECTS_TABLE
from ganlib.data.raw.candidates import Candidate
from ganlib.errors import DataError

MOST_TABLES = 1000
"""Tables of one source that are looked at, those inside of archives included."""

MOST_TABLE_BYTES = 2 * MAX_TABLE_BYTES
"""Bytes of all tables of one source that are looked at: 512 MiB, read once each."""


class FoundLabels(NamedTuple):
    """A table near the top of a source or of a container, which may give classes and groups."""

    source: str
    """Its path in the source, the container's included: no other table has it."""
    path: str
    """Its path beside the pictures, as :attr:`ganlib.data.raw.contents.RawPicture.path` is theirs."""
    data: bytes
    usable: bool
    """Whether it has the columns ``file`` and ``label``, or the group's; State Farm's table has others."""


@dataclass
class SourceTables:
    """Tables near the top of a source and of its containers, as they are found.

    Of a table that cannot give classes or groups nothing is kept, so memory holds the useful ones alone. A
    table that would exceed :data:`MOST_TABLES` or :data:`MOST_TABLE_BYTES` is not looked at.

    Args:
        group: The rule for groups, which may be a column's name.
    """

    group: str
    kept: list[FoundLabels] = field(default_factory=list)
    """Tables that may be used."""
    looked_at: int = 0
    """How many tables were read."""
    not_looked_at: list[str] = field(default_factory=list)
    """Paths of tables beyond the bounds."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Numbers of files with a table's suffix that are too deep, or empty, by suffix."""
    _bytes: int = 0

    def look(self, source: str, path: str, size: int, read: Callable[[], bytes]) -> None:
        """Read a table and keep it if it may be used.

        Args:
            source: As :attr:`FoundLabels.source`.
            path: As :attr:`FoundLabels.path`.
            size: Its bytes, as announced.
            read: Gives its content, of at most ``size`` bytes.

        Raises:
            DataError: It cannot be read.
        """
        within = size <= MAX_TABLE_BYTES and self._bytes + size <= MOST_TABLE_BYTES
        if not within or self.looked_at >= MOST_TABLES:
            self.not_looked_at.append(source)
            return
        self._bytes += size
        self.looked_at += 1
        data = read()
        usable = _is_usable(data, source, self.group)
        if usable or PurePosixPath(path).name == SUBJECTS_TABLE:
            self.kept.append(FoundLabels(source, path, data, usable))

    def look_at_files(self, candidates: Iterable[Candidate]) -> None:
        """Look at the tables that are files of the source: those at its top come first.

        Raises:
            DataError: One cannot be read.
        """
        for one in sorted(candidates, key=lambda each: (each.relative.count("/"), each.relative)):
            if is_near_top(one.relative) and one.size > 0:
                self.look(one.relative, one.relative, one.size, one.read)
            else:
                self.passed_over[PurePosixPath(one.relative).suffix.lower()] += 1


def is_near_top(name: str) -> bool:
    """Whether a path lies in no folder, or in one."""
    return name.count("/") <= 1


def _is_usable(data: bytes, source: str, group: str) -> bool:
    try:
        read_table(data, source, group)
    except DataError:
        return False
    return True
