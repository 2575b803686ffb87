"""Preparing a dataset: raw pictures of any size become shards of one size, once.

The result is a :class:`~ganlib.records.DatasetVersion`, named by its content. The held-out split
is part of it: the ``t10k`` files of IDX datasets, a tenth of the pictures of others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ganlib.data.formats.decode import Fit, decode_picture, fit_grey
from ganlib.data.formats.idx import IDX_FILES, IDX_NAMES, IdxFile, check_idx_set, open_idx
from ganlib.data.layout import RawDataset, classes_of, describe_raw, format_of, raw_objects
from ganlib.data.scratch import scratch_folder
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.data.threads import TRANSFER_THREADS, decode_threads, ordered_map
from ganlib.data.versions import find_prepared, load_version, versions, write_version
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import DatasetVersion, Record, Shard, Split, digest_of

__all__ = ["HELD_OUT_SHARE", "Preparation", "held_out_keys", "load_version", "prepare", "versions"]

HELD_OUT_SHARE = 0.1
"""Share of a picture dataset that is held out, rounded, at least one picture."""

_BLOCK_BYTES = 8 * 2**20
_DECODER = (
    1  # Counted up when the same raw objects would give other pixels, so that old versions are not reused.
)


class Preparation(Record):
    """How pictures are brought to one shape."""

    size: int = Field(ge=8, le=1024)
    """Side of the square result, in pixels."""
    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB); ``None`` takes 1 for IDX files and 3 for pictures."""
    fit: Fit = "crop"
    """``crop`` takes the largest square in the middle of a picture; ``stretch`` takes all of it."""


class _Pictures(Protocol):
    """Raw pictures of either format, ready to be read."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def count(self, split: Split) -> int: ...

    def blocks(self, split: Split) -> Iterator[Block]: ...


def prepare(
    store: ObjectStore,
    name: str,
    preparation: Preparation,
    progress: Callable[[int, int], None] | None = None,
    *,
    scratch: Path | None = None,
) -> DatasetVersion:
    """Make a version of a dataset, or find the one that was made of the same raw objects before.

    Memory stays bounded (a shard, and the pictures being decoded); the shards lie in ``scratch``
    until all are made, since the version is named by all of them. Interrupted, it leaves no
    version, and repeating it finishes.

    Args:
        store: Holds the raw objects and receives the version.
        name: A dataset that was added.
        preparation: Size, channels, fit.
        progress: Called in this thread with pictures done and pictures in all; not at all when the
            version is found.
        scratch: Folder for the shards in between and for nothing else; the system's temporary
            folder when ``None``.

    Raises:
        UnknownName: No dataset of this name was added.
        DataError: It was added in part only, has no pictures for one of the splits, or a picture
            that cannot be opened; the message names it.
    """
    raw = describe_raw(store, name)
    objects = raw_objects(store, name)
    channels = preparation.channels or (1 if raw.format == "idx" else 3)
    key = _preparation_key(raw, objects, preparation, channels)
    version = find_prepared(store, name, key)
    if version is not None:
        return version
    shape = (channels, preparation.size, preparation.size)
    with scratch_folder(scratch, f"prepare-{name}-") as work:
        pictures = _open(store, name, raw, objects, preparation.fit, shape, work)
        shards = tuple(_write_all(pictures, work, shape, progress))
        version = DatasetVersion(
            name=name,
            digest=DatasetVersion.digest_for(shape, pictures.classes, shards),
            image_shape=shape,
            classes=pictures.classes,
            shards=shards,
            source=", ".join(raw.sources),
        )
        write_version(store, version, work, key)
    return version


def _preparation_key(
    raw: RawDataset, objects: Mapping[str, ObjectInfo], preparation: Preparation, channels: int
) -> str:
    listing = [[relative, info.size, info.etag] for relative, info in sorted(objects.items())]
    return digest_of(
        {
            "decoder": _DECODER,
            "format": raw.format,
            "classes": list(raw.classes) if raw.format == "idx" else [],
            "objects": listing,
            "preparation": preparation.model_dump() | {"channels": channels},
        }
    )


def _write_all(
    pictures: _Pictures, work: Path, shape: tuple[int, int, int], progress: Callable[[int, int], None] | None
) -> Iterator[Shard]:
    total = pictures.count("train") + pictures.count("held_out")
    done = 0

    def watched(blocks: Iterator[Block]) -> Iterator[Block]:
        nonlocal done
        for block in blocks:
            yield block
            done += len(block.labels)
            if progress is not None:
                progress(done, total)

    for split in IDX_FILES:
        yield from write_shards(work, split, watched(pictures.blocks(split)), shape, shard_capacity(shape))


def _open(
    store: ObjectStore,
    name: str,
    raw: RawDataset,
    objects: Mapping[str, ObjectInfo],
    fit: Fit,
    shape: tuple[int, int, int],
    work: Path,
) -> _Pictures:
    if format_of(name, objects) == "idx":
        missing = [f"{idx}.gz" for idx in IDX_NAMES if f"{idx}.gz" not in objects]
        if missing:
            raise DataError(f"raw/{name}/ lacks {', '.join(missing)}; add the dataset again")
        return _open_idx_set(store, objects, raw.classes, fit, shape, work)
    if len(objects) < 2:
        raise DataError(
            f"dataset {name!r} has {len(objects)} picture; 2 are needed, one of them to be held out"
        )
    classes = classes_of(objects)
    held_out = held_out_keys(objects)
    keys: dict[Split, list[str]] = {
        "train": [relative for relative in objects if relative not in held_out],
        "held_out": [relative for relative in objects if relative in held_out],
    }
    return _PictureObjects(
        store, {relative: info.key for relative, info in objects.items()}, keys, classes, fit, shape
    )


def held_out_keys(relatives: Sequence[str] | Mapping[str, object]) -> frozenset[str]:
    """Which pictures are held out: a tenth, those whose paths have the smallest SHA-256.

    A picture's place does not depend on the order, nor on where the dataset lies.

    Args:
        relatives: Paths below the dataset's folder, each once.
    """
    count = max(1, round(len(relatives) * HELD_OUT_SHARE))
    ranked = sorted(relatives, key=lambda relative: hashlib.sha256(relative.encode()).digest())
    return frozenset(ranked[:count])


@dataclass(frozen=True)
class _PictureObjects:
    """JPEG and PNG objects; their label is that of their first folder."""

    store: ObjectStore
    objects: Mapping[str, str]
    keys: Mapping[Split, Sequence[str]]
    classes: tuple[str, ...]
    fit: Fit
    shape: tuple[int, int, int]

    def count(self, split: Split) -> int:
        return len(self.keys[split])

    def blocks(self, split: Split) -> Iterator[Block]:
        labels = {name: label for label, name in enumerate(self.classes)}
        channels, size, _ = self.shape

        def decode(relative: str) -> Block:
            key = self.objects[relative]
            image = decode_picture(self.store.get(key), key, size, self.fit, channels)
            label = labels[relative.partition("/")[0]] if labels else 0
            return Block(image[None], np.array([label], np.int64))

        # More threads than processors: some wait for storage while others decode.
        threads = min(TRANSFER_THREADS, 2 * decode_threads())
        return ordered_map(decode, self.keys[split], threads=threads, name="ganlib-decode")


def _open_idx_set(
    store: ObjectStore,
    objects: Mapping[str, ObjectInfo],
    classes: tuple[str, ...],
    fit: Fit,
    shape: tuple[int, int, int],
    work: Path,
) -> _Pictures:
    files: dict[str, IdxFile] = {}
    for idx in IDX_NAMES:
        info = objects[f"{idx}.gz"]
        files[idx] = IdxFile(work / f"{idx}.gz", info.key)
        store.download(info.key, files[idx].path)
    check_idx_set(files)
    labels: dict[Split, NDArray[np.int64]] = {}
    for split, (_, name) in IDX_FILES.items():
        with open_idx(files[name].path, 1, files[name].what) as reader:
            labels[split] = reader.all().astype(np.int64)
    highest = max(int(values.max()) for values in labels.values())
    if not classes:
        classes = tuple(str(label) for label in range(highest + 1))
    if highest >= len(classes):
        raise DataError(
            f"a label is {highest}, but the dataset has {len(classes)} classes: {', '.join(classes)}"
        )
    return _IdxObjects(files, labels, classes, fit, shape)


@dataclass(frozen=True)
class _IdxObjects:
    """IDX files on this machine, checked."""

    files: Mapping[str, IdxFile]
    labels: Mapping[Split, NDArray[np.int64]]
    classes: tuple[str, ...]
    fit: Fit
    shape: tuple[int, int, int]

    def count(self, split: Split) -> int:
        return len(self.labels[split])

    def blocks(self, split: Split) -> Iterator[Block]:
        channels, size, _ = self.shape

        def resize(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.repeat(fit_grey(images, size, self.fit)[:, None], channels, axis=1)

        file = self.files[IDX_FILES[split][0]]
        with open_idx(file.path, 3, file.what) as reader:
            largest = max(channels * size * size, reader.shape[1] * reader.shape[2])
            count = max(1, min(512, _BLOCK_BYTES // largest))
            cuts = [*range(0, self.count(split), count), self.count(split)]
            resized = ordered_map(
                resize, reader.blocks(count), threads=decode_threads(), name="ganlib-resize"
            )
            for images, (start, stop) in zip(resized, pairwise(cuts), strict=True):
                yield Block(images, self.labels[split][start:stop])
