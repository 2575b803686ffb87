"""A preparation that a job on the cluster makes: what is asked for, and the rows of finished units.

All of it lies under ``datasets/NAME/preparing/KEY/`` until the version is made, so that a preparation that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from pydantic import Field

from ganlib.data.formats.entries import ObjectRange
from ganlib.data.picture_rows import as_parquet, read_rows
from ganlib.data.preparation import Preparation
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.data.units import Unit
from ganlib.data.work import PreparationWork
from ganlib.names import DatasetName, Sha256
from ganlib.ports import ObjectStore
from ganlib.records import Record


class PreparationTask(Record):
    """A preparation for the cluster."""

    name: DatasetName
    key: Sha256
    """:attr:`PreparationWork.key`."""
    preparation: Preparation
    most_refused: float = Field(ge=0, le=1)
    workers: int | None = Field(default=None, ge=1, le=100_000)
    """Most processes that decode; ``None``: one for each CPU of the cluster."""

    @property
    def job(self) -> str:
        """Identity of the job: the same task is not made twice at once."""
        return job_of(self.name, self.key)


def job_of(name: str, key: str) -> str:
    """Identity of the job that makes the preparation of a dataset with this key."""
    return f"prepare-{name}-{key[:16]}"


def write_preparation_task(store: ObjectStore, task: PreparationTask) -> None:
    """Leave the task for its job."""
    store.put(_key(task.name, task.key, "task.json"), task.to_json().encode())


def read_preparation_task(store: ObjectStore, name: str, key: str) -> PreparationTask:
    """The task of a job. Raises ``ObjectMissing`` and ``DataError``."""
    where = _key(name, key, "task.json")
    return PreparationTask.from_json(store.get(where), source=where)


def write_unit_rows(store: ObjectStore, name: str, key: str, unit: Unit, rows: pa.Table) -> None:
    """Keep the rows of a finished unit of a dataset's preparation, whose pixels are stored already."""
    store.put(_key(name, key, f"{unit.name}.parquet"), as_parquet(rows))


def find_unit_rows(work: PreparationWork, unit: Unit) -> pa.Table | None:
    """The rows of a unit, if it is finished. Raises ``DataError`` where they cannot be read."""
    where = _key(work.name, work.key, f"{unit.name}.parquet")
    found = (info for info in work.store.list(where) if info.key == where)
    return next((read_rows(ObjectRange(work.store, info)) for info in found), None)


def forget_units(work: PreparationWork, files: Iterable[str]) -> None:
    """Remove work files that were altered, and the rows of their units, so that these are decoded again.

    Args:
        work: The preparation.
        files: As :mod:`ganlib.data.pixel_files` names them; those of other preparations and of versions stay.
    """
    ours = f"preparing/{work.key}/"
    for file in files:
        if file.startswith(ours):
            unit = file.removeprefix(ours).partition("-")[0]
            work.store.delete(_key(work.name, work.key, f"{unit}.parquet"))
            work.store.delete(f"datasets/{work.name}/{file}")


def remove_work(store: ObjectStore, name: str, key: str) -> None:
    """Remove all that a preparation left for itself."""
    keys = [info.key for info in store.list(_key(name, key, ""))]
    for _ in ordered_map(store.delete, keys, threads=TRANSFER_THREADS, name="ganlib-remove"):
        pass


def _key(name: str, key: str, rest: str) -> str:
    return f"datasets/{name}/preparing/{key}/{rest}"
