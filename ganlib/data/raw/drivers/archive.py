"""A zip of drawn drivers in the layout of the State Farm archive, drawn by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from ganlib.data.labelling.statefarm import SUBJECTS_COLUMNS, SUBJECTS_TABLE
from ganlib.data.raw.drivers.subjects import SUBJECT_PICTURES, random_for
from ganlib.errors import ConfigError, DataError

ALL_DRIVERS = sum(SUBJECT_PICTURES.values())
"""Labelled pictures of the State Farm archive."""

ALL_UNLABELLED = 79_726
"""Pictures of ``imgs/test`` in the State Farm archive, which have neither class nor subject."""

MOST_DRIVERS = 1_000_000
"""Most pictures that are drawn, with and without labels together."""

CLASS_PICTURES = (2489, 2267, 2317, 2346, 2326, 2312, 2325, 2002, 1911, 2129)
"""Pictures of c0 to c9 in the State Farm archive."""

_DRAWN_AT_ONCE = 16
_UNLABELLED_SUBJECTS = 26
# As many pictures of each as the archive has of a subject on average.
_OF_UNLABELLED_SUBJECT = ALL_DRIVERS // len(SUBJECT_PICTURES)
# The zip's own epoch, so that equal pictures give equal bytes.
_WRITTEN_AT = (1980, 1, 1, 0, 0, 0)


class DriverPicture(NamedTuple):
    """A picture to draw."""

    subject: str
    label: int
    frame: int
    """Number of the frame in the subject's video of the class."""
    file: str
    """Name of the file, without folders."""
    labelled: bool = True
    """Whether the archive says which class and subject it is of."""

    @property
    def name(self) -> str:
        """Its name in the archive."""
        return f"imgs/train/c{self.label}/{self.file}" if self.labelled else f"imgs/test/{self.file}"


def plan_drivers(pictures: int, seed: int, unlabelled: int = 0) -> list[DriverPicture]:
    """Divide pictures among classes and subjects as in the State Farm archive.

    Each class and each subject has its share of the labelled pictures, to within a picture for each class.
    The unlabelled ones are divided evenly among the ten classes of other subjects. File names have nothing to
    do with any of it.

    Args:
        pictures: Number of labelled pictures.
        seed: Chooses the file names.
        unlabelled: Number of pictures without class and subject.

    Returns:
        The labelled pictures in the order of subject, class and frame, and then the unlabelled ones likewise.
    """
    numbers = iter(random_for(seed, "names").permutation(pictures + unlabelled).tolist())
    shares = {
        (label, subject): in_class * of_subject / ALL_DRIVERS**2
        for label, in_class in enumerate(CLASS_PICTURES)
        for subject, of_subject in SUBJECT_PICTURES.items()
    }
    subjects = max(_UNLABELLED_SUBJECTS, unlabelled // _OF_UNLABELLED_SUBJECT)
    even = {
        (label, f"u{subject:03}"): 1 / (len(CLASS_PICTURES) * subjects)
        for label in range(len(CLASS_PICTURES))
        for subject in range(1, subjects + 1)
    }
    planned = [
        DriverPicture(subject, label, frame, f"img_{next(numbers) + 1}.jpg", labelled)
        for total, cells, labelled in ((pictures, shares, True), (unlabelled, even, False))
        for (label, subject), frames in _divided(total, cells).items()
        for frame in range(frames)
    ]
    return sorted(planned, key=lambda picture: (not picture.labelled, picture))


def _divided(total: int, shares: Mapping[tuple[int, str], float]) -> dict[tuple[int, str], int]:
    """Divide a total by shares that add up to 1: each cell gets its share, rounded either way."""
    # Pictures lie at even distances along all cells.
    divided, done, share = {}, 0, 0.0
    *_, last = shares
    for cell, of_cell in shares.items():
        share += of_cell
        # The last sum may be a little less than 1.
        end = total if cell == last else round(share * total)
        divided[cell] = end - done
        done = end
    return divided


def make_drivers(
    path: Path,
    *,
    pictures: int = ALL_DRIVERS,
    unlabelled: int = 0,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Draw drivers into a zip.

    The pictures are drawn by several processes and written as they come; a few dozen are held in memory.
    The file appears under its name when it is whole. Equal arguments give equal bytes with one version of
    Pillow, however many processes draw.

    Args:
        path: The zip; its folder must exist, and a file of this name is replaced.
        pictures: Number of labelled pictures, 1 to :data:`MOST_DRIVERS`.
        unlabelled: Number of pictures in ``imgs/test``, from 0, of subjects that are not in the table; the
            State Farm archive has :data:`ALL_UNLABELLED`. Both numbers are at most :data:`MOST_DRIVERS`
            together.
        seed: Any integer from 0; another seed gives other subjects.
        processes: Processes that draw; as many as there are processors when ``None``.
        progress: Called with pictures done and pictures in all.

    Raises:
        ConfigError: A number is out of its range, or the folder does not exist.
        DataError: The file cannot be written, or a process that draws was killed.
    """
    total = pictures + unlabelled
    if pictures < 1 or unlabelled < 0 or total > MOST_DRIVERS:
        raise ConfigError(
            f"{pictures:,} pictures and {unlabelled:,} unlabelled ones cannot be drawn: give at least 1 and "
            f"0, and at most {MOST_DRIVERS:,} together"
        )
    if seed < 0:
        raise ConfigError(f"seed {seed} cannot be used: give 0 or more")
    if not path.parent.is_dir() or path.is_dir():
        raise ConfigError(f"{path} cannot be written: give a file in a folder that exists, as in drivers.zip")
    planned = plan_drivers(pictures, seed, unlabelled)
    beside = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry(SUBJECTS_TABLE), _table(planned), zipfile.ZIP_DEFLATED)
            drawn = _drawn(planned, seed, processes or len(os.sched_getaffinity(0)))
            for done, (picture, data) in enumerate(zip(planned, drawn, strict=True), 1):
                archive.writestr(_entry(picture.name), data)
                if progress is not None:
                    progress(done, total)
        beside.replace(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. Make room there, or choose another place"
        ) from error
    except BrokenProcessPool as error:
        raise DataError(
            "a process that draws was killed, perhaps for want of memory; repeat the command"
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _WRITTEN_AT)
    entry.external_attr = 0o100644 << 16
    return entry


def _table(planned: list[DriverPicture]) -> bytes:
    header = f"{SUBJECTS_COLUMNS.group},{SUBJECTS_COLUMNS.label},{SUBJECTS_COLUMNS.file}"
    rows = [f"{picture.subject},c{picture.label},{picture.file}" for picture in planned if picture.labelled]
    return "\n".join([header, *rows, ""]).encode()


def _drawn(planned: list[DriverPicture], seed: int, processes: int) -> Iterator[bytes]:
    """The pictures' files, in order; at most twice as many parts are in hand as there are processes."""
    parts = [planned[start : start + _DRAWN_AT_ONCE] for start in range(0, len(planned), _DRAWN_AT_ONCE)]
    if processes == 1 or len(parts) == 1:
        for part in parts:
            yield from _draw_part(part, seed)
        return
    waiting: deque[Future[list[bytes]]] = deque()
    # Fresh processes: a fork of one with threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(parts)), mp_context=context, initializer=_end_with_parent)
    try:
        for part in parts:
            waiting.append(pool.submit(_draw_part, part, seed))
            if len(waiting) > 2 * processes:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """In a process that draws: leave Ctrl-C to the parent, and end when the parent has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="ganlib-parent", daemon=True).start()


def _draw_part(part: list[DriverPicture], seed: int) -> list[bytes]:
    # Imported here: Pillow and numpy are for the processes that draw.
    from ganlib.data.raw.drivers.picture import draw_picture

    return [draw_picture(seed, picture.subject, picture.label, picture.frame) for picture in part]
