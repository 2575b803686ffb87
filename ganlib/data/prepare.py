"""Preparing a dataset: raw pictures of any size become shards of one size, once.

The result is a :class:`~ganlib.records.DatasetVersion`, named by its content. The held-out split
is part of it: the ``t10k`` files of IDX datasets, about a tenth of the pictures of others
(:mod:`ganlib.data.split`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.decode import Fit, check_size, decode_picture, fit_grey
from ganlib.data.formats.idx import IDX_FILES, IDX_NAMES, IdxFile, check_idx_set, open_idx
from ganlib.data.layout import RawDataset, class_folders, describe_raw, format_of, raw_objects
from ganlib.data.preparation import Preparation, PreparationReport
from ganlib.data.scratch import scratch_folder
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.data.split import PictureSplit, pixel_digest, split_pictures
from ganlib.data.threads import TRANSFER_THREADS, decode_threads, ordered_map
from ganlib.data.versions import find_prepared, load_version, versions, write_version
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import DatasetVersion, Split, digest_of

__all__ = ["Preparation", "load_version", "prepare", "versions"]

_BLOCK_BYTES = 8 * 2**20
# Counted up when the same raw objects would give other pixels, or another split of picture files, so that
# old versions are not reused.
_DECODER = 2
_SPLIT = 2


class _Pictures(Protocol):
    """Raw pictures of either format, ready to be written as shards."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def blocks(self, split: Split) -> Iterator[Block]: ...


@dataclass
class _Progress:
    """Counts pictures and passes the count on."""

    total: int
    report: Callable[[int, int], None] | None
    done: int = 0

    def count(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks; each is counted when the next one is asked for."""
        for block in blocks:
            yield block
            self.done += len(block.labels)
            if self.report is not None:
                self.report(self.done, self.total)


def prepare(
    store: ObjectStore,
    name: str,
    preparation: Preparation,
    progress: Callable[[int, int], None] | None = None,
    *,
    scratch: Path | None = None,
) -> DatasetVersion:
    """Make a version of a dataset, or find the one that was made of the same raw objects before.

    Memory stays bounded (a shard, and the pictures being decoded). Decoded pictures lie in ``scratch`` until
    the split is known, and shards until all are made, since the version is named by all of them: room for
    twice the version is needed. Interrupted, it leaves no version, and repeating it finishes.

    Exact copies, pictures with the same prepared pixels and label, are kept once.

    Args:
        store: Holds the raw objects and receives the version.
        name: A dataset that was added.
        preparation: Size, channels, fit.
        progress: Called in this thread with pictures done and pictures in all; not at all when the
            version is found.
        scratch: Folder for this work and for nothing else; the system's temporary folder when ``None``.

    Raises:
        UnknownName: No dataset of this name was added.
        DataError: It was added in part only, has no pictures, or one that cannot be opened; the message
            names it.
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
        pictures = _open(store, name, raw, objects, preparation.fit, shape, work, progress)
        shards = tuple(
            shard
            for split in IDX_FILES
            for shard in write_shards(work, split, pictures.blocks(split), shape, shard_capacity(shape))
        )
        version = DatasetVersion(
            name=name,
            digest=DatasetVersion.digest_for(shape, pictures.classes, shards),
            image_shape=shape,
            classes=pictures.classes,
            shards=shards,
            source=", ".join(raw.sources),
        )
        report = PreparationReport(digest=version.digest, preparation=preparation)
        write_version(store, version, work, key, report)
    return version


def _preparation_key(
    raw: RawDataset, objects: Mapping[str, ObjectInfo], preparation: Preparation, channels: int
) -> str:
    listing = [[relative, info.size, info.etag] for relative, info in sorted(objects.items())]
    # IDX files bring their own split, so versions that were made of them stay valid.
    rule = {} if raw.format == "idx" else {"split": _SPLIT}
    return digest_of(
        rule
        | {
            "decoder": _DECODER,
            "format": raw.format,
            "classes": list(raw.classes) if raw.format == "idx" else [],
            "objects": listing,
            "preparation": preparation.model_dump() | {"channels": channels},
        }
    )


def _open(
    store: ObjectStore,
    name: str,
    raw: RawDataset,
    objects: Mapping[str, ObjectInfo],
    fit: Fit,
    shape: tuple[int, int, int],
    work: Path,
    report: Callable[[int, int], None] | None,
) -> _Pictures:
    if not objects:
        raise DataError(f"dataset {name!r} has no pictures left; add it again")
    if format_of(name, objects) == "idx":
        missing = [f"{idx}.gz" for idx in IDX_NAMES if f"{idx}.gz" not in objects]
        if missing:
            raise DataError(f"raw/{name}/ lacks {', '.join(missing)}; add the dataset again")
        return _open_idx_set(store, objects, raw.classes, fit, shape, work, report)
    return _decode_all(store, objects, fit, shape, work / "decoded", _Progress(len(objects), report))


def _decode_all(
    store: ObjectStore,
    objects: Mapping[str, ObjectInfo],
    fit: Fit,
    shape: tuple[int, int, int],
    path: Path,
    progress: _Progress,
) -> _DecodedPictures:
    """Decode JPEG and PNG objects into one file; their label is that of their first folder."""
    classes = class_folders(objects)
    labels = {name: label for label, name in enumerate(classes)}
    channels, size, _ = shape

    def decode(relative: str) -> Block:
        info = objects[relative]
        check_size(info.size, info.key)
        image = decode_picture(store.get(info.key), info.key, size, fit, channels)
        label = labels[relative.partition("/")[0]] if labels else 0
        return Block(image[None], np.array([label], np.int64))

    # More threads than processors: some wait for storage while others decode.
    threads = min(TRANSFER_THREADS, 2 * decode_threads())
    digests: list[bytes] = []
    found: list[int] = []
    with path.open("wb") as file:
        decoded = ordered_map(decode, objects, threads=threads, name="ganlib-decode")
        for block in progress.count(decoded):
            file.write(block.images.tobytes())
            digests.append(pixel_digest(block.images[0]))
            found.append(int(block.labels[0]))
    split = split_pictures(digests, found)
    return _DecodedPictures(path, shape, classes, np.array(found, np.int64), split)


@dataclass(frozen=True)
class _DecodedPictures:
    """Decoded pictures in a file, one after another, with their split."""

    path: Path
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    split: PictureSplit

    def blocks(self, split: Split) -> Iterator[Block]:
        images = np.memmap(self.path, np.uint8, "r").reshape(-1, *self.shape)
        chosen = self.split.train if split == "train" else self.split.held_out
        count = max(1, _BLOCK_BYTES // images[0].nbytes)
        for start in range(0, len(chosen), count):
            rows = chosen[start : start + count]
            yield Block(images[rows], self.labels[rows])


def _open_idx_set(
    store: ObjectStore,
    objects: Mapping[str, ObjectInfo],
    classes: tuple[str, ...],
    fit: Fit,
    shape: tuple[int, int, int],
    work: Path,
    report: Callable[[int, int], None] | None,
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
    progress = _Progress(sum(map(len, labels.values())), report)
    return _IdxObjects(files, labels, classes, fit, shape, progress)


@dataclass(frozen=True)
class _IdxObjects:
    """IDX files on this machine, checked."""

    files: Mapping[str, IdxFile]
    labels: Mapping[Split, NDArray[np.int64]]
    classes: tuple[str, ...]
    fit: Fit
    shape: tuple[int, int, int]
    progress: _Progress

    def blocks(self, split: Split) -> Iterator[Block]:
        channels, size, _ = self.shape

        def resize(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.repeat(fit_grey(images, size, self.fit)[:, None], channels, axis=1)

        file = self.files[IDX_FILES[split][0]]
        with open_idx(file.path, 3, file.what) as reader:
            largest = max(channels * size * size, reader.shape[1] * reader.shape[2])
            count = max(1, min(512, _BLOCK_BYTES // largest))
            total = len(self.labels[split])
            cuts = [*range(0, total, count), total]
            resized = ordered_map(
                resize, reader.blocks(count), threads=decode_threads(), name="ganlib-resize"
            )
            yield from self.progress.count(
                Block(images, self.labels[split][start:stop])
                for images, (start, stop) in zip(resized, pairwise(cuts), strict=True)
            )
