"""Files of prepared pixels, sorted by the pixels' digests: the work files of a preparation, and shards.

A preparation writes its pictures in sorted files, each as large as memory allows, and merges these to the
shards of a version, as an external merge sort does. The shards of an earlier version are such files, too, so
what they hold is not decoded again.

All are named by their path below ``datasets/NAME/``::

    work/KEY/UNIT-0001.pixels           uint8 [n, channels, height, width], nothing else
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

RUN_BYTES = 32 * 2**20
"""Bytes of pixels in one work file, about."""

_MAX_HEADER_BYTES = 2**16
_RUN_NAME = re.compile(
    r"work/[0-9a-f]{64}/[0-9a-f]{16}-[0-9]{4}\.pixels|[0-9a-f]{64}/shards/[a-z0-9_-]{1,64}\.safetensors"
)


@dataclass(frozen=True)
class Runs:
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

    def write(self, run: str, pixels: NDArray[np.uint8]) -> None:
        """Store a work file: uint8 [n, channels, height, width]."""
        self._check(run)
        if self.folder is None:
            self.store.put(self._key(run), np.ascontiguousarray(pixels).tobytes())
            return
        path = self.folder / run
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels.tofile(path)

    def read(self, run: str, first: int, stop: int) -> NDArray[np.uint8]:
        """Some pictures: uint8 [stop - first, channels, height, width].

        Raises:
            ObjectMissing: The file is gone.
            DataError: It is shorter, or no file of pixels of this shape.
        """
        self._check(run)
        size = self.picture_bytes
        start, length = first * size, (stop - first) * size
        if self.folder is not None and run.startswith("work/"):
            data = FileRange.open(self.folder / run).read_at(start, length)
        else:
            start += self._start(run)
            # The size is not known, nor needed: too short an answer is an error.
            info = ObjectInfo(self._key(run), start + length, "")
            data = ObjectRange(self.store, info).read_at(start, length)
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape)

    def _start(self, run: str) -> int:
        """Position of the pixels in the file."""
        if not run.endswith(".safetensors"):
            return 0
        if run not in self._starts:
            key = self._key(run)
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
            self._starts[run] = 8 + length + offset
        return self._starts[run]

    def _key(self, run: str) -> str:
        return f"datasets/{self.dataset}/{run}"

    @staticmethod
    def _check(run: str) -> None:
        if not _RUN_NAME.fullmatch(run):
            raise DataError(f"{run!r:.200} is no file of prepared pixels")
