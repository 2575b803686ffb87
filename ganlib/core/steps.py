"""One critic step and one generator step: the two halves of the paper's Algorithm 1.

Under data parallelism each network has its own ``DistributedDataParallel`` wrapper, and each step
calls the wrapper of the network that it trains and the bare module of the other one, so that
nothing is reduced that no optimizer will use.

Batch norm keeps the statistics of a worker's own share of the batch, as DCGAN on one device would
with a smaller batch. Running statistics therefore differ between workers; they never enter
training, rank 0's are the run's, and the published average measures its own
(:func:`~ganlib.core.sampling.calibrate_batch_norm`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ganlib.core.hardware import Acceleration, Layout
from ganlib.core.layers import Dropout
from ganlib.core.objectives import CriticLoss, Mix, Objective, Score
from ganlib.core.sampling import Stream, stream_seed
from ganlib.core.state import TrainState


class WorkerPlace(NamedTuple):
    """Where this process stands among the workers of a run."""

    rank: int = 0
    workers: int = 1
    device: torch.device = torch.device("cpu")

    def share(self, batch: Tensor) -> Tensor:
        """This worker's contiguous part of a global batch, on its device."""
        size = batch.shape[0] // self.workers
        return batch[self.rank * size : (self.rank + 1) * size].to(self.device, non_blocking=True)


def data_parallel(network: nn.Module, place: WorkerPlace) -> nn.Module:
    """The network, wrapped for gradient averaging when a process group is up."""
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
    """Parameters without gradients inside the block: gradients flow through, none are kept."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def seed_dropout(network: nn.Module, seed: int, stream: Stream, step: int, place: WorkerPlace) -> None:
    """Make the dropout masks of a step functions of (seed, stream, step, place in the global batch)."""
    for layer, module in enumerate(network.modules()):
        if isinstance(module, Dropout):
            module.seed(stream_seed(seed, stream, step) ^ layer, place.share, place.workers)


@dataclass(frozen=True)
class Steps:
    """The two steps over one state, with what they need bound once.

    Args:
        state: Networks and optimizers; changed in place.
        critic: The critic as it is called to be trained: wrapped, or the bare module itself.
        generator: Likewise the generator.
        objective: The losses and the constraint.
        acceleration: How the passes are computed.
        device: Where the networks are.
        conditional: Whether the networks take labels.
    """

    state: TrainState
    critic: nn.Module
    generator: nn.Module
    objective: Objective
    acceleration: Acceleration
    device: torch.device
    conditional: bool = False

    def critic_step(self, real: Tensor, labels: Tensor, noise: Tensor, mix: Mix) -> CriticLoss:
        """Improve the critic once.

        Args:
            real: This worker's pictures, uint8 [batch, c, h, w].
            labels: Their labels, int64 [batch]; generated pictures get the same. Unconditional
                networks do not look at them.
            noise: This worker's latents [batch, latent_dim].
            mix: Draws from the uniform distribution on [0, 1), [batch]; for the objective.

        Returns:
            Its loss and Wasserstein estimate on this worker's share, scalars without gradient.
        """
        state = self.state
        with self.acceleration.autocast(self.device):
            with torch.no_grad():
                fake = self._call(state.generator, noise, labels)
            pictures = to_float(real, self.device, noise.dtype, self.acceleration.layout)
            score: Score = partial(self._call, self.critic, labels=labels)
            result = self.objective.critic_loss(score, pictures, fake, mix)
        state.critic_optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        state.critic_optimizer.step()
        self.objective.constrain(state.critic)
        return CriticLoss(result.loss.detach(), result.wasserstein)

    def generator_step(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Improve the generator once.

        Args:
            noise: This worker's latents [batch, latent_dim].
            labels: What pictures to make, int64 [batch].

        Returns:
            Its loss on this worker's share, a scalar without gradient.
        """
        state = self.state
        with frozen(state.critic), self.acceleration.autocast(self.device):
            score: Score = partial(self._call, state.critic, labels=labels)
            loss = self.objective.generator_loss(score, self._call(self.generator, noise, labels))
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
    layout: Layout = "contiguous",
) -> Tensor:
    """uint8 [batch, c, h, w] → float in [−1, 1] on the device; 0 is −1 and 255 is 1.

    Pictures stay bytes until they are on the device: a quarter of the traffic.
    """
    order = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    values = pictures.to(device, non_blocking=True).to(dtype, memory_format=order)
    return values.div_(127.5).sub_(1.0)
