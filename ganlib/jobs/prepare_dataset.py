"""The preparation job: the pictures of a dataset are decoded by many processes of the cluster.

``python -m ganlib.jobs.prepare_dataset NAME KEY`` on the cluster. Ray Data hands out units of some hundred
pictures and replaces processes that die (:mod:`ganlib.jobs.unit_decoding`). What a unit gives is stored
before the unit counts as done, so a job that died goes on where it stopped. The job's own process divides,
merges and publishes (:mod:`ganlib.data.publishing`); its memory grows by some hundred bytes a picture, and
that of the others not at all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from ganlib.cluster.lines import Say, StageProgress
from ganlib.data.preparation import Preparation
from ganlib.data.preparation_task import (
    PreparationTask,
    read_preparation_task,
    remove_work,
    write_preparation_task,
)
from ganlib.data.prepare import Progress, begin_work, find_finished, plan_work, prepare_work
from ganlib.data.units import DecodingPlan
from ganlib.errors import ConfigError, DataError
from ganlib.jobs.unit_decoding import OnCluster
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store

CLUSTER_PICTURES = 20_000
"""From so many new pictures on, a dataset is prepared by the cluster: below, a job takes longer to start than
one process to decode them."""

_TELL_EVERY_SECONDS = 0.2


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


if __name__ == "__main__":
    from ganlib.cluster.program import run_main

    run_main(main)
