"""Random numbers as functions of (seed, stream, step), and pictures generated from latents.

No random state has to be saved, and the numbers are the same for any number of workers.
"""

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
    "augment real",
    "augment generated",
    "augment for generator",
    "critic dropout",
    "generator dropout",
    "grid",
    "evaluate",
    "calibrate",
    "sample",
    "truncation",
]
"""Purpose of the random numbers; streams of one seed are independent of each other."""


def stream_seed(seed: int, stream: Stream, step: int) -> int:
    """Return 63 bits of a hash of (seed, stream, step), to seed a generator of random numbers with."""
    key = hashlib.blake2b(f"{seed}/{stream}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(key, "little") >> 1


def latents(seed: int, stream: Stream, step: int, count: int, latent_dim: int) -> Tensor:
    """Draw latents from N(0, I): float32 [count, latent_dim] on the CPU.

    They depend on the arguments alone. So a run resumes without a saved random state, and each worker
    draws the global batch and keeps its share.
    """
    generator = torch.Generator().manual_seed(stream_seed(seed, stream, step))
    return torch.randn(count, latent_dim, generator=generator)


SAMPLE_BLOCK = 64
"""Number of pictures whose latents are drawn together."""


def sample_latents(
    seed: int, start: int, count: int, latent_dim: int, truncation: float | None = None
) -> Tensor:
    """Draw latents of the pictures ``start`` … ``start + count − 1`` of a seed: float32 [count, latent_dim].

    A picture's latent depends only on the seed, the picture's number and the truncation. torch's normal
    numbers depend on how many are drawn in one call, so latents are always drawn in whole blocks of
    :data:`SAMPLE_BLOCK`.

    Args:
        seed: Seed of the pictures.
        start: Number of the first picture.
        count: Number of pictures.
        latent_dim: Length of a latent.
        truncation: Threshold above 0, or ``None``. Components outside [−truncation, truncation] are
            drawn again from the normal distribution truncated to it (the truncation trick; Brock et
            al. 2019, arXiv:1809.11096, section 3.1); the others are kept.
    """
    first = start // SAMPLE_BLOCK
    blocks = range(first, -(-(start + count) // SAMPLE_BLOCK))
    drawn = torch.cat([_latent_block(seed, block, latent_dim, truncation) for block in blocks])
    return drawn[start - first * SAMPLE_BLOCK :][:count]


def _latent_block(seed: int, block: int, latent_dim: int, truncation: float | None) -> Tensor:
    drawn = latents(seed, "sample", block, SAMPLE_BLOCK, latent_dim)
    if truncation is None:
        return drawn
    # Inverse-transform sampling: the same distribution as redrawing until a number lies within the
    # threshold, with one draw instead of an unknown number of them.
    shares = uniforms(seed, "truncation", block, drawn.numel()).view_as(drawn) * 2 - 1
    within = math.sqrt(2) * torch.erfinv(shares * math.erf(truncation / math.sqrt(2)))
    return torch.where(drawn.abs() <= truncation, drawn, within.clamp(-truncation, truncation))


def spherical(ends: Tensor, steps: int) -> Tensor:
    """Interpolate on a sphere from each latent to the next.

    Spherical interpolation (Shoemake 1985, "Animating rotation with quaternion curves"; for latents,
    White 2016, arXiv:1609.04468): between a and b with the angle Ω between them, at t in [0, 1],
    ``(sin((1 − t)Ω) · a + sin(tΩ) · b) / sin Ω``. A straight line would pass nearer to the origin
    than almost all normally distributed latents. Between parallel latents the formula has no value,
    and a straight line is used.

    Args:
        ends: float32 [k, latent_dim], k ≥ 2.
        steps: Number of steps from one latent to the next, at least 1.

    Returns:
        float32 [(k − 1) · steps + 1, latent_dim]; row ``i · steps`` has the bits of ``ends[i]``.
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
    """Draw from the uniform distribution on [0, 1): float32 [count] on the CPU; see :func:`latents`."""
    generator = torch.Generator().manual_seed(stream_seed(seed, stream, step))
    return torch.rand(count, generator=generator)


def labels_in_turn(classes: int, count: int) -> Tensor | None:
    """Return labels 0, 1, …, classes − 1, 0, 1, … as int64 [count]; ``None`` if ``classes`` is 0."""
    return torch.arange(count) % classes if classes else None


@torch.no_grad()
def generate(generator: nn.Module, noise: Tensor, labels: Tensor | None = None, batch: int = 250) -> Tensor:
    """Generate pictures from latents: float32 [n, c, h, w] in [−1, 1] on the CPU.

    The generator runs in eval mode; its former mode is restored afterwards.

    Args:
        generator: The generator.
        noise: Latents [n, latent_dim].
        labels: int64 [n] for a conditional generator, ``None`` for an unconditional one.
        batch: Pictures generated at a time; bounds the memory and does not change the result.
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
    """Replace a generator's batch-norm statistics by those of its present weights, in place.

    The statistics collected in training belong to other weights than the averaged ones. Here they are
    the plain mean over ``batches`` batches of ``batch`` new latents (Izmailov et al. 2018,
    arXiv:1803.05407, section 3.2), with all classes equally often. The result depends on weights and
    seed only. A generator without batch norm is not changed.
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
        norm.momentum = None  # None makes torch compute a cumulative mean
    generator.train()
    for step in range(batches):
        generator(latents(seed, "calibrate", step, batch, latent_dim).to(device), *given)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.train(training)
