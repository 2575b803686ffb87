"""Latents as a function of (seed, stream, step): nothing to save, the same for any number of workers."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import torch
from torch import Tensor, nn

Stream = Literal[
    "critic",
    "generator",
    "mix",
    "critic dropout",
    "generator dropout",
    "grid",
    "evaluate",
    "gate",
    "calibrate",
    "sample",
    "truncation",
]
"""What the noise is for; different streams of one seed share nothing."""


def stream_seed(seed: int, stream: Stream, step: int) -> int:
    """63 bits from a hash of (seed, stream, step), to seed a generator of random numbers with."""
    key = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "little") >> 1


def latents(seed: int, stream: Stream, step: int, count: int, latent_dim: int) -> Tensor:
    """Latents from N(0, I): float32 [count, latent_dim] on the CPU.

    The generator behind them is seeded from a hash of (seed, stream, step), so a stopped run needs
    no random state to go on, and each worker draws the whole batch and keeps its share.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, stream, step))
    return torch.randn(count, latent_dim, generator=generator)


SAMPLE_BLOCK = 64
"""Pictures whose latents are drawn together."""


def sample_latents(
    seed: int, start: int, count: int, latent_dim: int, truncation: float | None = None
) -> Tensor:
    """Latents of the pictures ``start`` … ``start + count − 1`` of a seed: float32 [count, latent_dim].

    A picture's latent depends on the seed and the picture's number alone. They are drawn in blocks
    of 64, each from a stream of its own and always whole, because torch's normal numbers depend on
    how many are drawn at once.

    Args:
        seed: Of the pictures.
        start: The first picture's number.
        count: How many.
        latent_dim: Length of a latent.
        truncation: A threshold above 0: components beyond ±it are drawn again from the part of the
            normal distribution within (the truncation trick; Brock et al. 2019, arXiv:1809.11096,
            section 3.1); the others stay. ``None``: none are.
    """
    first = start // SAMPLE_BLOCK
    blocks = range(first, -(-(start + count) // SAMPLE_BLOCK))
    drawn = torch.cat([_latent_block(seed, block, latent_dim, truncation) for block in blocks])
    return drawn[start - first * SAMPLE_BLOCK :][:count]


def _latent_block(seed: int, block: int, latent_dim: int, truncation: float | None) -> Tensor:
    drawn = latents(seed, "sample", block, SAMPLE_BLOCK, latent_dim)
    if truncation is None:
        return drawn
    # The inverse of the truncated distribution function: the same distribution as drawing until a
    # number lies within, in one draw instead of an unknown number of them.
    shares = uniforms(seed, "truncation", block, drawn.numel()).view_as(drawn) * 2 - 1
    within = math.sqrt(2) * torch.erfinv(shares * math.erf(truncation / math.sqrt(2)))
    return torch.where(drawn.abs() <= truncation, drawn, within.clamp(-truncation, truncation))


def spherical(ends: Tensor, steps: int) -> Tensor:
    """Latents on the way from each of some latents to the next, both included.

    Spherical interpolation (Shoemake 1985, "Animating rotation with quaternion curves"; for latents,
    White 2016, arXiv:1609.04468): between a and b with the angle Ω between them, at share t,
    ``(sin((1 − t)Ω) · a + sin(tΩ) · b) / sin Ω``. A straight line would come nearer to the origin
    than nearly all latents of a normal distribution lie. Between parallel ones it is a straight line.

    Args:
        ends: float32 [k, latent_dim], k ≥ 2.
        steps: Steps from one to the next, at least 1.

    Returns:
        float32 [(k − 1) · steps + 1, latent_dim]; number ``i · steps`` is ``ends[i]`` to the bit.
    """
    share = (torch.arange(steps + 1, dtype=torch.float64) / steps)[:, None]
    parts = [ends[:1]]
    for a, b in zip(ends[:-1].double(), ends[1:].double(), strict=True):
        cosine = torch.dot(a, b) / (a.norm() * b.norm())
        angle = torch.acos(cosine.clamp(-1, 1))
        sine = torch.sin(angle)
        if bool(sine > 1e-6):
            way = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / sine
        else:
            way = (1 - share) * a + share * b
        parts.append(way[1:-1].float())
        parts.append(b[None].float())
    return torch.cat(parts)


def uniforms(seed: int, stream: Stream, step: int, count: int) -> Tensor:
    """Numbers from the uniform distribution on [0, 1): float32 [count] on the CPU, as :func:`latents`."""
    generator = torch.Generator().manual_seed(stream_seed(seed, stream, step))
    return torch.rand(count, generator=generator)


def labels_in_turn(classes: int, count: int) -> Tensor | None:
    """Labels 0, 1, … and again from 0: int64 [count]; ``None`` where there are no classes."""
    return torch.arange(count) % classes if classes else None


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor, labels: Tensor | None = None, batch: int = 250) -> Tensor:
    """Pictures for latents [n, latent_dim], in batches: float32 [n, c, h, w] in [−1, 1] on the CPU.

    The generator is used in eval mode and left in the mode it was in.

    Args:
        generator: The generator.
        noise: Latents.
        labels: int64 [n], for a conditional generator and no other.
        batch: Pictures made at a time; it bounds memory and changes no result.
    """
    device = next(generator.parameters()).device
    training = generator.training
    generator.eval()
    try:
        parts = []
        for start in range(0, len(noise), batch):
            here = slice(start, start + batch)
            given = (noise[here], *(() if labels is None else (labels[here],)))
            parts.append(generator(*(value.to(device) for value in given)).float().cpu())
    finally:
        generator.train(training)
    return torch.cat(parts)


@torch.no_grad()
def calibrate_batch_norm(generator: nn.Module, seed: int, *, batches: int = 16, batch: int = 256) -> None:
    """Measure batch-norm statistics anew for the weights that are there now, in place.

    Averaged weights are not the weights whose statistics were collected in training, and those
    lag behind them; a plain mean over fresh batches belongs to the weights as they are (Izmailov
    et al. 2018, arXiv:1803.05407, section 3.2). The result depends on weights and seed only.
    A generator without batch norm is left alone; a conditional one is asked for all classes alike.
    """
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    if not norms:
        return
    device = next(generator.parameters()).device
    latent_dim, classes = int(generator.latent_dim), int(generator.classes)  # type: ignore[arg-type]
    labels = labels_in_turn(classes, batch)
    given = () if labels is None else (labels.to(device),)
    training, momenta = generator.training, [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative mean
    generator.train()
    for step in range(batches):
        generator(latents(seed, "calibrate", step, batch, latent_dim).to(device), *given)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.train(training)
