"""The preparation job: the pictures of a dataset are decoded by many processes of the cluster.

``python -m ganlib.jobs.prepare_dataset NAME KEY`` on the cluster. Ray Data hands out units of some hundred
pictures and replaces processes that die. What a unit gives is stored before the unit counts as done, so a job
that died goes on where it stopped. The job's own process divides, merges and publishes
(:mod:`ganlib.data.publishing`); its memory grows by some hundred bytes a picture, and that of the others not
at all.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ganlib.cluster.lines import Say, StageProgress
from ganlib.data.decoder import Decoder
from ganlib.data.layout import raw_prefix
from ganlib.data.pixel_files import PixelFiles
from ganlib.data.preparation import Preparation
from ganlib.data.preparation_task import (
    PreparationTask,
    find_unit_rows,
    read_preparation_task,
    remove_work,
    write_preparation_task,
    write_unit_rows,
)
from ganlib.data.prepare import Progress, begin_work, find_finished, plan_work, prepare_work
from ganlib.data.units import DecodingPlan, Unit
from ganlib.data.work import PreparationWork
from ganlib.errors import ConfigError, DataError, GanlibError
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store

if TYPE_CHECKING:
    import pyarrow as pa

CLUSTER_PICTURES = 20_000
"""From so many new pictures on, a dataset is prepared by the cluster: below, a job takes longer to start than
one process to decode them."""

_TELL_EVERY_SECONDS = 0.2

_log = logging.getLogger(__name__)

_MOST_DEATHS = 3
"""How often a process that decodes is replaced, and a unit that killed one is tried again."""

_THREADS = 8
"""Pictures in hand at once in a process: one is decoded while others wait for storage."""


class Prepared(NamedTuple):
    """A version, and the preparation that gave it."""

    version: DatasetVersion
    key: str
    """By which the preparation's report is found (:func:`ganlib.data.versions.find_report`)."""


def prepare_anywhere(
    settings: Settings,
    store: ObjectStore,
    name: str,
    preparation: Preparation,
    *,
    progress: Progress,
    on_line: Callable[[str], None],
    most_refused: float,
    workers: int | None = None,
) -> Prepared:
    """Prepare a dataset in this process if it is small, and by a job of the cluster otherwise.

    Args:
        settings: Where the cluster is.
        store: Has the dataset.
        name: A dataset that was added.
        preparation: How.
        progress: Told how many pictures are done in this process.
        on_line: Gets the lines of the job's log.
        most_refused: Largest share of the pictures that may be refused, 0 to 1.
        workers: 0: in this process; from 1 on, by so many processes of the cluster; ``None``: by the number
            of new pictures.

    Raises:
        ConfigError: Several processes are asked for to prepare IDX files.
        GanlibError: As :func:`ganlib.data.prepare.prepare` and :func:`ganlib.cluster.launch.run_job`.
    """
    work, objects = begin_work(store, name, preparation)
    if work.raw.format == "idx" and workers:
        raise ConfigError(
            f"--workers {workers} cannot be used: dataset {name!r} is of IDX files, which one process "
            "prepares in seconds; leave it out"
        )
    version = find_finished(work, most_refused)
    if version is not None:
        # A job may have died between the version and this.
        remove_work(store, name, work.key)
        return Prepared(version, work.key)
    plan: DecodingPlan | None = None
    known = len(objects) + sum(work.raw.containers.values())
    if workers is None and work.raw.format == "pictures" and known >= CLUSTER_PICTURES:
        plan = plan_work(work, objects)
    large = plan is not None and plan.pictures >= CLUSTER_PICTURES
    if work.raw.format == "idx" or not (workers or large):
        version = prepare_work(
            work, objects, progress, scratch=settings.scratch, most_refused=most_refused, plan=plan
        )
        return Prepared(version, work.key)
    # Imported here: asking for a job needs Ray's client, which takes a second.
    from ganlib.cluster.launch import run_job

    task = PreparationTask(
        name=name, key=work.key, preparation=preparation, most_refused=most_refused, workers=workers
    )
    write_preparation_task(store, task)
    run_job(settings, task.job, ["ganlib.jobs.prepare_dataset", name, work.key], on_line)
    version = find_finished(work, most_refused)
    if version is None:
        raise DataError(f"job {task.job} left no version of dataset {name!r}; repeat the command")
    return Prepared(version, work.key)


def main(name: str, key: str) -> None:
    """Prepare a dataset as its task says.

    Raises:
        DataError: The raw pictures have changed since the task was given.
    """
    from ganlib.cluster.program import connect, emit

    settings = load_settings()
    store = open_store(settings)
    task = read_preparation_task(store, name, key)
    work, objects = begin_work(store, name, task.preparation)
    if work.key != key:
        raise DataError(f"the raw pictures of dataset {name!r} have changed since; prepare it again")
    connect()
    version = prepare_work(
        work,
        objects,
        PictureCount(emit),
        scratch=settings.scratch,
        most_refused=task.most_refused,
        decode=OnCluster(task.workers),
    )
    remove_work(store, name, key)
    emit(f"dataset {name} version {version.digest}")


class PictureCount:
    """Tells a log how many pictures are done, some times a second.

    Args:
        say: Puts it into the log.
    """

    def __init__(self, say: Say) -> None:
        self._say, self._started, self._told = say, time.monotonic(), -math.inf

    def __call__(self, done: int, total: int) -> None:
        """Take the count; the first and the last one are told at once."""
        now = time.monotonic()
        if now - self._told < _TELL_EVERY_SECONDS and done < total:
            return
        self._told = now
        rate = done / max(1e-3, now - self._started)
        left = int((total - done) / rate) if rate else None
        self._say(
            StageProgress(
                stage="prepare",
                share=done / total if total else None,
                images=done,
                total_images=total,
                rate=rate,
                seconds_left=left,
            )
        )


class OnCluster:
    """Decodes units on the cluster; see :data:`ganlib.data.prepare.Decode`.

    Args:
        workers: Most processes; ``None``: one for each CPU.
    """

    def __init__(self, workers: int | None) -> None:
        self._workers = workers

    def __call__(
        self, work: PreparationWork, units: Sequence[Unit], folder: Path, count: Callable[[int], None]
    ) -> tuple[list[pa.Table], PixelFiles]:
        """Decode units that are not finished yet; the rows of all, and the files of pixels in the store."""
        tables: list[pa.Table] = []
        rest: dict[str, Unit] = {}
        for unit in units:
            rows = self._finished(work, unit)
            if rows is None:
                rest[unit.name] = unit
            else:
                tables.append(rows)
                count(len(rows))
        for name in self._decoded(work, list(rest.values())):
            rows = find_unit_rows(work, rest[name])
            if rows is None:
                raise DataError(f"unit {name} of dataset {work.name!r} is gone; repeat the command")
            tables.append(rows)
            count(len(rows))
        return tables, PixelFiles(work.store, work.name, work.shape)

    @staticmethod
    def _finished(work: PreparationWork, unit: Unit) -> pa.Table | None:
        """The rows of a unit that an interrupted job finished; rows that were altered are decoded again."""
        try:
            return find_unit_rows(work, unit)
        except DataError as error:
            _log.warning("unit %s of dataset %s is decoded again: %s", unit.name, work.name, error)
            return None

    def _decoded(self, work: PreparationWork, units: Sequence[Unit]) -> Any:
        """Names of units as they are finished."""
        if not units:
            return
        import ray

        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        most = min(len(units), self._workers or cpus)
        items = [{"unit": unit.to_json()} for unit in units]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        decoded = ray.data.from_items(items, override_num_blocks=len(items)).map(
            UnitDecoder,
            fn_constructor_args=(work.name, work.preparation.to_json(), work.shape[0], work.key),
            concurrency=(1, most, most),  # all are asked for at once; the first decodes while others start
            num_cpus=1,
            # Without bounds, a picture that kills its process would be tried for ever.
            max_restarts=_MOST_DEATHS,
            max_task_retries=_MOST_DEATHS,
        )
        try:
            for row in decoded.iter_rows():
                if row["error"]:
                    raise DataError(row["error"])
                yield row["name"]
        except ray.exceptions.RayError as error:
            raise DataError(
                f"processes that decode pictures of dataset {work.name!r} died {_MOST_DEATHS + 1} times or "
                f"could not start: {' '.join(str(error).split())[:300]}. What is done stays; give the nodes "
                "more memory or take out the picture that kills them, and repeat the command"
            ) from error


class UnitDecoder:
    """A process of the cluster that decodes units.

    Args:
        name: The dataset.
        preparation: As JSON.
        channels: Of the prepared pictures.
        key: Of the preparation.
    """

    def __init__(self, name: str, preparation: str, channels: int, key: str) -> None:
        self._store, self._name, self._key = open_store(load_settings()), name, key
        made = Preparation.from_json(preparation, source="the task")
        files = PixelFiles(self._store, name, (channels, made.size, made.size))
        self._decoder = Decoder(files, raw_prefix(name), made, _THREADS, 1, key)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Decode a unit, given as JSON, and store its rows; gives its name, or an error in one line."""
        unit = Unit.from_json(row["unit"], source="a unit")
        try:
            write_unit_rows(self._store, self._name, self._key, unit, self._decoder.decode(unit))
        except GanlibError as error:
            return {"name": unit.name, "error": str(error)}
        return {"name": unit.name, "error": ""}


if __name__ == "__main__":
    from ganlib.cluster.program import run_main

    run_main(main)
