"""IDX files: the format of MNIST and its kin, plain or gzipped.

Two zero bytes, a type (0x08: unsigned bytes), the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values. A dataset is four of them: pictures and labels, for
training (``train-…``) and held out (``t10k-…``).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.entries import ByteRange, Entry, Stream, array_entry
from ganlib.errors import DataError
from ganlib.records import Split

IDX_FILES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "held_out": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Pictures and labels of each split; on disk with or without ``.gz``, in the object store with it."""


class IdxFile(NamedTuple):
    """One of the four files on this machine."""

    path: Path
    """Plain or gzipped."""
    what: str
    """Its name in messages: the path or key that it came from."""


IDX_NAMES = tuple(name for pair in IDX_FILES.values() for name in pair)
"""The four names."""

MAX_SIDE = 4096
"""Largest height or width that is read."""

MAX_ITEMS = 20_000_000
"""Most pictures or labels in a file; labels are held in memory."""

GZIP_ERRORS = (gzip.BadGzipFile, EOFError, zlib.error)
"""Errors that reading a damaged gzip stream raises."""

MAX_RATIO = 200
"""Most bytes that a byte of a file of pictures may unpack to."""

_BLOCK_BYTES = 4 * 2**20
_UBYTE = 0x08
_CHUNK = 1 << 20


@dataclass(frozen=True)
class IdxReader:
    """An open IDX file whose header has been checked."""

    what: str
    """Names the file in messages."""
    shape: tuple[int, ...]
    """[n, height, width] for pictures, [n] for labels."""
    stream: IO[bytes]

    def blocks(self, count: int) -> Iterator[NDArray[np.uint8]]:
        """The values in order, as uint8 arrays [at most ``count``, …].

        Raises:
            DataError: The file ends early, goes on after its last value, or its gzip stream is broken.
        """
        item = int(np.prod(self.shape[1:], dtype=np.int64))
        for start in range(0, self.shape[0], count):
            size = min(count, self.shape[0] - start)
            data = read_exactly(self.stream, size * item, self.what)
            yield np.frombuffer(data, np.uint8).reshape(size, *self.shape[1:])
        with reporting_damage(self.what):
            if self.stream.read(1):
                raise DataError(f"{self.what} goes on after the {self.shape[0]} items its header announces")

    def all(self) -> NDArray[np.uint8]:
        """Every value; for labels, which are one byte each. Raises ``DataError`` as :meth:`blocks` does."""
        return np.concatenate(list(self.blocks(1 << 16)))


def is_packed(path: Path) -> bool:
    """Whether a file is gzip: by its first two bytes, not by its name."""
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


@contextmanager
def open_content(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked when it is gzip."""
    with path.open("rb") as raw:
        if is_packed(path):
            with gzip.GzipFile(fileobj=raw) as stream:
                yield cast("IO[bytes]", stream)
        else:
            yield raw


@contextmanager
def reporting_damage(what: str) -> Iterator[None]:
    """Turn the errors of a damaged gzip stream into ``DataError``."""
    try:
        yield
    except GZIP_ERRORS as error:
        raise DataError(f"{what} is damaged or cut short: {error}") from error


def read_exactly(stream: IO[bytes], size: int, what: str) -> bytes:
    """``size`` bytes of a stream. Raises ``DataError`` when there are fewer."""
    parts = bytearray()
    with reporting_damage(what):
        while len(parts) < size:
            part = stream.read(min(size - len(parts), _CHUNK))
            if not part:
                raise DataError(
                    f"{what} is cut short: {size} more bytes were expected, {len(parts)} are there"
                )
            parts += part
    return bytes(parts)


@contextmanager
def open_idx(path: Path, dimensions: int, what: str = "") -> Iterator[IdxReader]:
    """Open an IDX file and check its header.

    Args:
        path: Plain or gzipped.
        dimensions: 3 for pictures, 1 for labels.
        what: Names the file in messages; its path when empty.

    Raises:
        DataError: The header is not that of unsigned bytes with that many dimensions, there are no
            items or more than :data:`MAX_ITEMS`, or a picture's side is above :data:`MAX_SIDE`.
    """
    with open_content(path) as stream:
        yield read_header(stream, dimensions, what or str(path))


def read_header(stream: IO[bytes], dimensions: int, what: str) -> IdxReader:
    """Check the header of an unpacked IDX file: as :func:`open_idx`."""
    header = read_exactly(stream, 4, what)
    if header != bytes([0, 0, _UBYTE, dimensions]):
        raise DataError(
            f"{what} is not an IDX file of unsigned bytes with {dimensions} dimension(s): it begins "
            f"with {header.hex(' ')}, expected 00 00 08 {dimensions:02x}"
        )
    shape = struct.unpack(f">{dimensions}I", read_exactly(stream, 4 * dimensions, what))
    if not 1 <= shape[0] <= MAX_ITEMS or any(not 1 <= side <= MAX_SIDE for side in shape[1:]):
        raise DataError(
            f"{what} announces the shape {list(shape)}: 1 to {MAX_ITEMS:,} items and sides from 1 to "
            f"{MAX_SIDE} are accepted"
        )
    return IdxReader(what, shape, stream)


def idx_entries(
    images: ByteRange, labels: ByteRange | None, largest: int, prefix: str = ""
) -> Iterator[Entry]:
    """The pictures of an IDX file with their labels, in order; each holds its block of some MiB in memory.

    Args:
        images: The pictures, plain or gzipped.
        labels: Their labels, plain or gzipped; None for pictures without.
        largest: Most bytes of a picture.
        prefix: Begins the pictures' names, whose rest is their position.

    Raises:
        DataError: As :func:`open_idx` and :meth:`IdxReader.blocks`; a picture is larger than ``largest``; a
            file announces more than :data:`MAX_RATIO` times its size; there are not as many labels.
    """
    reader = _open_range(images, 3)
    count, height, width = reader.shape
    if height * width > largest:
        raise DataError(
            f"{images.what} has pictures of {height * width:,} bytes; at most {largest:,} are accepted. "
            "Scale them down"
        )
    if count * height * width > MAX_RATIO * images.size:
        raise DataError(
            f"{images.what} has {images.size:,} bytes and announces {count * height * width:,}; at most "
            f"{MAX_RATIO} times its size is accepted: it is truncated or a bomb"
        )
    classes = None if labels is None else _open_range(labels, 1).all()
    if labels is not None and classes is not None and len(classes) != count:
        raise DataError(
            f"{images.what} holds {count:,} pictures, but {labels.what} {len(classes):,} labels; they must "
            "be as many"
        )
    number = 0
    for block in reader.blocks(max(1, _BLOCK_BYTES // (height * width))):
        for picture in block:
            label = None if classes is None else str(classes[number])
            yield array_entry(f"{prefix}{number:07d}", picture, label)
            number += 1


def _open_range(source: ByteRange, dimensions: int) -> IdxReader:
    stream = cast("IO[bytes]", Stream(source))
    if source.read_at(0, min(2, source.size)) == b"\x1f\x8b":
        stream = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
    return read_header(stream, dimensions, source.what)


def check_idx_set(files: Mapping[str, IdxFile]) -> None:
    """Read four IDX files of an unknown dataset to their ends and compare them with one another.

    Raises:
        DataError: A file is missing, damaged, or does not fit the others.
    """
    missing = [name for name in IDX_NAMES if name not in files]
    if missing:
        raise DataError(f"an IDX dataset is four files, plain or with .gz; missing: {', '.join(missing)}")
    shapes = {}
    for name in IDX_NAMES:
        with open_idx(files[name].path, 3 if "images" in name else 1, files[name].what) as reader:
            shapes[name] = reader.shape
            for _ in reader.blocks(1024):
                pass
    for images, labels in zip(IDX_NAMES[0::2], IDX_NAMES[1::2], strict=True):
        if shapes[images][0] != shapes[labels][0]:
            raise DataError(
                f"{files[images].what} holds {shapes[images][0]} pictures, but {files[labels].what} "
                f"{shapes[labels][0]} labels; they must be as many"
            )
    train, held_out = shapes[IDX_NAMES[0]], shapes[IDX_NAMES[2]]
    if train[1:] != held_out[1:]:
        raise DataError(
            f"training pictures are {list(train[1:])}, held-out ones {list(held_out[1:])}; they must agree"
        )


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an array as gzipped IDX; the same array gives the same bytes."""
    header = bytes([0, 0, _UBYTE, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    _write_gzip(path, [header, values.tobytes()])


def pack(source: Path, target: Path) -> None:
    """Gzip a plain file; the same content gives the same bytes."""
    with source.open("rb") as stream:
        _write_gzip(target, iter(lambda: stream.read(_CHUNK), b""))


def _write_gzip(path: Path, parts: Iterable[bytes]) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as out,
    ):
        for part in parts:
            out.write(part)
