"""Leftovers of interrupted preparations in the object store that no preparation will take up again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ganlib.data.preparation_task import job_of, read_preparation_task, remove_work
from ganlib.data.prepare import begin_work
from ganlib.errors import ConfigError, DataError
from ganlib.ports import ObjectStore


@dataclass(frozen=True)
class UnfinishedWork:
    """Work of a preparation that was made of other raw pictures than the dataset has now."""

    name: str
    """The dataset."""
    key: str
    """The preparation's key."""
    bytes: int
    """Size of its objects."""

    @property
    def job(self) -> str:
        """The job that may be at work on it."""
        return job_of(self.name, self.key)


def outdated_work(store: ObjectStore, name: str) -> list[UnfinishedWork]:
    """Unfinished work of a dataset that no longer fits its raw pictures, in the order of the keys."""
    sizes: dict[str, int] = {}
    prefix = f"datasets/{name}/preparing/"
    for info in store.list(prefix):
        key = info.key.removeprefix(prefix).partition("/")[0]
        if re.fullmatch("[0-9a-f]{64}", key):
            sizes[key] = sizes.get(key, 0) + info.size
    return [UnfinishedWork(name, key, size) for key, size in sizes.items() if not _fits(store, name, key)]


def discard_work(store: ObjectStore, works: list[UnfinishedWork], at_work: Callable[[str], bool]) -> int:
    """Remove unfinished work, except that of jobs which are at work.

    Args:
        store: Holds it.
        works: As :func:`outdated_work` gives it.
        at_work: Whether a job is waiting or running; asked before anything of its work is removed.

    Returns:
        How many preparations' work was removed.
    """
    removed = 0
    for work in works:
        if not at_work(work.job):
            remove_work(store, work.name, work.key)
            removed += 1
    return removed


def _fits(store: ObjectStore, name: str, key: str) -> bool:
    """Whether the preparation that left the work would have the same key now."""
    try:
        preparation = read_preparation_task(store, name, key).preparation
        return begin_work(store, name, preparation)[0].key == key
    except (ConfigError, DataError):
        # Its task or the dataset is gone or damaged, so nothing can go on with it.
        return False
