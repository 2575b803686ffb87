"""Tracking that training never waits for: written to disk first, sent by a thread, replayed after a crash."""

from __future__ import annotations

import io
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from ganlib.errors import GanlibError, RequestRefused, ServiceError
from ganlib.ports import RunStart, RunStatus, RunTracker, check_picture
from ganlib.tracking.journal import Journal, JournalEntry, new_journal, take_over

_log = logging.getLogger(__name__)
_BATCH = 500


class SpooledTracker:
    """A :class:`~ganlib.ports.RunTracker` whose calls return at once, whatever the service does.

    Only :meth:`start` speaks to the service. Everything else is on disk when the call returns, and
    a thread sends it in order. A service that is down is tried again, after pauses that double up
    to a limit; an entry that the service refuses for good is logged and given up. Nothing of this
    raises into the caller.

    What a process leaves unsent, killed or not, the next tracker on the same folder sends. A
    ``finish`` left behind is given up when its run goes on.

    Args:
        tracker: The tracker to send to; its calls must bear repetition, as the protocol says.
        folder: A local folder for the journals, made if missing.
        pause_seconds: First and longest pause before another try.
    """

    def __init__(
        self, tracker: RunTracker, folder: Path, *, pause_seconds: tuple[float, float] = (0.5, 30.0)
    ) -> None:
        self._tracker = tracker
        self._pauses = pause_seconds
        self._change = threading.Condition()
        self._pending: deque[JournalEntry] = deque()
        self._going_on: set[str] = set()
        self._closing = False
        self._abandoned = False
        self._lost = 0
        self._thread: threading.Thread | None = None
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._left_behind = take_over(folder)
        for journal in self._left_behind:
            entries = journal.left_behind
            self._drop_finishes({entry.run for entry in entries})
            self._pending.extend(entries)
        self._journal: Journal | None = None

    def start(self, run: RunStart) -> str:
        """Begin a run, or continue it; this one call goes straight through and raises what it raises."""
        run_id = self._tracker.start(run)
        with self._change:
            self._going_on.add(run_id)
            self._drop_finishes({run_id})
        return run_id

    def metrics(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Log values at ``step`` images."""
        self.points(run_id, [(step, values)])

    def points(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log values at several steps, in order."""
        for step, values in points:
            numbers = {name: float(value) for name, value in values.items()}
            self._append("metrics", run_id, {"step": int(step), "values": numbers})

    def image(self, run_id: str, key: str, step: int, image: np.ndarray) -> None:
        """Log a picture, uint8 [height, width] or [height, width, 3], at ``step`` images."""
        check_picture(image)
        data = io.BytesIO()
        np.save(data, image, allow_pickle=False)
        self._append("image", run_id, {"key": key, "step": int(step)}, data.getvalue())

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """Attach a file to the run under ``path``."""
        self._append("artifact", run_id, {"path": path}, data)

    def describe(self, run_id: str, markdown: str) -> None:
        """Replace the text that the run's page shows."""
        self._append("describe", run_id, {"markdown": markdown})

    def finish(self, run_id: str, status: RunStatus) -> None:
        """End a run, after everything that was logged before."""
        self._append("finish", run_id, {"status": status})

    def close(self, timeout_seconds: float) -> int:
        """Send what is left, for at most this long, and stop.

        Returns:
            How many entries could not be sent; they stay on disk for the next tracker.
        """
        deadline = time.monotonic() + timeout_seconds
        with self._change:
            if self._abandoned:
                return len(self._pending)
            self._closing = True
            if self._pending:
                self._start_sending()
            self._change.notify_all()
            self._change.wait_for(lambda: not self._pending, timeout=max(0.0, deadline - time.monotonic()))
            # From here on the thread, which may still wait for the service, does not touch the disk.
            self._abandoned = True
            self._change.notify_all()
            self._let_go()
            return len(self._pending)

    def _append(self, kind: str, run_id: str, fields: Mapping[str, Any], data: bytes | None = None) -> None:
        with self._change:
            if self._closing:
                raise ValueError("this tracker is closed")
            self._goes_on(run_id)
            try:
                self._journal = self._journal or new_journal(self._folder)
                entry = self._journal.append(kind, run_id, fields, data)
            except (OverflowError, UnicodeEncodeError) as error:
                _log.warning("the %s of run %r is lost, it cannot be stored: %s", kind, run_id, error)
                return
            except (OSError, sqlite3.Error) as error:
                # Training continues without the entry: a full disk must not end it.
                self._lost += 1
                if self._lost == 1:
                    _log.warning(
                        "the %s of run %s is lost, and so is what follows until there is room: %s cannot be "
                        "written (%s); make room there",
                        *(kind, run_id, self._folder, error),
                    )
                return
            if self._lost:
                _log.warning(
                    "%s can be written again; %d tracking entries were lost", self._folder, self._lost
                )
                self._lost = 0
            self._pending.append(entry)
            self._start_sending()
            self._change.notify_all()

    def _goes_on(self, run_id: str) -> None:
        if run_id not in self._going_on:
            self._going_on.add(run_id)
            self._drop_finishes({run_id})

    def _drop_finishes(self, runs: set[str]) -> None:
        """Give up the ``finish`` entries of earlier processes for runs that have been taken up since."""
        dropped = [entry for entry in self._pending if entry.kind == "finish" and entry.run in runs]
        for entry in dropped:
            self._pending.remove(entry)
            self._note_sent([entry])

    def _start_sending(self) -> None:
        # Not in the constructor: a finish left behind must not overtake the start of the same run.
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="ganlib-tracking", daemon=True)
            self._thread.start()

    def _send_all(self) -> None:
        pause, longest = self._pauses
        while batch := self._wait_for_batch():
            if self._sent(batch):
                pause = self._pauses[0]
                self._forget(batch)
            else:
                self._rest(pause)
                pause = min(2 * pause, longest)

    def _wait_for_batch(self) -> list[JournalEntry]:
        """The next entries to send; none when it is time to stop."""
        with self._change:
            self._change.wait_for(lambda: self._pending or self._closing)
            return [] if self._abandoned or not self._pending else self._next_batch()

    def _rest(self, seconds: float) -> None:
        with self._change:
            closing = self._closing
            self._change.wait_for(lambda: self._abandoned or self._closing != closing, timeout=seconds)

    def _next_batch(self) -> list[JournalEntry]:
        first = self._pending[0]
        if first.kind != "metrics":
            return [first]
        alike = takewhile(
            lambda e: (e.kind, e.run, e.journal) == ("metrics", first.run, first.journal), self._pending
        )
        return list(islice(alike, _BATCH))

    def _sent(self, batch: Sequence[JournalEntry]) -> bool:
        """Send a batch; ``False`` when it is worth another try."""
        try:
            self._send(batch)
        except RequestRefused as error:
            if len(batch) > 1:  # one bad entry must not take the others with it
                return all(self._sent([entry]) for entry in batch)
            self._log_given_up(batch, error)
        except ServiceError as error:
            _log.warning("%d tracking entries wait: %s", len(self._pending), error)
            return False
        except GanlibError as error:
            self._log_given_up(batch, error)
        except sqlite3.ProgrammingError:
            return False  # closed meanwhile: the next tracker sends it
        except Exception as error:  # noqa: BLE001 - a fault in tracking must end neither this thread nor training
            _log.exception("a fault while sending to the tracker")
            self._log_given_up(batch, error)
        return True

    def _send(self, batch: Sequence[JournalEntry]) -> None:
        entry, fields = batch[0], batch[0].fields
        match entry.kind:
            case "metrics":
                self._tracker.points(entry.run, [(e.fields["step"], e.fields["values"]) for e in batch])
            case "describe":
                self._tracker.describe(entry.run, fields["markdown"])
            case "finish":
                self._tracker.finish(entry.run, fields["status"])
            case "image":
                image = np.load(io.BytesIO(entry.journal.data(entry)), allow_pickle=False)
                self._tracker.image(entry.run, fields["key"], fields["step"], image)
            case "artifact":
                self._tracker.artifact(entry.run, fields["path"], entry.journal.data(entry))
            case _:
                raise ValueError(f"{entry.journal.path} holds an entry of unknown kind {entry.kind!r}")

    def _log_given_up(self, batch: Sequence[JournalEntry], error: Exception) -> None:
        kinds = ", ".join(sorted({entry.kind for entry in batch}))
        _log.warning("%d tracking entries (%s) are given up: %s", len(batch), kinds, error)

    def _forget(self, batch: Sequence[JournalEntry]) -> None:
        """Note on disk that a batch, the head of the queue, is done with."""
        with self._change:
            if self._abandoned:
                return
            for entry in batch:
                if self._pending and self._pending[0] is entry:
                    self._pending.popleft()
            self._note_sent(batch)
            self._change.notify_all()

    def _note_sent(self, batch: Sequence[JournalEntry]) -> None:
        try:
            batch[0].journal.note_sent(batch)
        except sqlite3.Error as error:  # then the next tracker sends them again
            _log.warning("cannot note what was sent to the tracker: %s", error)

    def _let_go(self) -> None:
        waiting = {id(entry.journal) for entry in self._pending}
        own = [self._journal] if self._journal is not None else []
        for journal in (*self._left_behind, *own):
            if id(journal) in waiting:
                journal.release()
            else:
                journal.remove()
