"""Tracking entries on disk, one journal for each process that writes them.

Each tracker appends to a journal of its own, ``TIME-ID.jsonl``, and holds a lock on it for as long
as it lives; the kernel lets go of the lock when the process dies in whatever way. A journal that
nobody holds is what a dead process left behind, and the next tracker on the folder takes it over.
Pictures and files lie beside the journal in ``TIME-ID/``; ``TIME-ID.sent`` says up to which byte of
the journal everything has been sent. What was sent but not yet noted is sent twice, which the
protocol makes harmless.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


class Journal:
    """One process's entries on disk, under a lock that dies with the process.

    Raises:
        BlockingIOError: A living process holds it.
        FileNotFoundError: It is not there (any more), and ``create`` is not given.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self.files = path.with_suffix("")
        self._sent = path.with_suffix(".sent")
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0), 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self._descriptor).st_nlink == 0:
                raise FileNotFoundError(errno.ENOENT, "sent and removed by another process", str(path))
        except OSError:
            os.close(self._descriptor)
            raise
        self._end = os.fstat(self._descriptor).st_size

    def append(self, entry: Mapping[str, Any]) -> int:
        """Write an entry; returns the offset of its end."""
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        if os.write(self._descriptor, line) < len(line):
            os.ftruncate(self._descriptor, self._end)
            raise OSError(errno.ENOSPC, "no space left for tracking entries", str(self.path))
        self._end += len(line)
        return self._end

    def unsent(self) -> list[JournalEntry]:
        """Whole entries after the last one noted as sent; a line cut short by a crash is none."""
        try:
            end = int(self._sent.read_text())
        except FileNotFoundError:
            end = 0
        entries = []
        with self.path.open("rb") as file:
            file.seek(end)
            for line in file:
                end += len(line)
                try:
                    entries.append(JournalEntry(self, end, json.loads(line)))
                except json.JSONDecodeError:
                    _log.warning("%s holds a damaged line before byte %d; it is passed over", self.path, end)
        return entries

    def note_sent(self, end: int) -> None:
        """Remember that everything before an offset has been sent."""
        beside = self._sent.with_suffix(".part")
        beside.write_text(str(end))
        beside.replace(self._sent)

    def remove(self) -> None:
        """Delete it, when everything has been sent."""
        shutil.rmtree(self.files, ignore_errors=True)
        self._sent.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Release the lock, so that another process can take the journal over."""
        os.close(self._descriptor)


@dataclass(frozen=True)
class JournalEntry:
    """One call to a tracker."""

    journal: Journal
    end: int
    """Offset in the journal at which it ends."""
    fields: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """``metrics``, ``image``, ``artifact`` or ``finish``."""
        return str(self.fields["kind"])

    @property
    def run(self) -> str:
        """The tracker's id of its run."""
        return str(self.fields["run"])


def new_journal(folder: Path) -> Journal:
    """An empty journal of this process; names sort by the time they were made."""
    while True:
        path = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.jsonl"
        try:
            return Journal(path, create=True)
        except (BlockingIOError, FileNotFoundError):
            # Another process took it over before it was locked here, and removes it: make a new one.
            continue


def take_over(folder: Path) -> list[Journal]:
    """The journals that no living process holds, the oldest first."""
    journals = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            journals.append(Journal(path))
        except (BlockingIOError, FileNotFoundError):
            continue
    return journals
