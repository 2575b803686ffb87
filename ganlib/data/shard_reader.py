"""A shard read in parts, from a file of this machine or from the object store, in little memory.

A shard is a safetensors file: the header's length in 8 bytes, the header as JSON, then the tensors. Whoever
can write to the store can write any header there, so everything in it is checked before memory is taken.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.entries import ByteRange, FileRange, ObjectRange
from ganlib.data.shards import Block
from ganlib.errors import DataError, DigestMismatch, ObjectMissing
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import DatasetVersion, Shard

MAX_HEADER_BYTES = 2**16
"""Longest header that is read; ganlib's own have less than 200 bytes."""

BLOCK_BYTES = 4 * 2**20
"""Bytes of a shard in memory at once."""

_FIRST_BYTES = 2048
"""Bytes that are read at once for length and header."""

OpenShard = Callable[[Shard], ByteRange]
"""Gives the bytes of a shard; raises ``DataError`` where they are not to be had."""


def stored_shards(store: ObjectStore, version: DatasetVersion) -> OpenShard:
    """The shards of a version in the object store, as they are listed now.

    A shard that is replaced while it is read is an error, and so is one that is not listed.
    """
    listed = {info.key: info for info in store.list(f"{version.prefix}/")}

    def open_shard(shard: Shard) -> ByteRange:
        info: ObjectInfo | None = listed.get(f"{version.prefix}/{shard.path}")
        if info is None:
            raise ObjectMissing(f"{version.prefix}/{shard.path}")
        return ObjectRange(store, info)

    return open_shard


def local_shards(folder: Path) -> OpenShard:
    """The shards of a version in a folder of this machine, each under ``Shard.path``."""
    return lambda shard: FileRange.open(folder / shard.path)


class ShardReader:
    """A shard whose header and labels were read and checked.

    Args:
        source: Its bytes.
        shard: Its record in the manifest.
        shape: Channels, height, width.
        classes: Number of classes; labels lie below it, and are all 0 when it is 0.

    Raises:
        DataError: It has another size than its record says, is no safetensors file, holds other tensors than
            its record says, or has a label that is no class.
    """

    def __init__(self, source: ByteRange, shard: Shard, shape: tuple[int, int, int], classes: int) -> None:
        self._source, self._shard, self._shape = source, shard, shape
        if source.size != shard.bytes:
            raise DataError(f"{source.what} has {source.size:,} bytes, its manifest says {shard.bytes:,}")
        self._starts = self._read_header()
        data = source.read_at(self._starts["labels"], 8 * shard.images)
        self.labels: NDArray[np.int64] = np.frombuffer(data, "<i8").astype(np.int64)
        """int64 [n]."""
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= max(1, classes):
            raise DataError(
                f"{source.what} has labels from {low} to {high}, its manifest has {classes} classes"
            )

    def images(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Pictures ``start`` to ``stop`` less 1: uint8 [stop − start, channels, height, width]."""
        size = self._picture_bytes
        data = self._source.read_at(self._starts["images"] + start * size, (stop - start) * size)
        return np.frombuffer(data, np.uint8).reshape(-1, *self._shape)

    def chosen(self, rows: Sequence[int]) -> NDArray[np.uint8]:
        """Single pictures, each read by itself: uint8 [len(rows), channels, height, width]."""
        return np.concatenate([self.images(row, row + 1) for row in rows])

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
        """All pictures in order, in blocks of about so many bytes.

        Raises:
            DigestMismatch: After the last block: the shard's bytes do not have the digest of its record, so
                the pictures must not be used.
        """
        digest = hashlib.sha256()
        begin, size = self._starts["images"], self._picture_bytes
        count = max(1, block_bytes // size)
        for part in read_parts(self._source, 0, begin):
            digest.update(part)
        for start in range(0, self._shard.images, count):
            images = self.images(start, min(start + count, self._shard.images))
            digest.update(np.ascontiguousarray(images).data)
            yield Block(images, self.labels[start : start + len(images)])
        for part in read_parts(self._source, begin + size * self._shard.images, self._shard.bytes):
            digest.update(part)
        if digest.hexdigest() != self._shard.sha256:
            raise DigestMismatch(self._source.what, self._shard.sha256, digest.hexdigest())

    @property
    def _picture_bytes(self) -> int:
        channels, height, width = self._shape
        return channels * height * width

    def _read_header(self) -> dict[str, int]:
        """The position of each tensor in the file."""
        what, size = self._source.what, self._source.size
        first = self._source.read_at(0, min(size, _FIRST_BYTES))
        length = struct.unpack("<Q", first[:8])[0] if len(first) >= 8 else size
        if length > min(size - 8, MAX_HEADER_BYTES):
            raise DataError(
                f"{what} is no shard: it announces a header of {length:,} bytes; the file has {size:,}, "
                f"and a header at most {MAX_HEADER_BYTES:,}"
            )
        text = first[8 : 8 + length]
        if len(text) < length:
            text += self._source.read_at(len(first), length - len(text))
        try:
            header = json.loads(text)
            found = {
                name: (part["dtype"], part["shape"], *part["data_offsets"])
                for name, part in header.items()
                if name != "__metadata__"
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{what} is no shard: its header cannot be read ({error})") from error
        images = [self._shard.images, *self._shape]
        wanted = {
            "images": ("U8", images, self._shard.images * self._picture_bytes),
            "labels": ("I64", images[:1], 8 * self._shard.images),
        }
        return _positions(what, found, wanted, 8 + length, size)


def _positions(
    what: str,
    found: dict[str, tuple[object, ...]],
    wanted: dict[str, tuple[str, list[int], int]],
    begin: int,
    size: int,
) -> dict[str, int]:
    """The position of each wanted tensor, once type, shape and place are right."""
    shown = {name: part[:2] for name, part in sorted(found.items())[:4]}
    expected = {name: part[:2] for name, part in wanted.items()}
    if len(found) != len(wanted) or shown != expected:
        raise DataError(f"{what} holds {shown!s:.300}, its manifest says {expected}")
    starts = {}
    for name, (_, _, length) in wanted.items():
        places = found[name][2:]
        inside = len(places) == 2 and all(type(place) is int for place in places)
        start, stop = places if inside else (0, -1)
        assert isinstance(start, int)
        assert isinstance(stop, int)
        if start < 0 or stop - start != length or begin + stop > size:
            raise DataError(f"{what} is no shard: its {name} cannot lie at {places!s:.100}")
        starts[name] = begin + start
    return starts


def read_parts(source: ByteRange, start: int, stop: int) -> Iterator[bytes]:
    """The bytes from ``start`` to ``stop`` less 1, in parts of at most :data:`BLOCK_BYTES`."""
    for position in range(start, stop, BLOCK_BYTES):
        yield source.read_at(position, min(BLOCK_BYTES, stop - position))
