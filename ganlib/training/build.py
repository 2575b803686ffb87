"""From a configuration to the core's objects: the only place that reads one for them.

Networks and objectives take plain arguments (:mod:`ganlib.core`); this module picks them.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import nn

from ganlib.config.run import RunConfig
from ganlib.core.augmentation import Adaptive, DiffAugment
from ganlib.core.average import Averaging
from ganlib.core.cadence import Cadence
from ganlib.core.dense import DenseCritic, DenseGenerator
from ganlib.core.hardware import Acceleration, accelerate
from ganlib.core.learning_rates import Schedule
from ganlib.core.loop import Plan
from ganlib.core.networks import Critic, Generator
from ganlib.core.objectives import (
    R1,
    Hinge,
    NonSaturating,
    Objective,
    Wasserstein,
    WassersteinGradientPenalty,
)
from ganlib.core.residual import ResidualCritic, ResidualGenerator
from ganlib.core.state import OptimizerFactory, TrainState
from ganlib.errors import ConfigError
from ganlib.records import DatasetVersion
from ganlib.training.spec import count_classes


def build_generator(config: RunConfig, dataset: DatasetVersion) -> nn.Module:
    """An untrained generator of such pictures, weights from torch's seed."""
    channels, size, _ = dataset.image_shape
    network, classes = config.network, count_classes(config, dataset)
    if network.kind == "dense":
        return DenseGenerator(
            size=size,
            channels=channels,
            latent_dim=network.latent_dim,
            widths=network.generator_widths,
            classes=classes,
        )
    if network.kind == "resnet":
        return ResidualGenerator(
            size=size,
            channels=channels,
            latent_dim=network.latent_dim,
            width=network.generator_width,
            norm=network.generator_norm,
            classes=classes,
        )
    return Generator(
        size=size,
        channels=channels,
        latent_dim=network.latent_dim,
        width=network.generator_width,
        norm=network.generator_norm,
        extra_layers=network.extra_layers,
        classes=classes,
    )


def build_critic(config: RunConfig, dataset: DatasetVersion) -> nn.Module:
    """An untrained critic of such pictures, weights from torch's seed."""
    channels, size, _ = dataset.image_shape
    network, classes = config.network, count_classes(config, dataset)
    if network.kind == "dense":
        return DenseCritic(
            size=size,
            channels=channels,
            widths=network.critic_widths,
            dropout=network.dropout,
            classes=classes,
        )
    if network.kind == "resnet":
        return ResidualCritic(
            size=size,
            channels=channels,
            width=network.critic_width,
            norm=network.critic_norm,
            classes=classes,
        )
    return Critic(
        size=size,
        channels=channels,
        width=network.critic_width,
        norm=network.critic_norm,
        extra_layers=network.extra_layers,
        classes=classes,
    )


def untrained(config: RunConfig, dataset: DatasetVersion) -> tuple[nn.Module, nn.Module]:
    """Generator and critic as a run of this configuration begins with, on any machine and worker."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return build_generator(config, dataset), build_critic(config, dataset)


def fresh_state(config: RunConfig, dataset: DatasetVersion, device: torch.device) -> TrainState:
    """The state before the first step, on a device."""
    generator, critic = untrained(config, dataset)
    optimizer = build_optimizer(config)
    state = TrainState.fresh(
        generator.to(device),
        critic.to(device),
        partial(optimizer, lr=config.optimizer.generator_learning_rate),
        partial(optimizer, lr=config.optimizer.critic_learning_rate),
    )
    acceleration = build_acceleration(config, device)
    acceleration.prepare(state.generator)
    acceleration.prepare(state.critic)
    acceleration._replace(compilation="off").prepare(state.average)
    return state


def build_acceleration(config: RunConfig, device: torch.device) -> Acceleration:
    """Build the choice of number format, memory layout and compilation for a device.

    Raises:
        ConfigError: The device has no such number format.
    """
    compute = config.compute
    try:
        return accelerate(device, compute.precision, compute.layout, compute.compilation)
    except ValueError as error:
        raise ConfigError(f"compute.precision = {compute.precision} cannot be used: {error}") from error


def build_optimizer(config: RunConfig) -> OptimizerFactory:
    """The optimizer of both networks, its learning rate left open."""
    chosen, kernels = config.optimizer, pick_kernels(config)
    if chosen.kind == "adam":
        betas = (chosen.beta1, chosen.beta2)
        return partial(torch.optim.Adam, betas=betas, fused=kernels == "fused", foreach=kernels == "foreach")
    return partial(torch.optim.RMSprop, foreach=kernels == "foreach")


def pick_kernels(config: RunConfig) -> Literal["foreach", "fused", "loop"]:
    """Kernels of the optimizers' updates, ``auto`` resolved."""
    kernels = config.compute.optimizer_kernels
    if kernels == "auto":
        # On a CPU at 28×28, width 16, the loop was 5 to 8 % faster with fused Adam; RMSprop has none.
        return "fused" if config.optimizer.kind == "adam" else "foreach"
    return kernels


def build_objective(config: RunConfig) -> Objective:
    """Build the networks' losses."""
    chosen = config.objective
    if chosen.kind == "wasserstein-gp":
        return WassersteinGradientPenalty(chosen.penalty)
    if chosen.kind == "non-saturating":
        return NonSaturating(chosen.real_label)
    if chosen.kind == "hinge":
        return Hinge()
    return Wasserstein(chosen.clip)


def build_schedule(config: RunConfig) -> Schedule:
    """The learning rates over the run."""
    if config.schedule.kind == "constant":
        return Schedule()
    end = round(config.budget.total_kimg * 1000)
    return Schedule(decay_from_images=round(end * config.schedule.decay_from), decay_to_images=end)


def build_augmentation(config: RunConfig) -> DiffAugment | None:
    """Build the changes of what the critic sees; ``None``: it sees the pictures themselves."""
    chosen = config.augmentation
    if chosen.kind == "off":
        return None
    return DiffAugment(
        colour=chosen.colour,
        translation=chosen.translation,
        cutout=chosen.cutout,
        probability=chosen.probability,
        adaptive=Adaptive(chosen.target, chosen.ramp_kimg * 1000) if chosen.adaptive else None,
    )


def build_cadence(config: RunConfig) -> Cadence:
    """Critic steps before each generator step."""
    return Cadence(n_critic=config.cadence.n_critic, bursts=config.cadence.bursts)


def build_plan(config: RunConfig, device: torch.device) -> Plan:
    """Build the loop's plan from a configuration, for a device."""
    return Plan(
        objective=build_objective(config),
        cadence=build_cadence(config),
        averaging=Averaging(
            half_life_images=config.averaging.half_life_kimg * 1000, warmup=config.averaging.warmup
        ),
        batch_size=config.batch_size,
        total_images=round(config.budget.total_kimg * 1000),
        latent_dim=config.network.latent_dim,
        seed=config.seed,
        acceleration=build_acceleration(config, device),
        schedule=build_schedule(config),
        r1=R1(config.r1.gamma, config.r1.every),
        augmentation=build_augmentation(config),
    )
