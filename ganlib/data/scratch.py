"""Folders for work in progress, removed afterwards, and by the next process if this one is killed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from safetensors import SafetensorError

from ganlib.errors import DataError

_LOCK = ".lock"


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[IO[str]]:
    """Hold a lock between processes; the system frees it when a process dies. The file's content stays.

    Raises:
        BlockingIOError: It is held and ``wait`` is false.
    """
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield handle


@contextmanager
def scratch_folder(parent: Path | None, prefix: str) -> Iterator[Path]:
    """A new empty folder, removed at the end; those that killed processes left in ``parent`` go too.

    Args:
        parent: Created if need be, and meant for these folders alone; the system's temporary folder
            when ``None``.
        prefix: Begins the folder's name.

    Raises:
        DataError: The disk is full or refuses, now or while the folder is used.
    """
    where = parent or Path(tempfile.gettempdir())
    try:
        if parent is None:
            with tempfile.TemporaryDirectory(prefix=prefix) as folder:
                yield Path(folder)
            return
        parent.mkdir(parents=True, exist_ok=True)
        with locked(parent / _LOCK):
            _remove_abandoned(parent)
            holder = tempfile.TemporaryDirectory(dir=parent, prefix=prefix)
            mine = locked(Path(holder.name, _LOCK))
            mine.__enter__()
        try:
            work = Path(holder.name, "work")
            work.mkdir()
            yield work
        finally:
            holder.cleanup()
            mine.__exit__(None, None, None)
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"{where} cannot be worked in: {error}. Make room there, or choose another folder"
        ) from error


def _remove_abandoned(parent: Path) -> None:
    for lock in parent.glob(f"*/{_LOCK}"):
        try:
            with locked(lock, wait=False):
                shutil.rmtree(lock.parent)
        except (BlockingIOError, FileNotFoundError):
            # Somebody works there, or has just finished.
            continue
