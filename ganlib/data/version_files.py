"""A prepared version as files that other programs read: folders of PNG, or arrays in an ``.npz``."""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.folder_names import folder_names
from ganlib.data.shard_reader import OpenShard, ShardReader
from ganlib.data.shards import Block
from ganlib.data.threads import decode_threads, ordered_map
from ganlib.errors import ConfigError, DataError
from ganlib.records import DatasetVersion, Split

Format = Literal["png", "npz"]

LABEL_FILE = "labels.csv"
"""Name of the table beside the folders of PNG."""

Progress = Callable[[int, int], None]
"""Takes the pictures that are written and those in all."""

_SPLIT_TYPE = np.dtype("<U8")
_TIME = (1980, 1, 1, 0, 0, 0)


def check_out(out: Path, kind: Format) -> None:
    """Refuse a place that has something, before anything is read.

    Raises:
        ConfigError: ``out`` is a file, or a folder that is not empty; of an ``.npz``: it exists.
    """
    try:
        if out.is_symlink() or (out.exists() and (kind == "npz" or not out.is_dir())):
            raise ConfigError(f"{out} exists: give a {'file' if kind == 'npz' else 'folder'} that does not")
        if out.is_dir() and any(out.iterdir()):
            raise ConfigError(f"folder {out} is not empty: give an empty or a new one")
    except OSError as error:
        raise ConfigError(f"{out} cannot be looked into: {error.strerror}; choose another place") from error


def export_version(
    version: DatasetVersion,
    open_shard: OpenShard,
    out: Path,
    kind: Format,
    splits: Sequence[Split] = ("train", "held_out"),
    progress: Progress | None = None,
) -> int:
    """Write a version's pictures, in memory of a few MiB; the place has all of them, or nothing new.

    Everything is written beside ``out`` and renamed once every shard had its digest.

    - ``png``: ``OUT/SPLIT/CLASS/NNNNNN.png``, numbered from 0 in each folder, without ``CLASS`` where there
      are no classes; beside the folders ``labels.csv`` with ``file,label,split``, the label being the class's
      own name, whatever its folder is called.
    - ``npz``: ``images`` uint8 [n, height, width, 3] or, grey, [n, height, width]; ``labels`` int64 [n];
      ``split`` [n] and ``classes`` as text. numpy reads it with ``allow_pickle=False``.

    Args:
        version: The version.
        open_shard: Gives the bytes of its shards.
        out: A folder, or a file for ``npz``; folders above it are made.
        kind: What to write.
        splits: The splits to write.
        progress: Called now and then in this thread.

    Returns:
        The number of pictures.

    Raises:
        ConfigError: There is something at ``out``, or it cannot be written.
        DataError: A shard is gone or damaged, the disk is full, or the splits have no picture.
    """
    check_out(out, kind)
    total = sum(version.count(split) for split in splits)
    if not total:
        raise DataError(f"dataset {version.name} has no pictures in {', '.join(splits)}: nothing to export")

    def blocks() -> Iterator[tuple[Split, Block]]:
        done = 0
        for split in splits:
            for shard in (shard for shard in version.shards if shard.split == split):
                reader = ShardReader(open_shard(shard), shard, version.image_shape, len(version.classes))
                for block in reader.blocks():
                    yield split, block
                    done += len(block.labels)
                    if progress is not None:
                        progress(done, total)

    with _beside(out) as place:
        if kind == "png":
            _write_folders(place, version, blocks())
        else:
            _write_npz(place, version, total, blocks())
    return total


@contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A place beside ``out`` that is renamed to it at the end, or removed."""
    target = out.resolve()
    place = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            yield place
            # Replaces an empty folder, and fails on one that was filled meanwhile.
            place.replace(target)
        finally:
            if place.is_dir():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{out} cannot be written: {reason}; what was begun is removed. Make room there, or choose "
                "another disk"
            ) from error
        raise ConfigError(f"{out} cannot be written: {reason}; choose another place") from error


def _write_folders(place: Path, version: DatasetVersion, blocks: Iterator[tuple[Split, Block]]) -> None:
    folders = folder_names(version.classes)
    numbers: dict[str, int] = {}

    def named() -> Iterator[tuple[str, int, Split, NDArray[np.uint8]]]:
        for split, block in blocks:
            for image, label in zip(block.images, block.labels.tolist(), strict=True):
                folder = f"{split}/{folders[label]}" if folders else split
                number = numbers.get(folder, 0)
                if number == 0:
                    (place / folder).mkdir(parents=True)
                numbers[folder] = number + 1
                yield f"{folder}/{number:06d}.png", label, split, image

    def write(item: tuple[str, int, Split, NDArray[np.uint8]]) -> tuple[str, int, Split]:
        file, label, split, image = item
        (place / file).write_bytes(_png(image))
        return file, label, split

    place.mkdir()
    with (place / LABEL_FILE).open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", "label", "split"])
        for file, label, split in ordered_map(write, named(), threads=decode_threads(), name="ganlib-export"):
            table.writerow([file, version.classes[label] if version.classes else "", split])


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_channels_last(image[None])[0]).save(buffer, format="PNG")
    return buffer.getvalue()


def _channels_last(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[n, 1, h, w] as [n, h, w], and [n, 3, h, w] as [n, h, w, 3]."""
    return images[:, 0] if images.shape[1] == 1 else np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def _write_npz(
    place: Path, version: DatasetVersion, total: int, blocks: Iterator[tuple[Split, Block]]
) -> None:
    channels, height, width = version.image_shape
    shape = (total, height, width) if channels == 1 else (total, height, width, channels)
    labels: list[NDArray[np.int64]] = []
    splits: list[tuple[Split, int]] = []
    with zipfile.ZipFile(place, "x") as archive:
        with _member(archive, "images", np.dtype(np.uint8), shape) as stream:
            for split, block in blocks:
                stream.write(np.ascontiguousarray(_channels_last(block.images)).data)
                labels.append(block.labels)
                splits.append((split, len(block.labels)))
        with _member(archive, "labels", np.dtype("<i8"), (total,)) as stream:
            for part in labels:
                stream.write(part.astype("<i8").tobytes())
        with _member(archive, "split", _SPLIT_TYPE, (total,)) as stream:
            for split, count in splits:
                stream.write(np.full(count, split, _SPLIT_TYPE).tobytes())
        classes = np.array(version.classes, dtype=np.str_)
        with _member(archive, "classes", classes.dtype, classes.shape) as stream:
            stream.write(classes.tobytes())


@contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, kind: np.dtype[np.generic], shape: tuple[int, ...]
) -> Iterator[IO[bytes]]:
    """An array of the archive, to be filled row by row."""
    # The time is always the same, so that the same version gives the same file.
    info = zipfile.ZipInfo(f"{name}.npy", _TIME)
    with archive.open(info, "w", force_zip64=True) as stream:
        header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(stream, header)
        yield stream
