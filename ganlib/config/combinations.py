"""Values of a configuration that are each right by themselves and cannot go together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganlib.config.run import RunConfig


def misfits(config: RunConfig) -> Iterator[str]:
    """Yield a line for each combination of fields that cannot be used: the fields, the reason, a remedy."""
    yield from _size_misfits(config)
    yield from _penalty_misfits(config)
    yield from _augmentation_misfits(config)
    yield from _kernel_misfits(config)
    yield from _batch_misfits(config)


def _size_misfits(config: RunConfig) -> Iterator[str]:
    if config.dataset.size > 128 and config.network.kind != "resnet":
        yield (
            f"dataset.size = {config.dataset.size} cannot go with network.kind = {config.network.kind}, "
            "which is for 128 pixels at the most; choose network.kind = resnet"
        )


def _penalty_misfits(config: RunConfig) -> Iterator[str]:
    critic_norm = getattr(config.network, "critic_norm", "none")
    if config.objective.kind == "wasserstein-gp" and critic_norm == "batch":
        yield (
            "network.critic_norm = batch cannot go with objective.kind = wasserstein-gp, whose penalty "
            "belongs to each picture by itself; choose layer, group, none or spectral"
        )
    if config.r1.gamma > 0 and critic_norm == "batch":
        yield (
            f"network.critic_norm = batch cannot go with r1.gamma = {config.r1.gamma:g}, whose penalty "
            "belongs to each picture by itself; choose layer, group, none or spectral, or r1.gamma = 0"
        )
    if config.objective.kind == "wasserstein" and critic_norm == "spectral":
        yield (
            "network.critic_norm = spectral cannot go with objective.kind = wasserstein, whose clipping "
            "bounds the same weights again; choose another objective, or batch, layer, group or none"
        )


def _augmentation_misfits(config: RunConfig) -> Iterator[str]:
    augmentation, objective = config.augmentation, config.objective.kind
    if augmentation.kind == "off":
        if augmentation.adaptive:
            yield (
                "augmentation.adaptive = true cannot go with augmentation.kind = off, which leaves nothing "
                "to adapt; choose augmentation.kind = diffaugment"
            )
        return
    if not (augmentation.colour or augmentation.translation or augmentation.cutout):
        yield (
            "augmentation.kind = diffaugment cannot go without any of augmentation.colour, translation and "
            "cutout; turn one on, or choose augmentation.kind = off"
        )
    if augmentation.adaptive and objective in ("wasserstein", "wasserstein-gp"):
        yield (
            f"augmentation.adaptive = true cannot go with objective.kind = {objective}, whose scores have no "
            "zero to tell overfitting by; choose hinge or non-saturating, or a fixed augmentation.probability"
        )
    if augmentation.adaptive and augmentation.probability != 1:
        yield (
            f"augmentation.probability = {augmentation.probability:g} cannot go with augmentation.adaptive = "
            "true, which begins at 0 by itself; leave one of them out"
        )


def _kernel_misfits(config: RunConfig) -> Iterator[str]:
    if config.compute.optimizer_kernels == "fused" and config.optimizer.kind == "rmsprop":
        yield (
            "compute.optimizer_kernels = fused cannot go with optimizer.kind = rmsprop, which torch has "
            "no fused kernels for; choose foreach"
        )


def _batch_misfits(config: RunConfig) -> Iterator[str]:
    few, many = config.compute.workers, config.compute.max_workers or config.compute.workers
    if many < few:
        yield f"compute.max_workers {many} must not be below compute.workers {few}, the fewest of them"
        return
    uneven = [workers for workers in range(few, many + 1) if config.batch_size % workers]
    if uneven:
        elastic = f", one of the counts up to compute.max_workers {many}" if many > few else ""
        yield (
            f"batch_size {config.batch_size} cannot be divided between compute.workers {uneven[0]}"
            f"{elastic}; choose a multiple of {math.lcm(*range(few, many + 1))}"
        )
    elif config.batch_size // many < 2 and config.network.normalizes_batches:
        yield (
            f"batch_size {config.batch_size} leaves compute.workers {many} one picture "
            "each, and batch norm needs two; raise batch_size or lower compute.workers"
        )
