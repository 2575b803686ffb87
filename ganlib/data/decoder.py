"""Decoding a unit of raw pictures into sorted files of pixels and a row for each picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from threading import BoundedSemaphore
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from ganlib.data.formats.decode import decode_picture, fit_picture
from ganlib.data.formats.entries import PictureRefused, Refused, UnusableContent, shown_name
from ganlib.data.formats.headers import check_file_size
from ganlib.data.near_copies import perceptual_hashes
from ganlib.data.picture_rows import RowBuilder, digest_order
from ganlib.data.pixel_files import FILE_BYTES, PixelFiles
from ganlib.data.preparation import Preparation
from ganlib.data.raw.contents import RawPicture
from ganlib.data.split import pixel_digest
from ganlib.data.threads import ordered_map
from ganlib.data.units import Unit
from ganlib.errors import DataError, ObjectMissing, ObjectReplaced


class Decoded(NamedTuple):
    """A picture in its final shape."""

    picture: RawPicture
    pixels: NDArray[np.uint8]
    """uint8 [channels, size, size]."""
    digest: bytes


class Unusable(NamedTuple):
    """A picture that cannot be used."""

    picture: RawPicture
    refused: Refused


@dataclass(frozen=True)
class Decoder:
    """Decodes units of one preparation.

    Args:
        files: Where the pixels go.
        prefix: Key prefix of the raw objects.
        preparation: How.
        threads: Pictures that are read or decoded at once.
        processors: Pictures that are decoded at once.
        key: Digest of the preparation, which names the files.
    """

    files: PixelFiles
    prefix: str
    preparation: Preparation
    threads: int
    processors: int
    key: str

    @cached_property
    def _free(self) -> BoundedSemaphore:
        """Processors that decode nothing: the other threads wait for storage, or for one of these."""
        return BoundedSemaphore(self.processors)

    def decode(self, unit: Unit, count: Callable[[int], None] = lambda pictures: None) -> pa.Table:
        """Decode a unit; the same unit gives the same files and rows again.

        Args:
            unit: The pictures.
            count: Told how many more are done.

        Returns:
            A row for each picture (:data:`ganlib.data.picture_rows.SCHEMA`).

        Raises:
            ObjectMissing: A raw object is gone.
            DataError: A container is damaged, or a raw object was replaced.
            ServiceError: The store cannot be reached.
        """
        work = _Work(self.files, f"preparing/{self.key}/{unit.name}")
        stamp = "" if unit.container is None else unit.container.stamp
        pictures = self._read(unit) if unit.streamed else unit.pictures(self.files.store, self.prefix)
        for done in ordered_map(self._decode, pictures, threads=self.threads, name="ganlib-decode"):
            if isinstance(done, Refused):
                work.rows.refuse_unread(done, stamp)
            elif isinstance(done, Unusable):
                work.rows.refuse(done.picture, done.refused)
            else:
                work.add(done)
            count(1)
        work.flush()
        return work.rows.table()

    def _read(self, unit: Unit) -> Iterator[RawPicture | Unusable | Refused]:
        """The pictures of a container with their content, which can be read here only, in order."""
        for picture in unit.pictures(self.files.store, self.prefix):
            if isinstance(picture, Refused) or picture.entry.pixels is not None:
                yield picture
                continue
            data = content_of(picture)
            if isinstance(data, Refused):
                yield Unusable(picture, data)
            else:
                held = picture.entry._replace(read=_holding(data))
                yield picture._replace(entry=held)

    def _decode(self, picture: RawPicture | Unusable | Refused) -> Decoded | Unusable | Refused:
        if not isinstance(picture, RawPicture):
            return picture
        data = None if picture.entry.pixels is not None else content_of(picture)
        if isinstance(data, Refused):
            return Unusable(picture, data)
        with self._free:
            made = prepared_pixels(picture, data, self.preparation, self.files.shape[0])
            if isinstance(made, Refused):
                return Unusable(picture, made)
            return Decoded(without_content(picture), made, pixel_digest(made))


def prepared_pixels(
    picture: RawPicture, data: bytes | None, preparation: Preparation, channels: int
) -> NDArray[np.uint8] | Refused:
    """A picture in its final shape, uint8 [channels, size, size], or why it cannot be used.

    Args:
        picture: The picture.
        data: Its file; ``None`` for one of an array.
        preparation: Size, fit, background.
        channels: 1 or 3.
    """
    size, fit, colour = preparation.size, preparation.fit, preparation.colour
    if data is None:
        assert picture.entry.pixels is not None
        return fit_picture(Image.fromarray(picture.entry.pixels()), size, fit, channels, colour)
    try:
        return decode_picture(data, picture.name, size, fit, channels, colour)
    except PictureRefused as refused:
        return refused.refused(picture.name)


def content_of(picture: RawPicture) -> bytes | Refused:
    """The bytes of a picture file, or why they cannot be had.

    Raises:
        ObjectMissing: Its object is gone.
        DataError: It is an object by itself, which was replaced since it was listed.
    """
    try:
        check_file_size(picture.entry.size, picture.name)
        return picture.entry.read()
    except PictureRefused as refused:
        return refused.refused(picture.name)
    except (ObjectMissing, ObjectReplaced):
        raise
    except DataError as error:
        if picture.name == picture.path == picture.entry.name:
            raise  # an object by itself is not damaged in reading
        reason = error.reason if isinstance(error, UnusableContent) else "unreadable"
        return Refused(name=shown_name(picture.name), reason=reason, detail=str(error)[:400])


def without_content(picture: RawPicture) -> RawPicture:
    """The picture without its bytes or pixels, so that these go when it is decoded."""
    return picture._replace(entry=picture.entry._replace(read=_holding(b""), pixels=None))


def _holding(data: bytes) -> Callable[[], bytes]:
    return lambda: data


@dataclass
class _Work:
    """Pictures in hand, written as a file when they are many."""

    files: PixelFiles
    prefix: str
    rows: RowBuilder = field(default_factory=RowBuilder)
    held: list[Decoded] = field(default_factory=list)
    written: int = 0

    def add(self, decoded: Decoded) -> None:
        self.held.append(decoded)
        if len(self.held) * self.files.picture_bytes >= FILE_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self.held:
            return
        file = f"{self.prefix}-{self.written:04d}.pixels"
        digests = np.frombuffer(b"".join(each.digest for each in self.held), np.uint8).reshape(-1, 32)
        order = digest_order(digests, np.arange(len(self.held)))
        pixels = np.stack([self.held[at].pixels for at in order])
        self.files.write(file, pixels)
        for row, (at, bits) in enumerate(zip(order, perceptual_hashes(pixels), strict=True)):
            done = self.held[at]
            self.rows.add(done.picture, done.digest, int(bits), file, row)
        self.held, self.written = [], self.written + 1
