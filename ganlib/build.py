"""From a configuration to the core's objects: the only place that reads one for them.

Networks and objectives take plain arguments (:mod:`ganlib.core`); this module picks them.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ganlib.config import RunConfig
from ganlib.core.average import Averaging
from ganlib.core.cadence import Cadence
from ganlib.core.loop import Plan
from ganlib.core.networks import Critic, Generator
from ganlib.core.objectives import Wasserstein
from ganlib.core.precision import resolve_precision
from ganlib.core.state import TrainState


def build_generator(config: RunConfig, image_shape: tuple[int, int, int]) -> Generator:
    """An untrained generator for pictures of [channels, height, width], weights from torch's seed."""
    channels, size, _ = image_shape
    return Generator(
        size=size,
        channels=channels,
        latent_dim=config.network.latent_dim,
        width=config.network.generator_width,
        norm=config.network.generator_norm,
    )


def build_critic(config: RunConfig, image_shape: tuple[int, int, int]) -> Critic:
    """An untrained critic for pictures of [channels, height, width], weights from torch's seed."""
    channels, size, _ = image_shape
    return Critic(
        size=size, channels=channels, width=config.network.critic_width, norm=config.network.critic_norm
    )


def untrained(config: RunConfig, image_shape: tuple[int, int, int]) -> tuple[nn.Module, nn.Module]:
    """Generator and critic as a run of this configuration begins with, on any machine and worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_generator(config, image_shape), build_critic(config, image_shape)


def fresh_state(config: RunConfig, image_shape: tuple[int, int, int], device: torch.device) -> TrainState:
    """The state before the first step, on a device."""
    generator, critic = untrained(config, image_shape)
    rmsprop = partial(torch.optim.RMSprop, foreach=True)
    return TrainState.fresh(
        generator.to(device),
        critic.to(device),
        partial(rmsprop, lr=config.optimizer.generator_learning_rate),
        partial(rmsprop, lr=config.optimizer.critic_learning_rate),
    )


def build_plan(config: RunConfig, device: torch.device) -> Plan:
    """What the loop is to do under this configuration on this device."""
    return Plan(
        objective=Wasserstein(clip=config.objective.clip),
        cadence=Cadence(n_critic=config.cadence.n_critic, bursts=config.cadence.bursts),
        averaging=Averaging(
            half_life_images=config.averaging.half_life_kimg * 1000, warmup=config.averaging.warmup
        ),
        batch_size=config.batch_size,
        total_images=round(config.budget.total_kimg * 1000),
        latent_dim=config.network.latent_dim,
        seed=config.seed,
        precision=resolve_precision(config.compute.precision, device),
    )
