"""Writes pictures to files: a grid, a folder, an array, an animation.

Each is written beside its place and renamed, so it is there whole or not at all. Pictures come in
batches, uint8 [n, 1 or 3, h, w]; a folder and an array of any size need memory for one batch.
"""

from __future__ import annotations

import csv
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.quality.grids import Picture, grid, png

DIGITS = 6
"""Digits of a picture's number in a folder, enough for a million pictures."""


def write_grid(path: Path, batches: Iterable[Tensor], columns: int) -> None:
    """All pictures as one PNG, in rows of ``columns``. Raises ``ConfigError``: it cannot be written."""
    with _beside(path) as beside:
        beside.write_bytes(png(grid(torch.cat(list(batches)), columns)))


def write_ways(path: Path, batches: Iterable[Tensor], steps: int) -> None:
    """An interpolation as one PNG: a row for each way from one seed to the next, both included.

    Args:
        path: The file.
        batches: ``ways · steps + 1`` pictures.
        steps: Steps from one seed to the next.

    Raises:
        ConfigError: It cannot be written.
    """
    frames = torch.cat(list(batches))
    ways = torch.arange(0, len(frames) - 1, steps)[:, None] + torch.arange(steps + 1)
    write_grid(path, [frames[ways.flatten()]], steps + 1)


def write_folder(
    path: Path, batches: Iterable[Tensor], labels: Tensor | None = None, classes: Sequence[str] = ()
) -> None:
    """A folder with a PNG for each picture, ``000000.png`` and on, encoded by as many threads as processors.

    With labels there is a ``labels.csv`` too, whose columns are ``file``, ``label`` and ``class``.

    Args:
        path: The folder, not there yet or empty.
        batches: The pictures.
        labels: int64 [n], in the order of the pictures.
        classes: Class names in the order of the labels.

    Raises:
        ConfigError: It cannot be written, or is not empty.
    """
    with _beside(path) as beside, ThreadPoolExecutor(_processors()) as pool:
        beside.mkdir()
        count = 0
        for batch in batches:
            names = [f"{number:0{DIGITS}}.png" for number in range(count, count + len(batch))]
            files = [beside / name for name in names]
            # Batch by batch, so that unencoded pictures do not pile up in memory.
            list(pool.map(_write_png, files, _pictures(batch)))
            count += len(batch)
        if labels is not None:
            with (beside / "labels.csv").open("w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                rows.writerow(["file", "label", "class"])
                rows.writerows(
                    [f"{number:0{DIGITS}}.png", label, classes[label]]
                    for number, label in enumerate(labels.tolist())
                )


def write_npz(
    path: Path,
    batches: Iterable[Tensor],
    count: int,
    seeds: Sequence[int],
    labels: Tensor | None = None,
    classes: Sequence[str] = (),
) -> None:
    """Arrays for ``numpy.load``; nothing in them is pickled.

    ``images`` uint8 [count, h, w, c], the order of axes that Pillow, matplotlib and published
    evaluation code take; ``seeds`` int64 [k]; for a conditional generator ``labels`` int64 [count]
    and ``classes``, their names.

    Args:
        path: The file.
        batches: The pictures.
        count: How many there are in all.
        seeds: What they were drawn from: one seed, or those of an interpolation.
        labels: int64 [count].
        classes: Class names in the order of the labels.

    Raises:
        ConfigError: It cannot be written.
    """
    more = {"seeds": np.asarray(seeds, dtype=np.int64)}
    if labels is not None:
        more |= {"labels": labels.numpy().astype(np.int64), "classes": np.asarray(classes, dtype=np.str_)}
    with _beside(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        arrays = (batch.permute(0, 2, 3, 1).contiguous().numpy() for batch in batches)
        first = next(arrays)
        with archive.open("images.npy", "w", force_zip64=True) as member:
            shape = (count, *first.shape[1:])
            header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            for array in chain([first], arrays):
                member.write(array.data)
        for name, values in more.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def write_gif(path: Path, batches: Iterable[Tensor], fps: float) -> None:
    """An animation that plays again and again.

    Grey pictures keep their values; coloured ones get the 256 colours that fit each best.

    Args:
        path: The file.
        batches: The pictures in their order; all are held in memory.
        fps: Pictures a second, up to 50; a GIF counts in hundredths of a second, to which it is rounded.

    Raises:
        ConfigError: It cannot be written.
    """
    frames = [_gif_frame(picture) for batch in batches for picture in _pictures(batch)]
    with _beside(path) as beside:
        frames[0].save(
            beside,
            format="GIF",
            save_all=True,
            append_images=frames[1:],
            loop=0,
            duration=10 * round(100 / fps),
            optimize=False,
        )


def _gif_frame(picture: Picture) -> Image.Image:
    image = Image.fromarray(picture)
    if image.mode == "L":
        return image
    # Pillow's own choice dithers, which flickers from frame to frame.
    return image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _pictures(batch: Tensor) -> Iterator[Picture]:
    """uint8 [h, w] or [h, w, 3] each."""
    array: npt.NDArray[np.uint8] = batch.permute(0, 2, 3, 1).contiguous().numpy()
    return iter(array[..., 0] if array.shape[3] == 1 else array)


def _write_png(path: Path, picture: Picture) -> None:
    path.write_bytes(png(picture))


def _processors() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A hidden path in the same folder, which is renamed at the end or, after an error, removed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        if path.is_dir() and beside.is_dir():
            path.rmdir()  # an empty folder makes room; another is left alone
        beside.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}; name another place"
        ) from error
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)
