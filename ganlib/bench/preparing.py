"""A dataset of photographs prepared by one and by two processes of the cluster: parts of the benchmark.

``python -m ganlib.bench.preparing make COUNT|prepare WORKERS|remove``. It needs S3 and the cluster. ``make``
adds a zip of different JPEGs of 640×480 as the dataset ``bench-photographs``, and ``remove`` takes it away.
"""

from __future__ import annotations

import itertools
import sys
import zipfile

from ganlib.bench.decoding import COUNT, SIZE, photograph
from ganlib.bench.parts import Measured, answer
from ganlib.bench.whole_commands import ganlib
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import begin_work
from ganlib.data.raw.add import add_dataset
from ganlib.data.raw.remove import plan_removal, remove_dataset
from ganlib.data.scratch import scratch_folder
from ganlib.data.versions import find_report
from ganlib.errors import JobFailed
from ganlib.ports import ObjectStore
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store

NAME = "bench-photographs"

_QUANTIZATION = b"\xff\xdb"
_FIRST_STEPS = 8
_ABOVE = 3


def make_photographs(settings: Settings, count: int) -> Measured:
    """Add ``count`` different photographs; returns how many there are."""
    store = open_store(settings)
    photographs = [photograph(number) for number in range(min(COUNT, count))]
    with scratch_folder(settings.scratch, "bench-") as folder:
        path = folder / "photographs.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number, change in zip(range(count), itertools.cycle(_changes()), strict=False):
                archive.writestr(f"{number:06}.jpg", varied(photographs[number % len(photographs)], change))
        added = add_dataset(
            store, NAME, str(path), open_store=lambda uri: store, scratch=folder / "add", replace=True
        )
    return Measured(value=sum(added.by_class.values()))


def varied(data: bytes, change: tuple[int, ...]) -> bytes:
    """The photograph with larger steps of its lowest frequencies: other pixels, without encoding it anew."""
    start = data.index(_QUANTIZATION) + 5
    steps = (min(255, step + more) for step, more in zip(data[start:], change, strict=False))
    return data[:start] + bytes(steps) + data[start + len(change) :]


def _changes() -> list[tuple[int, ...]]:
    return list(itertools.product(range(_ABOVE), repeat=_FIRST_STEPS))


def prepare_with(settings: Settings, workers: int) -> Measured:
    """Pictures a second with so many processes, from the job's first step to the version.

    Raises:
        JobFailed: The job left no version.
    """
    store = open_store(settings)
    remove_versions(store)
    way = Preparation(size=SIZE)
    ganlib("dataset", "prepare", NAME, "--size", str(SIZE), "--workers", str(workers))
    report = find_report(store, NAME, begin_work(store, NAME, way)[0].key)
    if report is None:
        raise JobFailed(f"prepare-{NAME}", "SUCCEEDED", "it left no report")
    return Measured(value=report.decoded / report.seconds, note=f"{report.pictures:,} pictures")


def remove_versions(store: ObjectStore) -> None:
    """Take away what was prepared, so that nothing is found or reused."""
    for info in list(store.list(f"datasets/{NAME}/")):
        store.delete(info.key)


def remove_photographs(settings: Settings) -> Measured:
    """Take the dataset away; returns its number of objects."""
    store = open_store(settings)
    plan = plan_removal(store, NAME, versions=True, used=True)
    remove_dataset(store, plan)
    remove_versions(store)
    return Measured(value=len(plan.raw))


if __name__ == "__main__":
    parts = {
        "make": lambda: make_photographs(load_settings(), int(sys.argv[2])),
        "prepare": lambda: prepare_with(load_settings(), int(sys.argv[2])),
        "remove": lambda: remove_photographs(load_settings()),
    }
    answer(parts[sys.argv[1]])
