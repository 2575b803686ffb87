"""Decoding units of pictures by many processes of the cluster, and counting the pictures meanwhile.

What a unit gives is stored before the unit counts as done, so whoever repeats it goes on where it stopped.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from ganlib.data.decoder import Decoder
from ganlib.data.layout import raw_prefix
from ganlib.data.pixel_files import PixelFiles
from ganlib.data.preparation import Preparation
from ganlib.data.preparation_task import find_unit_rows, write_unit_rows
from ganlib.data.units import Unit
from ganlib.data.work import PreparationWork
from ganlib.errors import DataError, GanlibError
from ganlib.settings import load_settings
from ganlib.storage import open_store

if TYPE_CHECKING:
    import pyarrow as pa

_TELL_EVERY_SECONDS = 0.2
_ASK_EVERY_SECONDS = 0.5

_MOST_DEATHS = 3
"""How often a process that decodes is replaced, and a unit that killed one is tried again."""

_THREADS = 8
"""Pictures in hand at once in a process: one is decoded while others wait for storage."""

_log = logging.getLogger(__name__)


class UnitProgress(NamedTuple):
    """How far a unit is."""

    name: str
    """The unit's name, as the preparation lists it."""
    pictures: int
    """Pictures of it that are done; of no meaning once it is finished."""
    finished: bool
    """Whether its rows are stored."""


class OnCluster:
    """Decodes units on the cluster; see :data:`ganlib.data.prepare.Decode`.

    Pictures are counted while their unit is decoded: a unit that is a whole archive may have millions.

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
        told: Counter[str] = Counter()
        for name, pictures, finished in self._decoded(work, list(rest.values())):
            if finished:
                rows = find_unit_rows(work, rest[name])
                if rows is None:
                    raise DataError(f"unit {name} of dataset {work.name!r} is gone; repeat the command")
                tables.append(rows)
                pictures = len(rows)
            # A unit whose process died begins anew, and is not counted again.
            if pictures > told[name]:
                count(pictures - told[name])
                told[name] = pictures
        return tables, PixelFiles(work.store, work.name, work.shape)

    @staticmethod
    def _finished(work: PreparationWork, unit: Unit) -> pa.Table | None:
        """The rows of a unit that an interrupted job finished; rows that were altered are decoded again."""
        try:
            return find_unit_rows(work, unit)
        except DataError as error:
            _log.warning("unit %s of dataset %s is decoded again: %s", unit.name, work.name, error)
            return None

    def _decoded(self, work: PreparationWork, units: Sequence[Unit]) -> Iterator[UnitProgress]:
        """How far units are, as it becomes known; last of each that it is finished."""
        if not units:
            return
        import ray

        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        most = min(len(units), self._workers or cpus)
        tally: Any = ray.remote(num_cpus=0)(Tally).remote()
        items = [{"unit": unit.to_json()} for unit in units]
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        decoded = ray.data.from_items(items, override_num_blocks=len(items)).map(
            UnitDecoder,
            fn_constructor_args=(work.name, work.preparation.to_json(), work.shape[0], work.key, tally),
            concurrency=(1, most, most),  # all are asked for at once; the first decodes while others start
            num_cpus=1,
            # Without bounds, a picture that kills its process would be tried for ever.
            max_restarts=_MOST_DEATHS,
            max_task_retries=_MOST_DEATHS,
        )
        try:
            for row in waited_for(decoded.iter_rows()):
                if row is None:
                    counts: dict[str, int] = ray.get(tally.counts.remote())
                    yield from (UnitProgress(name, pictures, False) for name, pictures in counts.items())
                    continue
                if row["error"]:
                    raise DataError(row["error"])
                yield UnitProgress(row["name"], 0, True)
        except ray.exceptions.RayError as error:
            raise DataError(
                f"processes that decode pictures of dataset {work.name!r} died {_MOST_DEATHS + 1} times or "
                f"could not start: {' '.join(str(error).split())[:300]}. What is done stays; give the nodes "
                "more memory or take out the picture that kills them, and repeat the command"
            ) from error


class Tally:
    """Pictures that are done, by the unit: an actor that the processes which decode tell of them."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}

    def tell(self, unit: str, pictures: int) -> None:
        """Take how many pictures of a unit are done."""
        self._done[unit] = pictures

    def counts(self) -> dict[str, int]:
        """Pictures by unit, of those that have told more since the last call."""
        told, self._done = self._done, {}
        return told


def waited_for(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any] | None]:
    """Rows as they come, and ``None`` whenever none came for :data:`_ASK_EVERY_SECONDS`.

    They are asked for in a thread, which ends with the process; what is raised there is raised here.
    """
    came: SimpleQueue[dict[str, Any] | Exception | None] = SimpleQueue()

    def ask() -> None:
        try:
            for row in rows:
                came.put(row)
            came.put(None)
        except Exception as error:  # noqa: BLE001 - it is raised where the rows are read
            came.put(error)

    threading.Thread(target=ask, name="ganlib-units", daemon=True).start()
    while True:
        try:
            row = came.get(timeout=_ASK_EVERY_SECONDS)
        except Empty:
            yield None
            continue
        if row is None:
            return
        if isinstance(row, Exception):
            raise row
        yield row


class UnitDecoder:
    """A process of the cluster that decodes units.

    Args:
        name: The dataset.
        preparation: As JSON.
        channels: Of the prepared pictures.
        key: Of the preparation.
        tally: The actor :class:`Tally`; ``None``: nobody is told.
    """

    def __init__(self, name: str, preparation: str, channels: int, key: str, tally: Any = None) -> None:
        self._store, self._name, self._key = open_store(load_settings()), name, key
        self._tally = tally
        made = Preparation.from_json(preparation, source="the task")
        files = PixelFiles(self._store, name, (channels, made.size, made.size))
        self._decoder = Decoder(files, raw_prefix(name), made, _THREADS, 1, key)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """Decode a unit, given as JSON, and store its rows; gives its name, or an error in one line."""
        unit = Unit.from_json(row["unit"], source="a unit")
        try:
            rows = self._decoder.decode(unit, self._teller(unit.name))
            write_unit_rows(self._store, self._name, self._key, unit, rows)
        except GanlibError as error:
            return {"name": unit.name, "error": str(error)}
        return {"name": unit.name, "error": ""}

    def _teller(self, unit: str) -> Callable[[int], None]:
        """Counts the pictures of a unit, and tells the tally now and then."""
        done, told = 0, time.monotonic()

        def count(pictures: int) -> None:
            nonlocal done, told
            done += pictures
            if self._tally is not None and time.monotonic() - told >= _TELL_EVERY_SECONDS:
                told = time.monotonic()
                self._tally.tell.remote(unit, done)  # nobody waits for it

        return count
