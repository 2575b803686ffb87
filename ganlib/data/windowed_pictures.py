"""The training pictures of a version of which a machine holds a window of shards at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganlib.data.order import Window, WindowedOrder
from ganlib.data.pictures import map_shard
from ganlib.data.window_files import WindowFiles
from ganlib.records import DatasetVersion, Shard


class WindowedPictures:
    """Pictures of the windows at hand, mapped from their shards.

    Args:
        version: What is trained on.
        shards: Its training shards, in order.
        order: The order in which the pictures are read.
        files: Keeps the windows' files on this machine; closed with these pictures.
    """

    def __init__(
        self, version: DatasetVersion, shards: Sequence[Shard], order: WindowedOrder, files: WindowFiles
    ) -> None:
        self._version, self._shards, self._files = version, tuple(shards), files
        counts = torch.tensor([shard.images for shard in shards])
        self._ends = counts.cumsum(0)
        self._starts = self._ends - counts
        self._windows: tuple[Window, ...] = ()
        self._mapped: dict[int, tuple[Tensor, Tensor]] = {}
        self.order = order
        """The order of these pictures: no other one keeps to the windows."""

    def __len__(self) -> int:
        return self._version.count("train")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self._version.image_shape

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures, on this machine or not."""
        channels, height, width = self.image_shape
        return len(self) * channels * height * width

    def windows_for(self, start: int, stop: int) -> tuple[Window, ...] | None:
        """The windows to move on to before these positions are read; ``None`` when they are at hand.

        Args:
            start: First position of the order, 0 or more.
            stop: The position after the last one.
        """
        windows = self.order.windows_for(start, stop)
        return None if windows == self._windows else windows

    def move_on(self, windows: tuple[Window, ...]) -> None:
        """Let go of all other windows, and have these fetched; returns at once.

        All workers of the run have read what lies before these windows.
        """
        self._windows = windows
        kept = {number for window in windows for number in window.shards}
        self._mapped = {number: parts for number, parts in self._mapped.items() if number in kept}
        self._files.keep(windows)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen pictures of the windows at hand, copied, in the order asked for; waits until they are there.

        Args:
            index: int64 [k] in 0..n-1, on the CPU.

        Returns:
            uint8 [k, channels, height, width] and int64 [k].

        Raises:
            GanlibError: A shard cannot be fetched, or is not what its record says.
        """
        images = torch.empty((len(index), *self.image_shape), dtype=torch.uint8)
        labels = torch.empty(len(index), dtype=torch.int64)
        which = torch.bucketize(index, self._ends, right=True)
        for number in sorted(set(which.tolist())):
            here = (which == number).nonzero().squeeze(1)
            part, part_labels = self._shard(number)
            rows = index[here] - self._starts[number]
            images[here], labels[here] = part.index_select(0, rows), part_labels.index_select(0, rows)
        return images, labels

    def fetch_all(self) -> None:
        """Wait until all windows at hand are there. Raises as :meth:`gather`."""
        for window in self._windows:
            for number in window.shards:
                self._files.path_of(number)

    def close(self) -> None:
        """End the fetching; pictures can no longer be had."""
        self._mapped = {}
        self._files.close()

    def _shard(self, number: int) -> tuple[Tensor, Tensor]:
        parts = self._mapped.get(number)
        if parts is None:
            path, classes = self._files.path_of(number), len(self._version.classes)
            parts = map_shard(path, self._shards[number], self.image_shape, classes)
            self._mapped[number] = parts
        return parts
