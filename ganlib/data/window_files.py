"""The shards of a run's windows on a node, shared by its workers: fetched ahead, and removed behind them.

::

    CACHE/datasets/NAME/shards/…        shards of the windows at hand
    CACHE/datasets/NAME/windows/E-N     window N of epoch E: locked, shared, by each worker that reads it

NAME is a SHA-256 of the run and the version, so that :mod:`ganlib.data.eviction` counts the folder as a
version of its own. Its lock is held by the one worker that removes and fetches. A window is removed once no
worker has it at hand.

Workers train in step: none moves on from a window before all have read the last batch in it. So whoever
fetches waits for the others' next step only, and that step needs nothing which is not there.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ganlib.data.cache import cache_of, fetch_missing
from ganlib.data.eviction import Hold, make_room
from ganlib.data.order import Window
from ganlib.data.scratch import locked
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Shard

_AGAIN_SECONDS = 0.05
"""Seconds between two looks at another process's lock: a wait for the lock itself could not be ended."""


class WindowFiles:
    """Keeps some windows of a version's training shards at hand, for one worker.

    Args:
        store: Holds the version.
        version: What is trained on.
        shards: Its training shards, in order.
        folder: The run's folder in the cache.
        size: Bytes to reserve in the cache: the most that the windows to keep ever have.
        limit: Most bytes of everything in the cache; ``None``: as many as the disk takes.

    Raises:
        DataError: The cache cannot be written, or has no room.
    """

    def __init__(
        self,
        store: ObjectStore,
        version: DatasetVersion,
        shards: Sequence[Shard],
        folder: Path,
        *,
        size: int,
        limit: int | None,
    ) -> None:
        self._store, self._version, self._shards, self._folder = store, version, tuple(shards), folder
        self._lock = folder.with_name(f"{folder.name}.lock")
        with cache_of(folder), locked(self._lock):
            self._hold = Hold(folder)
            make_room(folder, self._hold, size, limit, f"dataset {version.name}, streamed,")
            for name in ("shards", "windows"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        self._changed = threading.Condition()
        self._windows: tuple[Window, ...] = ()
        self._held: dict[str, int] = {}
        """Open files of windows that this worker holds, by name."""
        self._there: set[int] = set()
        """Shards of the windows to keep that are fetched and verified."""
        self._pending = False
        """Whether the windows to keep have changed since the thread looked."""
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._fetch_stop = threading.Event()
        """Ends the fetch on its way; a fetch that fails sets it, too."""
        self._thread = threading.Thread(target=self._work, name="ganlib-windows", daemon=True)
        self._thread.start()

    def keep(self, windows: Sequence[Window]) -> None:
        """Have these windows fetched in this order, and let go of all others; returns at once.

        The caller no longer refers to the pictures of those others.
        """
        with self._changed:
            self._windows = tuple(windows)
            self._there &= {shard for window in windows for shard in window.shards}
            names = {_name(window) for window in windows}
            for name in self._held.keys() - names:
                os.close(self._held.pop(name))
            self._error, self._pending = None, True
            self._changed.notify_all()

    def path_of(self, shard: int) -> Path:
        """Wait until a shard of the kept windows is there.

        Args:
            shard: Its number among the training shards.

        Raises:
            GanlibError: It cannot be fetched or kept; as of :func:`~ganlib.data.cache.pull`.
            RuntimeError: No kept window has it, or this is closed.
        """
        with self._changed:
            if not any(shard in window.shards for window in self._windows):
                raise RuntimeError(f"shard {shard} is in none of the windows {self._windows}")
            if shard not in self._there and self._error is not None:
                # It was to be there early, and that failed; the store may answer by now.
                self._error, self._pending = None, True
                self._changed.notify_all()
            self._changed.wait_for(lambda: shard in self._there or self._error or self._stop.is_set())
            if shard in self._there:
                return self._folder / self._shards[shard].path
            if self._error is not None:
                raise self._error
            raise RuntimeError(f"the windows of {self._folder} are closed")

    def close(self) -> None:
        """End the thread and hold nothing any longer; what is there stays until others need the room."""
        with self._changed:
            self._stop.set()
            self._fetch_stop.set()
            self._changed.notify_all()
        self._thread.join()
        for file in self._held.values():
            os.close(file)
        self._held = {}
        self._hold.release()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._stop.is_set())
                if self._stop.is_set():
                    return
                self._pending, windows = False, self._windows
                self._fetch_stop = threading.Event()
            try:
                with cache_of(self._folder):
                    for window in windows:
                        self._bring(window, windows)
            except Exception as error:  # noqa: BLE001  raised where its pictures are waited for
                with self._changed:
                    # A failure of a window that nobody waits for any longer is not told.
                    self._error = error if self._windows == windows else self._error
                    self._changed.notify_all()

    def _bring(self, window: Window, windows: tuple[Window, ...]) -> None:
        """Fetch one of the windows to keep, unless they change meanwhile."""
        shards = [self._shards[number] for number in window.shards]
        while not (self._outdated(windows) or self._stop.is_set()):
            with ExitStack() as stack:
                if self._is_my_turn(stack, windows):
                    fetch_missing(self._store, self._version, shards, self._folder, stop=self._fetch_stop)
                    break
            self._stop.wait(_AGAIN_SECONDS)
        else:
            return
        with self._changed:
            # A fetch that was ended early left some out.
            if self._windows == windows and not self._stop.is_set():
                self._there |= set(window.shards)
                self._changed.notify_all()

    def _outdated(self, windows: tuple[Window, ...]) -> bool:
        with self._changed:
            return self._windows != windows

    def _is_my_turn(self, stack: ExitStack, windows: tuple[Window, ...]) -> bool:
        """Lock the folder, hold the windows, and remove all others; false while another worker has one."""
        try:
            stack.enter_context(locked(self._lock, wait=False))
        except BlockingIOError:
            return False
        with self._changed:
            if self._windows != windows:
                return False
            for window in windows:
                self._take(_name(window))
        names = {_name(window) for window in windows}
        others = [path for path in (self._folder / "windows").iterdir() if path.name not in names]
        if not all(_remove_unless_held(path) for path in others):
            return False
        kept = {Path(self._shards[number].path).name for window in windows for number in window.shards}
        for path in (self._folder / "shards").iterdir():
            # With .part and .blocks of those that are on their way.
            if path.name.removesuffix(".part").removesuffix(".blocks") not in kept:
                path.unlink()
        return True

    def _take(self, name: str) -> None:
        """Hold a window; at once, since it is held against others only by who has locked the folder."""
        if name not in self._held:
            file = os.open(self._folder / "windows" / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._held[name] = file
            fcntl.flock(file, fcntl.LOCK_SH)


def _name(window: Window) -> str:
    return f"{window.epoch}-{window.number}"


def _remove_unless_held(path: Path) -> bool:
    """Remove a window's file; the caller has locked the folder, so that nobody opens it meanwhile."""
    try:
        with locked(path, wait=False):
            path.unlink()
    except BlockingIOError:
        return False
    return True
