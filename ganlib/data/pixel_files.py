"""Files of prepared pixels, sorted by the pixels' digests: the work files of a preparation, and shards.

A preparation writes its pictures in sorted files, each as large as memory allows, and merges these to the
shards of a version, as an external merge sort does. The shards of an earlier version are such files, too, so
what they hold is not decoded again.

All are named by their path below ``datasets/NAME/``::

    preparing/KEY/UNIT-0001.pixels           uint8 [n, channels, height, width], nothing else
    DIGEST/shards/train-00000.safetensors
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.entries import FileRange, ObjectRange
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore

FILE_BYTES = 32 * 2**20
"""Bytes of pixels in one work file, about."""

_MAX_HEADER_BYTES = 2**16
_FILE_NAME = re.compile(
    r"preparing/[0-9a-f]{64}/[0-9a-f]{16}-[0-9]{4}\.pixels|[0-9a-f]{64}/shards/[a-z0-9_-]{1,64}\.safetensors"
)


@dataclass(frozen=True)
class PixelFiles:
    """Sorted files of pixels of one dataset.

    Args:
        store: Holds those of the cluster's workers, and shards.
        dataset: Name of the dataset.
        shape: Channels, height, width.
        folder: Where this process writes its own; ``None``: in the store.
    """

    store: ObjectStore
    dataset: str
    shape: tuple[int, int, int]
    folder: Path | None = None
    _starts: dict[str, int] = field(default_factory=dict)

    @property
    def picture_bytes(self) -> int:
        """Bytes of a picture."""
        channels, height, width = self.shape
        return channels * height * width

    def write(self, file: str, pixels: NDArray[np.uint8]) -> None:
        """Store a work file: uint8 [n, channels, height, width]."""
        self._check(file)
        if self.folder is None:
            self.store.put(self._key(file), np.ascontiguousarray(pixels).tobytes())
            return
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels.tofile(path)

    def read(self, file: str, first: int, stop: int) -> NDArray[np.uint8]:
        """Some pictures: uint8 [stop - first, channels, height, width].

        Raises:
            ObjectMissing: The file is gone.
            DataError: It is shorter, or no file of pixels of this shape.
        """
        self._check(file)
        size = self.picture_bytes
        start, length = first * size, (stop - first) * size
        if self.folder is not None and file.startswith("preparing/"):
            data = FileRange.open(self.folder / file).read_at(start, length)
        else:
            start += self._start(file)
            # The size is not known, nor needed: too short an answer is an error.
            info = ObjectInfo(self._key(file), start + length, "")
            data = ObjectRange(self.store, info).read_at(start, length)
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape)

    def _start(self, file: str) -> int:
        """Position of the pixels in the file."""
        if not file.endswith(".safetensors"):
            return 0
        if file not in self._starts:
            key = self._key(file)
            length = int.from_bytes(self.store.get_range(key, 0, 8), "little")
            if length > _MAX_HEADER_BYTES:
                raise DataError(
                    f"{key} has a header of {length:,} bytes; at most {_MAX_HEADER_BYTES:,} are read"
                )
            try:
                images = json.loads(self.store.get_range(key, 8, length))["images"]
                offset, shape, kind = int(images["data_offsets"][0]), images["shape"][1:], images["dtype"]
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise DataError(f"{key} is no shard: {error!r}") from error
            if kind != "U8" or tuple(shape) != self.shape or offset < 0:
                raise DataError(f"{key} holds {kind} {shape}, and pictures of {self.shape} are expected")
            self._starts[file] = 8 + length + offset
        return self._starts[file]

    def _key(self, file: str) -> str:
        return f"datasets/{self.dataset}/{file}"

    @staticmethod
    def _check(file: str) -> None:
        if not _FILE_NAME.fullmatch(file):
            raise DataError(f"{file!r:.200} is no file of prepared pixels")
