"""Room in the cache of dataset versions: the least recently used ones go first, never one that is in use.

::

    CACHE/datasets/DIGEST/        a version
    CACHE/datasets/DIGEST.lock    held by the process that brings it, or removes it
    CACHE/datasets/DIGEST.use     held, shared, by every process that uses it; its content is the bytes that
                                  the version takes when it is whole, its time that of the last use
    CACHE/datasets/room.lock      held by the process that makes room
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import uuid
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from ganlib.data.scratch import locked
from ganlib.errors import DataError, DiskFull

SPARE_BYTES = 10**9
"""Versions leave until this much of the disk is free: the services need it, as do other programs."""

_GONE = ".gone-"


class Hold:
    """A version in use by this process, until this object is no longer referred to or the process dies.

    Args:
        folder: The version's folder; the caller holds its ``.lock``.

    Raises:
        OSError: The file beside it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(_use(folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        # The system releases it with the last copy of the descriptor, those of forked processes among them.
        self.release = weakref.finalize(self, _release, self._file)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def note(self, size: int) -> None:
        """Note the bytes that the version takes when it is whole, so that others leave room for them."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(size).encode(), 0)


def _release(file: int) -> None:
    os.utime(file)
    os.close(file)


class _Cached(NamedTuple):
    """Another version in the cache."""

    last_used: float
    folder: Path
    there: int
    """Bytes on disk."""
    size: int
    """Bytes on disk once it is whole."""


def make_room(folder: Path, hold: Hold, needed: int, limit: int | None, what: str) -> None:
    """Remove other versions until one fits, within the limit and on the disk; reserve its room.

    Either enough is removed or nothing is.

    Args:
        folder: The version's folder; made when it does not exist.
        hold: The hold on it.
        needed: Bytes of the whole version.
        limit: Most bytes of all versions; ``None``: as many as the disk takes.
        what: The version, for messages.

    Raises:
        DataError: It is larger than the limit, or the others are in use.
        DiskFull: The disk has too little room, even without the versions that are not in use.
    """
    if limit is not None and needed > limit:
        raise DataError(
            f"{what} has {in_words(needed)} and cannot be cached: GANLIB_CACHE_BYTES is {in_words(limit)}; "
            "raise it"
        )
    with locked(folder.with_name("room.lock")), ExitStack() as locks:
        for left in folder.parent.glob(f"*{_GONE}*"):
            shutil.rmtree(left)  # by a process that died
        others = sorted(_cached(other) for other in _versions(folder.parent) if other != folder)
        total = needed + sum(other.size for other in others)
        free = shutil.disk_usage(folder.parent).free - sum(other.size - other.there for other in others)
        missing = needed - _bytes_in(folder)
        leaving: list[Path] = []
        for other in others:
            if (limit is None or total <= limit) and free >= missing + SPARE_BYTES:
                break
            if _lock_unused(other.folder, locks):
                leaving.append(other.folder)
                total, free = total - other.size, free + other.size
        if limit is not None and total > limit:
            raise DataError(
                f"{what} has {in_words(needed)} and finds no room in the cache: GANLIB_CACHE_BYTES is "
                f"{in_words(limit)}, and {in_words(total - needed)} of it are in use by other runs; wait "
                "for them, or raise it"
            )
        if free < missing:
            raise DiskFull(folder.parent, max(0, free), missing)
        for gone in leaving:
            # Renamed first: nobody ever finds half of it.
            aside = gone.with_name(f"{gone.name}{_GONE}{uuid.uuid4().hex[:8]}")
            gone.rename(aside)
            shutil.rmtree(aside)
        hold.note(needed)
        # Now, since whoever makes room next counts the folders.
        folder.mkdir(exist_ok=True)


def _versions(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]


def _cached(folder: Path) -> _Cached:
    there, use = _bytes_in(folder), _use(folder)
    try:
        noted, last_used = use.read_text(), use.stat().st_mtime
    except FileNotFoundError:  # brought by an earlier version of ganlib
        noted, last_used = "", folder.stat().st_mtime
    return _Cached(last_used, folder, there, max(there, int(noted) if noted.isdigit() else 0))


def _bytes_in(folder: Path) -> int:
    """Bytes on disk, without the holes of files that are half there."""
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.lstat().st_blocks * 512
        except FileNotFoundError:  # renamed meanwhile by the process that brings it
            continue
    return found


def _lock_unused(folder: Path, locks: ExitStack) -> bool:
    """Lock a version unless it is in use, or on its way."""
    mine = ExitStack()
    try:
        mine.enter_context(locked(folder.with_name(folder.name + ".lock"), wait=False))
        mine.enter_context(locked(_use(folder), wait=False))
    except BlockingIOError:
        mine.close()
        return False
    locks.push(mine.__exit__)
    return True


def _use(folder: Path) -> Path:
    return folder.with_name(folder.name + ".use")


def in_words(count: int) -> str:
    """A number of bytes for messages."""
    if count >= 10**9:
        return f"{count / 1e9:,.1f} GB"
    return f"{count / 1e6:.4g} MB" if count >= 10**6 else f"{count:,} bytes"
