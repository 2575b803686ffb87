"""Tracking entries on disk: one SQLite database for each process that writes them.

A process holds its database's lock for as long as it lives, and the kernel releases the lock when the process
dies in whatever way. A database that nobody holds was left behind by a dead process, and the next tracker on
the folder takes it over. An entry is deleted when it has been sent. One that was sent but not yet deleted is
sent twice, which the trackers' protocol makes harmless.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)

_SUFFIX = ".sqlite"


class Journal:
    """One process's unsent entries.

    Any thread may call it: SQLite serializes the calls. ``left_behind`` are the entries that it held when it
    was opened, the oldest first.

    Args:
        path: The database, or an empty file.

    Raises:
        sqlite3.OperationalError: A living process holds it, it is not there, or it cannot be written.
        sqlite3.DatabaseError: It is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        address = f"{path.absolute().as_uri()}?mode=rw"
        self._database = sqlite3.connect(
            address, uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            # The first access takes the lock, and keeps it until the database is closed.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            # A write is one append, and what a killed process had not finished is discarded.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS entries "
                "(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, run TEXT NOT NULL, fields TEXT NOT NULL, "
                "data BLOB)"
            )
            self.left_behind = self._unsent()
        except (sqlite3.Error, ValueError) as error:
            self._database.close()
            if isinstance(error, ValueError):
                raise sqlite3.DatabaseError(f"{path} holds an entry that is no JSON") from error
            raise

    def append(self, kind: str, run: str, fields: Mapping[str, Any], data: bytes | None) -> JournalEntry:
        """Write an entry, with the content of its file if it has one.

        Raises:
            sqlite3.Error: It cannot be written: the disk is full, as a rule.
        """
        row = (kind, run, json.dumps(fields), data)
        made = self._database.execute(
            "INSERT INTO entries (kind, run, fields, data) VALUES (?, ?, ?, ?)", row
        )
        return JournalEntry(self, int(made.lastrowid or 0), kind, run, fields)

    def _unsent(self) -> list[JournalEntry]:
        rows = self._database.execute("SELECT id, kind, run, fields FROM entries ORDER BY id")
        return [
            JournalEntry(self, number, kind, run, json.loads(fields)) for number, kind, run, fields in rows
        ]

    def data(self, entry: JournalEntry) -> bytes:
        """Return the content of an entry's file."""
        [row] = self._database.execute("SELECT data FROM entries WHERE id = ?", (entry.number,))
        return bytes(row[0])

    def note_sent(self, entries: Sequence[JournalEntry]) -> None:
        """Delete entries of this journal.

        Raises:
            sqlite3.Error: That cannot be written; they stay.
        """
        numbers = [(entry.number,) for entry in entries]
        self._database.execute("BEGIN")
        try:
            self._database.executemany("DELETE FROM entries WHERE id = ?", numbers)
            self._database.execute("COMMIT")
        except sqlite3.Error:
            self._database.execute("ROLLBACK")
            raise

    def remove(self) -> None:
        """Delete the database, when everything has been sent."""
        self.path.unlink(missing_ok=True)
        self.release()
        self.path.with_name(self.path.name + "-wal").unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lock, so that another process can take the journal over."""
        self._database.close()


@dataclass(frozen=True)
class JournalEntry:
    """One call to a tracker."""

    journal: Journal
    number: int
    """Its number in the journal, from 1 upwards."""
    kind: str
    """``metrics``, ``image``, ``artifact``, ``describe`` or ``finish``."""
    run: str
    """The tracker's id of its run."""
    fields: Mapping[str, Any]
    """The call's other arguments, but for the content of a picture or file: :meth:`Journal.data`."""


def new_journal(folder: Path) -> Journal:
    """Make an empty journal for this process; names sort by the time they were made.

    Raises:
        OSError, sqlite3.Error: It cannot be written.
    """
    while True:
        path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}{_SUFFIX}"
        path.touch(mode=0o600)
        try:
            journal = Journal(path)
        except sqlite3.OperationalError as error:
            if not _is_taken(path, error):
                raise
        else:
            if path.exists():
                return journal
            journal.release()
        # Another process took the new file over before it was locked here: make another one.


def take_over(folder: Path) -> list[Journal]:
    """Open the journals that no living process holds, the oldest first. A damaged one is put aside."""
    journals = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            journals.append(Journal(path))
        except sqlite3.OperationalError as error:
            if not _is_taken(path, error):
                _log.warning("tracking entries left in %s cannot be read now: %s", path, error)
        except sqlite3.DatabaseError as error:
            aside = path.replace(path.with_suffix(".damaged"))
            _log.warning("tracking entries cannot be read and are put aside as %s: %s", aside, error)
    return journals


def _is_taken(path: Path, error: sqlite3.OperationalError) -> bool:
    """Whether a journal could not be opened because a living process holds it or has just removed it."""
    return error.sqlite_errorname == "SQLITE_BUSY" or not path.exists()
