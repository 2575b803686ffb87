"""One critic step and one generator step: the two halves of the paper's Algorithm 1.

With several workers each network has its own ``DistributedDataParallel`` wrapper. A step calls the
wrapper of the network that it trains and the bare module of the other one, so that only gradients
that an optimizer will use are averaged over the workers.

Batch norm uses the statistics of each worker's own share of the batch, as one device would with a
smaller batch. Its running statistics therefore differ between workers. That does no harm: training
never reads them, checkpoints hold rank 0's, and the published average measures its own
(:func:`~ganlib.core.sampling.calibrate_batch_norm`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ganlib.core.hardware import Acceleration, MemoryLayout
from ganlib.core.layers import Dropout
from ganlib.core.objectives import R1, CriticLoss, Mix, Objective, Score
from ganlib.core.sampling import Stream, stream_seed
from ganlib.core.spectral import iterate_spectral_norms
from ganlib.core.state import TrainState

See = Callable[[Tensor, Stream, int], Tensor]
"""This worker's pictures [batch, c, h, w], the stream of their random numbers, and the number of the step →
the pictures as the critic sees them (:class:`ganlib.core.augmentation.Views`)."""


class WorkerPlace(NamedTuple):
    """This process's rank, the number of workers of the run, and this process's device."""

    rank: int = 0
    workers: int = 1
    device: torch.device = torch.device("cpu")

    def share(self, batch: Tensor) -> Tensor:
        """Return this worker's contiguous part [batch / workers, …] of a global batch, on its device."""
        size = batch.shape[0] // self.workers
        return batch[self.rank * size : (self.rank + 1) * size].to(self.device, non_blocking=True)


def data_parallel(network: nn.Module, place: WorkerPlace) -> nn.Module:
    """Return the network, wrapped for averaging gradients if ``torch.distributed`` is initialized."""
    if not dist.is_initialized():
        return network
    return DistributedDataParallel(
        network,
        device_ids=[place.device] if place.device.type == "cuda" else None,
        forward_sync_buffers=False,
        gradient_as_bucket_view=True,
    )


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside the block, pass gradients through the network without computing those of its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def seed_dropout(network: nn.Module, seed: int, stream: Stream, step: int, place: WorkerPlace) -> None:
    """Make a step's dropout masks depend only on (seed, stream, step, row in the global batch)."""
    for layer, module in enumerate(network.modules()):
        if isinstance(module, Dropout):
            module.seed(stream_seed(seed, stream, step) ^ layer, place.share, place.workers)


@dataclass(frozen=True)
class Steps:
    """The critic step and the generator step over one state.

    Args:
        state: Networks and optimizers; changed in place.
        critic: The result of :func:`data_parallel` for the state's critic.
        generator: The result of :func:`data_parallel` for the state's generator.
        objective: The losses and the constraint.
        acceleration: Number format and memory layout of the passes.
        device: The device of the networks.
        see: Changes pictures to what the critic sees.
        conditional: Whether the networks take labels.
        r1: Penalty beside the objective, counted in the state's critic steps.
    """

    state: TrainState
    critic: nn.Module
    generator: nn.Module
    objective: Objective
    acceleration: Acceleration
    device: torch.device
    see: See
    conditional: bool = False
    r1: R1 = field(default_factory=R1)

    def critic_step(self, real: Tensor, labels: Tensor, noise: Tensor, mix: Mix) -> CriticLoss:
        """Update the critic once.

        Args:
            real: This worker's pictures, uint8 [batch, c, h, w].
            labels: The pictures' labels, int64 [batch]; generated pictures get the same ones.
                Unconditional networks ignore them.
            noise: This worker's latents [batch, latent_dim].
            mix: Handed to the objective; see :data:`~ganlib.core.objectives.Mix`.

        Returns:
            Loss, Wasserstein estimate and scores on this worker's share, without gradient.
        """
        state = self.state
        with self.acceleration.autocast(self.device):
            with torch.no_grad():
                fake = self._call(state.generator, noise, labels)
            pictures = to_float(real, self.device, noise.dtype, self.acceleration.layout)
            pictures = self.see(pictures, "augment real", state.critic_steps)
            fake = self.see(fake, "augment generated", state.critic_steps)
            score: Score = partial(self._call, self.critic, labels=labels)
            result = self.objective.critic_loss(score, pictures, fake, mix)
            if self.r1.due(state.critic_steps):
                result = result._replace(loss=result.loss + self.r1.penalty(score, pictures))
        state.critic_optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        state.critic_optimizer.step()
        self.objective.constrain(state.critic)
        iterate_spectral_norms(state.critic)
        return result._replace(loss=result.loss.detach())

    def generator_step(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Update the generator once.

        Args:
            noise: This worker's latents [batch, latent_dim].
            labels: Classes of the pictures to generate, int64 [batch]; unconditional networks
                ignore them.

        Returns:
            Loss on this worker's share, a scalar without gradient.
        """
        state = self.state
        with frozen(state.critic), self.acceleration.autocast(self.device):
            score: Score = partial(self._call, state.critic, labels=labels)
            fake = self._call(self.generator, noise, labels)
            seen = self.see(fake, "augment for generator", state.generator_steps)
            loss = self.objective.generator_loss(score, seen)
        state.generator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.generator_optimizer.step()
        return loss.detach()

    def _call(self, network: nn.Module, given: Tensor, labels: Tensor) -> Tensor:
        result: Tensor = network(given, labels) if self.conditional else network(given)
        return result


def to_float(
    pictures: Tensor,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    layout: MemoryLayout = "contiguous",
) -> Tensor:
    """Convert pictures uint8 [batch, c, h, w] to floats in [−1, 1] on the device; 0 is −1 and 255 is 1.

    Pictures are converted on the device, because bytes are a quarter of the traffic of floats.
    """
    order = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    values = pictures.to(device, non_blocking=True).to(dtype, memory_format=order)
    return values.div_(127.5).sub_(1.0)
