"""Latents as a function of (seed, stream, step): nothing to save, the same for any number of workers."""

from __future__ import annotations

import hashlib
from typing import Literal

import torch
from torch import Tensor, nn

Stream = Literal["critic", "generator", "grid", "evaluate", "calibrate", "sample"]
"""What the noise is for; different streams of one seed share nothing."""


def latents(seed: int, stream: Stream, step: int, count: int, latent_dim: int) -> Tensor:
    """Latents from N(0, I): float32 [count, latent_dim] on the CPU.

    The generator behind them is seeded from a hash of (seed, stream, step), so a stopped run needs
    no random state to go on, and each worker draws the whole batch and keeps its share.
    """
    key = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "little") >> 1)
    return torch.randn(count, latent_dim, generator=generator)


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor, batch: int = 250) -> Tensor:
    """Pictures for latents [n, latent_dim], in batches: float32 [n, c, h, w] in [−1, 1] on the CPU.

    The generator is used in eval mode and left in the mode it was in.
    """
    device = next(generator.parameters()).device
    training = generator.training
    generator.eval()
    try:
        parts = [generator(part.to(device)).float().cpu() for part in noise.split(batch)]
    finally:
        generator.train(training)
    return torch.cat(parts)


@torch.no_grad()
def calibrate_batch_norm(generator: nn.Module, seed: int, *, batches: int = 16, batch: int = 256) -> None:
    """Measure batch-norm statistics anew for the weights that are there now, in place.

    Averaged weights are not the weights whose statistics were collected in training, and those
    lag behind them; a plain mean over fresh batches belongs to the weights as they are (Izmailov
    et al. 2018, arXiv:1803.05407, section 3.2). The result depends on weights and seed only.
    A generator without batch norm is left alone.
    """
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    device = next(generator.parameters()).device
    latent_dim = int(getattr(generator, "latent_dim"))  # noqa: B009 - a Module's attribute is untyped
    training, momenta = generator.training, [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative mean
    generator.train()
    for step in range(batches):
        generator(latents(seed, "calibrate", step, batch, latent_dim).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.train(training)
