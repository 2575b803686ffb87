"""PreparationWork a dataset: raw pictures of any size become shards of one size, once.

::

    raw objects ──plan──▶ units ──decode──▶ rows and sorted files of pixels ──label, split, merge──▶ version

The result is a :class:`~ganlib.records.DatasetVersion`, named by its content, with a
:class:`~ganlib.data.preparation.PreparationReport` and the rows of all pictures beside it. The held-out split
is part of the version: the ``t10k`` files of IDX datasets, whole groups where groups are known, what the
source's own files hold out, and else about a tenth of the pictures by their content
(:mod:`ganlib.data.split`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ganlib.config.parts import MOST_REFUSED
from ganlib.data.assembly import PixelsAltered
from ganlib.data.idx_set import open_idx_set
from ganlib.data.labelling.dataset_labels import takes
from ganlib.data.layout import RawDataset, describe_raw, format_of, raw_objects, raw_prefix
from ganlib.data.picture_rows import join_rows
from ganlib.data.pixel_files import PixelFiles
from ganlib.data.preparation import Preparation, PreparationReport
from ganlib.data.preparation_task import forget_units
from ganlib.data.publishing import check_refused, publish_rows
from ganlib.data.scratch import scratch_folder
from ganlib.data.threads import TRANSFER_THREADS, decode_threads
from ganlib.data.units import DecodingPlan, Unit, plan_units
from ganlib.data.versions import (
    find_known_rows,
    find_prepared,
    find_report,
    load_version,
    versions,
    write_version,
)
from ganlib.data.work import DECODER, PreparationWork
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import DatasetVersion, digest_of

__all__ = ["decode_here", "load_version", "prepare", "versions"]

# Counted up when the same pictures would be divided otherwise.
_SPLIT = 3

_MOST_NAMED = 5
_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with pictures done and pictures in all."""


Decode = Callable[
    [PreparationWork, Sequence[Unit], Path, Callable[[int], None]], tuple[list[pa.Table], PixelFiles]
]
"""Decodes units, telling how many more pictures are done; gives their rows, and the files of pixels."""


def decode_here(
    work: PreparationWork, units: Sequence[Unit], folder: Path, count: Callable[[int], None]
) -> tuple[list[pa.Table], PixelFiles]:
    """Decode in threads of this process, into files of a folder; see :data:`Decode`."""
    files = PixelFiles(work.store, work.name, work.shape, folder)
    # More threads than processors: some wait for storage while others decode.
    decoder = work.decoder(files, TRANSFER_THREADS, decode_threads())
    return [decoder.decode(unit, count) for unit in units], files


def prepare(
    store: ObjectStore,
    name: str,
    preparation: Preparation,
    progress: Progress | None = None,
    *,
    scratch: Path | None = None,
    most_refused: float = MOST_REFUSED,
    decode: Decode = decode_here,
) -> DatasetVersion:
    """Make a version of a dataset, or find the one that was made of the same raw objects before.

    Memory stays bounded (a shard, the pictures being decoded, and some hundred bytes for each picture).
    Pixels lie in ``scratch`` until all are known, and shards until all are made, since the version is named
    by all of them: room for twice the version is needed. Interrupted, it leaves no version, and repeating it
    finishes.

    A picture that cannot be used is refused, and listed in the report. Exact copies, pictures with the same
    prepared pixels and label, are kept once. Pictures that the last preparation in the same way decoded are
    not decoded again, unless their pixels in the store were altered since.

    Args:
        store: Holds the raw objects and receives the version.
        name: A dataset that was added.
        preparation: Size, channels, fit, background.
        progress: Called in this thread with pictures done and pictures to do; not at all when the version is
            found.
        scratch: Folder for this work and for nothing else; the system's temporary folder when ``None``.
        most_refused: Largest share of the pictures that may be refused, 0 to 1.
        decode: Where pictures are decoded.

    Raises:
        UnknownName: No dataset of this name was added.
        DataError: It was added in part only, has no pictures, or more than ``most_refused`` of them cannot be
            used.
    """
    work, objects = begin_work(store, name, preparation)
    found = find_finished(work, most_refused)
    if found is not None:
        return found
    return prepare_work(work, objects, progress, scratch=scratch, most_refused=most_refused, decode=decode)


def prepare_work(
    work: PreparationWork,
    objects: Mapping[str, ObjectInfo],
    progress: Progress | None = None,
    *,
    scratch: Path | None = None,
    most_refused: float = MOST_REFUSED,
    decode: Decode = decode_here,
    plan: DecodingPlan | None = None,
) -> DatasetVersion:
    """Make the version of some work, which is not looked for.

    Args:
        work: As :func:`begin_work` gives it.
        objects: The raw objects by relative path.
        progress: As in :func:`prepare`, and so are the others.
        plan: The pictures to decode, where they are known already.
    """
    started = time.monotonic()
    counter = _Counter(progress)
    with scratch_folder(scratch, f"prepare-{work.name}-") as folder:
        if work.raw.format == "idx":
            return _prepare_idx(work, objects, folder, counter, started)
        plan = plan or plan_work(work, objects)
        counter.total = plan.pictures
        tables, files = decode(work, plan.units, folder, counter.count)
        try:
            return publish_rows(work, plan.rows, tables, files, folder, most_refused, started)
        except PixelsAltered as error:
            altered = error.files
        again, known_decoded = _plan_again(work, objects, plan, tables, altered)
        counter.total += again.pictures
        tables, files = decode(work, again.units, folder, counter.count)
        return publish_rows(
            work,
            again.rows,
            tables,
            files,
            folder,
            most_refused,
            started,
            known_decoded=known_decoded,
            altered=altered,
        )


def _plan_again(
    work: PreparationWork,
    objects: Mapping[str, ObjectInfo],
    plan: DecodingPlan,
    tables: Sequence[pa.Table],
    altered: frozenset[str],
) -> tuple[DecodingPlan, int]:
    """The pictures whose pixels were altered since they were decoded, and how many others were decoded."""
    rows = join_rows([plan.rows, *tables])
    lost = set(rows.filter(pc.is_in(rows["file"], pa.array(sorted(altered))))["name"].to_pylist())
    _log.warning(
        "%d pictures of dataset %s are decoded again: their pixels in the object store are gone or were "
        "altered (%s)",
        len(lost),
        work.name,
        ", ".join(f"datasets/{work.name}/{file}" for file in sorted(altered)[:_MOST_NAMED]),
    )
    forget_units(work, altered)
    again = _plan(work, objects, rows, lost)
    known_before = set(plan.rows["name"].to_pylist())
    return again, sum(name not in known_before for name in again.rows["name"].to_pylist())


def begin_work(
    store: ObjectStore, name: str, preparation: Preparation
) -> tuple[PreparationWork, dict[str, ObjectInfo]]:
    """The work of a preparation, and the raw objects by relative path. Raises as :func:`prepare`."""
    raw = describe_raw(store, name)
    objects = raw_objects(store, name)
    if not objects:
        raise DataError(f"dataset {name!r} has no pictures left; add it again")
    format_of(name, objects)
    channels = preparation.channels or (1 if raw.format == "idx" else 3)
    key = _preparation_key(raw, objects, preparation, channels)
    shape = (channels, preparation.size, preparation.size)
    return PreparationWork(store, name, raw, preparation, shape, key), objects


def find_finished(work: PreparationWork, most_refused: float) -> DatasetVersion | None:
    """The version that was made of this work before, if it was.

    Raises:
        DataError: More than ``most_refused`` of its pictures were refused, which was accepted then.
    """
    version = find_prepared(work.store, work.name, work.key)
    report = None if version is None else find_report(work.store, work.name, work.key)
    if report is not None:
        check_refused(work.name, report.refused, report.refused_count, report.pictures, most_refused)
    return version


def plan_work(work: PreparationWork, objects: Mapping[str, ObjectInfo]) -> DecodingPlan:
    """The pictures to decode: those that the last preparation in the same way did not."""
    return _plan(work, objects, find_known_rows(work.store, work.name, work.way))


def _plan(
    work: PreparationWork,
    objects: Mapping[str, ObjectInfo],
    known: pa.Table | None,
    lost: Collection[str] = (),
) -> DecodingPlan:
    return plan_units(
        work.store,
        raw_prefix(work.name),
        objects,
        known,
        lambda path: takes(work.raw.labels, path),
        work.raw.containers,
        lost,
    )


class _Counter:
    def __init__(self, progress: Progress | None) -> None:
        self._progress, self._done, self.total = progress, 0, 0

    def count(self, pictures: int) -> None:
        self._done += pictures
        if self._progress is not None:
            self._progress(self._done, max(self._done, self.total))


def _preparation_key(
    raw: RawDataset, objects: Mapping[str, ObjectInfo], preparation: Preparation, channels: int
) -> str:
    listing = [[relative, info.size, info.etag] for relative, info in sorted(objects.items())]
    # IDX files bring their own split, so versions that were made of them stay valid.
    rule = {} if raw.format == "idx" else {"split": _SPLIT, "labels": raw.labels.model_dump()}
    return digest_of(
        rule
        | {
            "decoder": DECODER,
            "format": raw.format,
            "classes": list(raw.classes) if raw.format == "idx" else [],
            "objects": listing,
            "preparation": preparation.model_dump() | {"channels": channels},
        }
    )


def _prepare_idx(
    work: PreparationWork, objects: Mapping[str, ObjectInfo], folder: Path, counter: _Counter, started: float
) -> DatasetVersion:
    idx = open_idx_set(work.store, work.name, objects, work.raw.classes, folder)
    counter.total = idx.pictures
    shards = idx.write(folder, work.preparation, work.shape, counter.count)
    version = work.version(idx.classes, shards)
    report = PreparationReport(
        digest=version.digest,
        preparation=work.preparation,
        pictures=idx.pictures,
        counts=idx.counts(),
        split_by="source",
        decoded=idx.pictures,
        seconds=time.monotonic() - started,
    )
    write_version(work.store, version, folder, work.key, report)
    return version
