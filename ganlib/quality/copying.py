"""Whether a generator repeats its training pictures: the nearest one to each of some generated pictures.

Held-out pictures, which the generator cannot have seen, give the baseline: their distances to the nearest
training pictures show how far new pictures are. A generator that has memorized its data comes much closer.

Distances are taken between pixels, of pictures scaled down to at most :data:`SIDE`. A repeated picture is
near in pixels whatever a network makes of it, and at a small size it stays near under the blur, the noise
and the shift by a pixel that a generator adds. Pictures repeated mirrored or in parts are not found.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from ganlib.quality.grids import Picture, grid
from ganlib.records import Copying

SAMPLES = 64
"""Generated pictures that are looked up, and held-out ones."""

SIDE = 32
"""Pixels of a side at which pictures are compared, at the most."""

BLOCK = 2048
"""Training pictures that are compared at a time."""

COLUMNS, MARGIN, CAPTION, SHOWN = 16, 4, 18, 48
"""Layout of the strip: pairs in a row, pixels around and above its halves, and the least side of a picture,
to which smaller ones are enlarged."""


class Nearest(NamedTuple):
    """The nearest training picture to each of q pictures."""

    distances: Tensor
    """float32 [q]: root of the mean squared difference of a pixel, pixels in [0, 1]; infinite where none was
    compared."""
    indices: Tensor
    """int64 [q]: its index; −1 where none was compared."""


def vectors(images: Tensor) -> Tensor:
    """Pictures as they are compared: float32 [n, d] in [0, 1], of uint8 [n, c, h, w].

    Scaled by area to at most :data:`SIDE` pixels a side, so that every pixel counts alike.
    """
    height, width = images.shape[2:]
    pixels = images.float() / 255
    if max(height, width) > SIDE:
        factor = SIDE / max(height, width)
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        pixels = functional.interpolate(pixels, size, mode="area")
    return pixels.flatten(1)


def nearest(queries: Tensor, blocks: Iterable[tuple[int, Tensor]]) -> Nearest:
    """The nearest pictures to some vectors.

    Args:
        queries: As :func:`vectors` gives them, [q, d].
        blocks: Pictures, uint8 [k, c, h, w], each with the index of its first; a block is in memory at a
            time. None at all is allowed.
    """
    best = torch.full((len(queries),), torch.inf)
    which = torch.full((len(queries),), -1, dtype=torch.int64)
    for start, images in blocks:
        others = vectors(images)
        squared = torch.addmm(others.square().sum(dim=1), queries, others.T, alpha=-2)
        index = squared.argmin(dim=1)
        # Recomputed from the difference: for a repeated picture the sum above is only rounding error.
        distances = (queries - others[index]).square().mean(dim=1).sqrt()
        closer = distances < best
        best[closer], which[closer] = distances[closer], index[closer] + start
    return Nearest(best, which)


def merge(parts: Iterable[Nearest]) -> Nearest:
    """The nearest of what several workers found, each among a part of the pictures."""
    found = list(parts)
    distances, worker = torch.stack([part.distances for part in found]).min(dim=0)
    indices = torch.stack([part.indices for part in found]).gather(0, worker[None])[0]
    return Nearest(distances, indices)


def copying(generated: Nearest, held_out: Nearest, *, sample: int = 0) -> Copying:
    """Medians of both distances.

    A held-out picture that is also in the training split, as a copy, is no new picture: counted in, copies
    would make the held-out distance smaller, and with it the check more lenient the more copies a dataset
    has. They are left out; when nothing is left the held-out distance is 0 and the ratio not measurable.

    Args:
        generated: The training pictures nearest to generated ones.
        held_out: Those nearest to held-out ones.
        sample: Training pictures that were looked at, where those are not all; else 0.
    """
    new = held_out.distances[held_out.distances > 0]
    return Copying(
        samples=len(generated.distances),
        generated_distance=float(generated.distances.median()),
        held_out_distance=float(new.median()) if len(new) else 0.0,
        held_out_copies=len(held_out.distances) - len(new),
        training_sample=sample,
    )


def strip(generated: tuple[Tensor, Tensor, Nearest], held_out: tuple[Tensor, Tensor, Nearest]) -> Picture:
    """A picture of both: each picture above the training picture nearest to it, nearest pairs first.

    Args:
        generated: Generated pictures, the training pictures nearest to them, both uint8 [n, c, h, w], and
            how near those are.
        held_out: The same for held-out pictures.

    Returns:
        uint8 [H, W, 3], with a line of text above each half.
    """
    halves = [
        _half("generated", *generated),
        _half("held out of training", *held_out),
    ]
    width = max(half.width for half in halves)
    canvas = Image.new("RGB", (width, sum(half.height for half in halves)), "white")
    top = 0
    for half in halves:
        canvas.paste(half, (0, top))
        top += half.height
    return np.asarray(canvas)


def _half(kind: str, pictures: Tensor, found: Tensor, near: Nearest) -> Image.Image:
    order = near.distances.argsort()
    rows = []
    for start in range(0, len(order), COLUMNS):
        here = order[start : start + COLUMNS]
        pair = grid(torch.cat([_padded(pictures[here]), _padded(found[here])]), columns=COLUMNS)
        rows.append(Image.fromarray(pair).convert("RGB"))
    height = CAPTION + sum(row.height + MARGIN for row in rows)
    half = Image.new("RGB", (rows[0].width + 2 * MARGIN, height), "white")
    distance = f"median distance {near.distances.median():.3f}"
    text = f"{kind}, each above the training picture nearest to it; {distance}"
    ImageDraw.Draw(half).text((MARGIN, 2), text, fill="black", font=ImageFont.load_default(12))
    top = CAPTION
    for row in rows:
        half.paste(row, (MARGIN, top))
        top += row.height + MARGIN
    return half


def _padded(images: Tensor) -> Tensor:
    """A full row, large enough to be looked at; missing ones are black."""
    factor = max(1, -(-SHOWN // max(images.shape[2:])))
    images = images.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)
    missing = COLUMNS - len(images)
    return torch.cat([images, images.new_zeros((missing, *images.shape[1:]))])
