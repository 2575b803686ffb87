"""Training batches by step number.

The pictures form one endless stream: a permutation for each epoch, one after another. Step ``s``
with global batch ``B`` takes positions ``s·B`` to ``(s+1)·B`` of it, and each worker a contiguous
share of those. Everything is a function of (seed, position), so any number of workers sees the
same global batch, and a run that resumes at a step goes on exactly as it would have.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganlib.core.loop import Batch
from ganlib.data.order import Order, WholeOrder, mix
from ganlib.data.pictures import Pictures
from ganlib.data.windowed_pictures import WindowedPictures
from ganlib.errors import ConfigError, DataError

RESIDENT_SHARE = 0.25
"""A dataset lives on a GPU when it takes at most this share of the memory that is free there."""


class TrainingBatches:
    """``batches(step)`` gives the batch of any step, in any order.

    Args:
        pictures: The training split; of windowed ones the order is their own.
        seed: Seed of the order and the flips; any integer.
        batch_size: The global batch, over all workers.
        rank: This worker, 0 to ``world_size - 1``.
        world_size: Number of workers.
        device: Device of the batches.
        flip: Mirror each picture left to right with probability one half, anew in each epoch.
        order: The order of the pictures; ``None``: each epoch is a permutation of all of them.

    Raises:
        ConfigError: ``batch_size`` is not a positive multiple of ``world_size``, or ``rank`` is not below it.
        DataError: There are no pictures.
    """

    def __init__(
        self,
        pictures: Pictures | WindowedPictures,
        *,
        seed: int,
        batch_size: int,
        rank: int,
        world_size: int,
        device: torch.device | str,
        flip: bool = False,
        order: Order | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ConfigError(
                f"rank is {rank}, but must be from 0 to {world_size - 1} with {world_size} workers"
            )
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"a global batch of {batch_size} pictures cannot be shared by {world_size} workers: "
                f"batch_size must be a positive multiple of the number of workers"
            )
        if len(pictures) == 0:
            raise DataError("there are no pictures to train on; prepare a dataset with at least 2")
        self.pictures = pictures
        self.seed, self.batch_size, self.flip = seed, batch_size, flip
        self.rank, self.world_size, self.device = rank, world_size, torch.device(device)
        self._order = order or WholeOrder(len(pictures), seed)
        if isinstance(pictures, WindowedPictures):
            self._order = pictures.order
        self._resident = self._move_to_device()

    @property
    def resident(self) -> bool:
        """Whether the whole dataset lives on a device of its own memory."""
        return self._resident is not None

    def __call__(self, step: int) -> Batch:
        """This worker's share of a step.

        Args:
            step: 0 or more; steps may be asked for in any order, in order is fastest.
        """
        if step < 0:
            raise ValueError(f"step is {step}; steps begin at 0")
        self._move_window(step)
        share = self.batch_size // self.world_size
        positions = torch.arange(share) + (step * self.batch_size + self.rank * share)
        index = self._order.at(positions)
        if self._resident is not None:
            index = index.to(self.device)
            images, labels = self._resident.images[index], self._resident.labels[index]
        else:
            images, labels = self._to_device(*self.pictures.gather(index))
        if self.flip:
            mirrored = self._flipped_at(positions).to(self.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        return Batch(images, labels)

    def _move_window(self, step: int) -> None:
        """Have the windows of a step at hand, where pictures come by windows."""
        if not isinstance(self.pictures, WindowedPictures):
            return
        windows = self.pictures.windows_for(step * self.batch_size, (step + 1) * self.batch_size)
        if windows is None:
            return
        if self.device.type == "cuda":
            # Until the earlier steps' gradients are there, averaged over all workers: then all workers have
            # read what lies before this step. On a CPU no worker comes here any earlier.
            torch.cuda.synchronize(self.device)
        self.pictures.move_on(windows)

    def _flipped_at(self, positions: Tensor) -> Tensor:
        """Whether each position is mirrored: bool [k], from a bit of a hash (splitmix64) of it."""
        key = np.uint64(mix("flip", self.seed, 0))
        values = positions.numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return torch.from_numpy((values >> np.uint64(63)) == 1)

    def _move_to_device(self) -> Batch | None:
        # Mapped pictures are in the CPU's memory already, so only a GPU gets a copy.
        if self.device.type != "cuda" or isinstance(self.pictures, WindowedPictures):
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if self.pictures.nbytes > RESIDENT_SHARE * free:
            return None
        return Batch(self.pictures.images.to(self.device), self.pictures.labels.to(self.device))

    def _to_device(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.device.type != "cuda":
            return images.to(self.device), labels.to(self.device)
        # From pinned memory the copy runs beside what the GPU is doing.
        return (
            images.pin_memory().to(self.device, non_blocking=True),
            labels.pin_memory().to(self.device, non_blocking=True),
        )
