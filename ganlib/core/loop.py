"""The WGAN training loop. Start reading here.

A WGAN trains two networks against each other. The *critic* gives every picture a score and learns
to score real pictures above generated ones. A constraint (weight clipping, or a gradient penalty)
bounds how fast the score can change from picture to picture; under it, the gap between the two mean
scores estimates the Wasserstein distance between real and generated pictures. The *generator* turns
noise into pictures and learns to raise their scores. Its gradient is useful only while the critic is
well trained, so several critic steps (:mod:`~ganlib.core.cadence`) come before each generator step
(Arjovsky et al. 2017, arXiv:1701.07875, Algorithm 1).

:func:`train` is a Python generator: it trains, and yields a :class:`Progress` after every generator
step. The caller reports, evaluates and saves between two steps, and stops the run by no longer
iterating. The training clock counts images: real pictures that the critic has seen, over all workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ganlib.core.augmentation import DiffAugment, Views
from ganlib.core.average import Averaging, update_average
from ganlib.core.cadence import Cadence
from ganlib.core.hardware import Acceleration
from ganlib.core.learning_rates import Schedule
from ganlib.core.objectives import R1, Objective
from ganlib.core.sampling import Stream, latents, uniforms
from ganlib.core.state import TrainState
from ganlib.core.steps import Steps, WorkerPlace, data_parallel, seed_dropout


class Batch(NamedTuple):
    """One worker's share of the pictures of a critic step, on its device."""

    images: Tensor
    """uint8 [batch / workers, channels, height, width] in 0..255."""
    labels: Tensor
    """int64 [batch / workers]."""


Batches = Callable[[int], Batch]
"""Number of a critic step, from 0 → this worker's share of that step's global batch."""


@dataclass(frozen=True)
class Plan:
    """Everything the loop needs besides the state and the pictures; constant during a run."""

    objective: Objective
    cadence: Cadence
    averaging: Averaging
    batch_size: int
    """Pictures in a critic step and latents in a generator step, over all workers."""
    total_images: int
    """The loop ends after the first generator step at which this many images have been seen."""
    latent_dim: int
    seed: int
    acceleration: Acceleration = field(default_factory=Acceleration)
    schedule: Schedule = field(default_factory=Schedule)
    r1: R1 = field(default_factory=R1)
    augmentation: DiffAugment | None = None


@dataclass(frozen=True)
class Progress:
    """Counters and losses after a generator step.

    The tensors are scalars on the training device, of this worker's share of the batch: reading one
    may wait for the device.
    """

    images_seen: int
    generator_steps: int
    critic_loss: Tensor
    """Loss at the last critic step."""
    wasserstein: Tensor
    """E f(real) − E f(fake) at the last critic step."""
    generator_loss: Tensor
    """Loss at this generator step."""


def train(
    state: TrainState,
    batches: Batches,
    plan: Plan,
    place: WorkerPlace = WorkerPlace(),  # noqa: B008
) -> Iterator[Progress]:
    """Train ``state`` in place until ``plan.total_images``, yielding after every generator step.

    A state that was saved and restored continues with the same bits as an uninterrupted run: noise
    and pictures depend only on the plan's seed and the state's counters. When ``torch.distributed`` is
    initialized, gradients are averaged over its workers.
    """
    views = Views(plan.augmentation, state, plan.seed, plan.batch_size, place.share)
    steps = Steps(
        state=state,
        critic=data_parallel(state.critic, place),
        generator=data_parallel(state.generator, place),
        objective=plan.objective,
        acceleration=plan.acceleration,
        device=place.device,
        see=views,
        conditional=state.conditional,
        r1=plan.r1,
    )
    dtype = next(state.generator.parameters()).dtype

    def noise(stream: Stream, step: int) -> Tensor:
        return place.share(latents(plan.seed, stream, step, plan.batch_size, plan.latent_dim)).to(dtype)

    def mix(step: int) -> Tensor:
        return place.share(uniforms(plan.seed, "mix", step, plan.batch_size))

    state.generator.train()
    state.critic.train()
    while state.images_seen < plan.total_images:
        began, images_before = time.perf_counter(), state.images_seen
        for optimizer in (state.critic_optimizer, state.generator_optimizer):
            plan.schedule.apply(optimizer, state.images_seen)

        for _ in range(plan.cadence.critic_steps(state.generator_steps)):
            step = state.critic_steps
            seed_dropout(state.critic, plan.seed, "critic dropout", step, place)
            batch = batches(step)
            critic = steps.critic_step(batch.images, batch.labels, noise("critic", step), partial(mix, step))
            views.adapt(critic.on_real)
            state.critic_steps += 1
            state.images_seen += plan.batch_size

        step = state.generator_steps
        seed_dropout(state.critic, plan.seed, "generator dropout", step, place)
        # Generate the classes of the last real batch, so that classes come as often as in the dataset.
        generator_loss = steps.generator_step(noise("generator", step), batch.labels)
        state.generator_steps += 1

        decay = plan.averaging.decay(state.images_seen, state.images_seen - images_before)
        update_average(state.average, state.generator, decay)
        state.seconds += time.perf_counter() - began

        yield Progress(
            images_seen=state.images_seen,
            generator_steps=state.generator_steps,
            critic_loss=critic.loss,
            wasserstein=critic.wasserstein,
            generator_loss=generator_loss,
        )
