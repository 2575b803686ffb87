"""The order in which a run sees its pictures: a permutation for each epoch, one after another.

Everything is a pure function of a seed, a position in the endless stream, and for a windowed order of the
shards' sizes and the window. So any number of workers on any machines agree, and a run that resumes goes on
exactly as it would have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ganlib.errors import ConfigError


class Order(Protocol):
    """Maps positions of the stream to pictures."""

    def at(self, positions: Tensor) -> Tensor:
        """Pictures at some positions.

        Args:
            positions: int64 [k], each 0 or more, increasing.

        Returns:
            int64 [k], numbers of pictures, from 0 to their count less 1.
        """
        ...


class WholeOrder:
    """Every epoch is a permutation of all pictures.

    Args:
        count: Number of pictures, 1 or more.
        seed: Any integer.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._orders: dict[int, Tensor] = {}

    def at(self, positions: Tensor) -> Tensor:
        """Pictures at some positions; see :class:`Order`."""
        epochs = positions // self._count
        index = torch.empty_like(positions)
        for epoch in sorted(set(epochs.tolist())):
            here = epochs == epoch
            index[here] = self._order(epoch)[positions[here] - epoch * self._count]
        return index

    def _order(self, epoch: int) -> Tensor:
        order = self._orders.get(epoch)
        if order is None:
            order = _permutation("order", self._seed, epoch, self._count)
            # A batch may lie across two epochs; older ones are not needed again.
            self._orders = {
                **{near: kept for near, kept in self._orders.items() if near == epoch - 1},
                epoch: order,
            }
        return order


class Window(NamedTuple):
    """Some shards whose pictures come one after another."""

    epoch: int
    number: int
    """Its number in the epoch, from 0."""
    shards: tuple[int, ...]
    """Numbers of shards in the order of the version's list, increasing."""
    end: int
    """The position in the endless stream after its last picture."""


class WindowedOrder:
    """Every epoch is a permutation of the shards; pictures are permuted within windows of some of them.

    Pictures that are near one another in the stream lie in few shards, so a machine needs to hold two
    windows only: the one that is read, and the next.

    Args:
        counts: Pictures in each shard, in the order of the version; each 1 or more, at least one shard.
        seed: Any integer.
        window: Shards in a window but the last of an epoch, 1 or more; all of them, and more, are one window.

    Raises:
        ConfigError: ``window`` is less than 1.
    """

    def __init__(self, counts: Sequence[int], seed: int, window: int) -> None:
        if window < 1:
            raise ConfigError(f"a window of {window} shards holds no pictures; it must be at least 1")
        self._counts, self._seed, self._window = tuple(counts), seed, window
        self._starts = (0, *accumulate(self._counts))
        self._count = self._starts[-1]
        self._epochs: dict[int, tuple[list[tuple[int, ...]], Tensor]] = {}
        self._within: dict[tuple[int, int], Tensor] = {}

    def at(self, positions: Tensor) -> Tensor:
        """Pictures at some positions; see :class:`Order`."""
        index = torch.empty_like(positions)
        epochs = positions // self._count
        for epoch in sorted(set(epochs.tolist())):
            in_epoch = epochs == epoch
            offsets = positions[in_epoch] - epoch * self._count
            _, ends = self._epoch(epoch)
            windows = torch.bucketize(offsets, ends, right=True)
            found = torch.empty_like(offsets)
            for window in sorted(set(windows.tolist())):
                here = windows == window
                start = int(ends[window - 1]) if window else 0
                found[here] = self._pictures(epoch, window)[offsets[here] - start]
            index[in_epoch] = found
        return index

    def windows_for(self, start: int, stop: int) -> tuple[Window, ...]:
        """The windows to have at hand while a stretch of positions is read.

        Args:
            start: First position, 0 or more.
            stop: The position after the last one, more than ``start``.

        Returns:
            Every window with a picture of the stretch, in order. When that is one window, the window after it
            as well, which may belong to the next epoch: it can be fetched meanwhile.
        """
        windows = [self._window_at(start)]
        while windows[-1].end < stop or len(windows) == 1:
            windows.append(self._window_at(windows[-1].end))
        return tuple(windows)

    def _window_at(self, position: int) -> Window:
        epoch, offset = divmod(position, self._count)
        windows, ends = self._epoch(epoch)
        number = int(torch.bucketize(torch.tensor(offset), ends, right=True))
        return Window(epoch, number, windows[number], epoch * self._count + int(ends[number]))

    def _epoch(self, epoch: int) -> tuple[list[tuple[int, ...]], Tensor]:
        """The windows of an epoch as numbers of shards, and where each ends: int64 [windows]."""
        known = self._epochs.get(epoch)
        if known is None:
            shards = _permutation("shards", self._seed, epoch, len(self._counts)).tolist()
            windows = [
                tuple(sorted(shards[first : first + self._window]))
                for first in range(0, len(shards), self._window)
            ]
            sizes = torch.tensor([sum(self._counts[shard] for shard in window) for window in windows])
            known = windows, sizes.cumsum(0)
            self._epochs = {
                **{near: kept for near, kept in self._epochs.items() if abs(near - epoch) == 1},
                epoch: known,
            }
        return known

    def _pictures(self, epoch: int, window: int) -> Tensor:
        """The pictures of a window in their order: int64 [n]."""
        known = self._within.get((epoch, window))
        if known is None:
            shards = self._epoch(epoch)[0][window]
            pictures = torch.cat(
                [torch.arange(self._starts[shard], self._starts[shard + 1]) for shard in shards]
            )
            known = pictures[_permutation(f"window-{window}", self._seed, epoch, len(pictures))]
            # A batch may lie across two windows.
            last = list(self._within.items())[-1:]
            self._within = {**dict(last), (epoch, window): known}
        return known


def mix(use: str, seed: int, number: int) -> int:
    """63 bits out of a seed and a number, different for each use of a seed."""
    digest = hashlib.sha256(f"{use}/{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _permutation(use: str, seed: int, number: int, count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(use, seed, number)))
