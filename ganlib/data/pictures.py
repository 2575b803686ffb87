"""The pictures of a split as tensors, mapped from their shards without a copy where possible."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganlib.errors import DataError
from ganlib.records import Shard

CONCATENATE_BELOW_BYTES = 2 * 2**30
"""Several shards are copied into one tensor in memory below this many bytes, and left mapped above."""


class Pictures:
    """Pictures and labels that may lie in several tensors.

    Args:
        parts: uint8 [n, channels, height, width] each, at least one; only the first dimension differs.
        labels: int64 [sum of the n].
        keep: Referred to as long as the pictures are: the hold on the files that they are mapped from.
    """

    def __init__(self, parts: Sequence[Tensor], labels: Tensor, keep: object = None) -> None:
        self._parts, self._keep = tuple(parts), keep
        self._ends = torch.tensor([len(part) for part in parts]).cumsum(0)
        self.labels = labels
        """int64 [n], on the CPU."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self._parts[0].shape[1:]
        return channels, height, width

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures."""
        return sum(part.nbytes for part in self._parts)

    @property
    def in_one_piece(self) -> bool:
        """Whether :attr:`images` costs nothing."""
        return len(self._parts) == 1

    @property
    def images(self) -> Tensor:
        """All pictures, uint8 [n, channels, height, width]; a copy in memory unless in one piece."""
        return self._parts[0] if self.in_one_piece else torch.cat(self._parts)

    def gather(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Chosen pictures, copied, in the order asked for.

        Args:
            index: int64 [k] in 0..n-1, on the CPU.

        Returns:
            uint8 [k, channels, height, width] and int64 [k].
        """
        if self.in_one_piece:
            return self._parts[0].index_select(0, index), self.labels.index_select(0, index)
        images = torch.empty((len(index), *self.image_shape), dtype=torch.uint8)
        which = torch.bucketize(index, self._ends, right=True)
        starts = torch.cat([self._ends.new_zeros(1), self._ends[:-1]])
        for number in sorted(set(which.tolist())):
            here = (which == number).nonzero().squeeze(1)
            images[here] = self._parts[number].index_select(0, index[here] - starts[number])
        return images, self.labels.index_select(0, index)


def open_pictures(
    folder: Path,
    shards: Sequence[Shard],
    shape: tuple[int, int, int],
    *,
    classes: int,
    concatenate_below: int = CONCATENATE_BELOW_BYTES,
    keep: object = None,
) -> Pictures:
    """The pictures of some shards.

    One shard is mapped from disk. Several are copied into one tensor when they have fewer than
    ``concatenate_below`` bytes together, and stay mapped otherwise.

    Args:
        folder: Holds each shard under its path.
        shards: In order; none gives no pictures.
        shape: Channels, height, width.
        classes: Number of classes; labels lie below it, and are all 0 when it is 0.
        concatenate_below: Bytes.
        keep: As in :class:`Pictures`.

    Raises:
        DataError: A shard is gone, is not what its record says, or has a label that is no class.
    """
    mapped = [map_shard(folder / shard.path, shard, shape, classes) for shard in shards]
    if not mapped:
        return Pictures([torch.empty((0, *shape), dtype=torch.uint8)], torch.empty(0, dtype=torch.int64))
    images = [part for part, _ in mapped]
    labels = [part for _, part in mapped]
    if len(images) > 1 and sum(part.nbytes for part in images) < concatenate_below:
        images = [torch.cat(images)]
    return Pictures(images, torch.cat(labels) if len(labels) > 1 else labels[0], keep)


def map_shard(path: Path, shard: Shard, shape: tuple[int, int, int], classes: int) -> tuple[Tensor, Tensor]:
    """A shard's pictures, uint8 [n, c, h, w] and mapped from disk, and labels, int64 [n].

    Raises as :func:`open_pictures`.
    """
    wanted = {"images": ("U8", [shard.images, *shape]), "labels": ("I64", [shard.images])}
    try:
        with safe_open(path, framework="pt") as file:
            # From the header, before any memory is taken.
            slices = {name: file.get_slice(name) for name in wanted}
            found = {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
            if found != wanted:
                raise DataError(
                    f"{path} holds {found}, its manifest says {wanted}; prepare the dataset again"
                )
            images, labels = file.get_tensor("images"), file.get_tensor("labels")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} cannot be read as a shard ({error}); pull the dataset again") from error
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= max(1, classes):
        raise DataError(
            f"{path} has labels from {low} to {high}, its manifest has {classes} classes; prepare the "
            "dataset again"
        )
    return images, labels
