"""Bringing pictures to one size, antialiased."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit = Literal["crop", "stretch", "pad"]
"""``crop`` takes the largest square in the middle; ``stretch`` takes all and changes its shape; ``pad`` takes
all, keeps its shape and fills up with the background."""

Colour = tuple[int, int, int]
"""Red, green, blue, each 0..255."""

WHITE: Colour = (255, 255, 255)

_DETAIL = 1.5
"""The filter is given at least so many times the pixels that are wanted, on each side."""

# Beyond so many times the wanted side, pixels are averaged in blocks before they are filtered.
_REDUCING_GAP = 3.0


def _target(size: tuple[int, int], side: int, fit: Fit) -> tuple[int, int]:
    """Width and height to which a whole picture is scaled."""
    if fit == "stretch":
        return side, side
    width, height = size
    scale = side / (max(size) if fit == "pad" else min(size))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _filter(size: tuple[int, int], target: tuple[int, int]) -> Image.Resampling:
    """Pillow's filter, antialiased: Hamming has half of bicubic's taps, but is for shrinking only."""
    shrinks = target[0] <= size[0] and target[1] <= size[1]
    return Image.Resampling.HAMMING if shrinks else Image.Resampling.BICUBIC


def needed_size(size: tuple[int, int], side: int, fit: Fit) -> tuple[int, int]:
    """Width and height that the filter needs of a picture of ``size``, scaled to ``side`` by ``fit``."""
    width, height = _target(size, side, fit)
    return math.ceil(_DETAIL * width), math.ceil(_DETAIL * height)


def fit_picture(
    image: Image.Image, size: int, fit: Fit, channels: int, background: Colour = WHITE
) -> NDArray[np.uint8]:
    """A picture brought to one size.

    Args:
        image: Mode ``L``, ``RGB``, or ``RGBa`` (transparent, colours multiplied by alpha).
        size: Side of the result, in pixels.
        fit: How; see :data:`Fit`.
        channels: 1 (grey, ITU-R 601 weights) or 3.
        background: Lies behind transparent pixels, and beside the picture with ``pad``.

    Returns:
        uint8 [channels, size, size] in 0..255: Hamming-filtered where it shrinks, bicubic where
        it grows, as it was where it had that size.
    """
    mode = "L" if channels == 1 else "RGB"
    if image.mode not in (mode, "RGBa"):
        image = image.convert(mode)
    if fit == "crop" and image.width != image.height:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    target = _target(image.size, size, fit)
    if image.size != target:
        image = image.resize(target, _filter(image.size, target), reducing_gap=_REDUCING_GAP)
    if image.mode == "RGBa":
        image = _laid_on(image, background)
    if image.size != (size, size):
        canvas = Image.new("RGB", (size, size), background)
        canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        image = canvas
    values: NDArray[np.uint8] = np.asarray(image if image.mode == mode else image.convert(mode))
    return values[None] if channels == 1 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _laid_on(image: Image.Image, background: Colour) -> Image.Image:
    values = np.asarray(image).astype(np.uint16)
    behind = (np.array(background, np.uint16) * (255 - values[..., 3:]) + 127) // 255
    # The filter may leave colours a little above their alpha.
    return Image.fromarray((values[..., :3] + behind).clip(0, 255).astype(np.uint8))


def fit_grey(images: NDArray[np.uint8], size: int, fit: Fit, background: Colour = WHITE) -> NDArray[np.uint8]:
    """Many grey pictures of one shape brought to one size, sooner than one by one.

    The filter is separable: first the rows of all pictures are filtered, as one tall picture, then
    their columns. Squares of less than 6 times ``size`` get the very values of :func:`fit_picture`; others
    may differ from it by the rounding between the passes.

    Args:
        images: uint8 [n, height, width].
        size: Side of the result, in pixels.
        fit: As for :func:`fit_picture`.
        background: As for :func:`fit_picture`; its grey is used.

    Returns:
        uint8 [n, size, size].
    """
    count, height, width = images.shape
    if fit == "crop" and height != width:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        images = images[:, top : top + side, left : left + side]
    shape = (images.shape[2], images.shape[1])
    width, height = target = _target(shape, size, fit)
    by = _filter(shape, target)
    rows = _filter_rows(images, width, by)
    fitted = _filter_rows(rows.transpose(0, 2, 1), height, by).transpose(0, 2, 1)
    if fitted.shape[1:] == (size, size):
        return np.ascontiguousarray(fitted)
    grey = Image.new("RGB", (1, 1), background).convert("L").tobytes()[0]
    canvas = np.full((count, size, size), grey, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[:, top : top + height, left : left + width] = fitted
    return canvas


def _filter_rows(images: NDArray[np.uint8], size: int, by: Image.Resampling) -> NDArray[np.uint8]:
    count, height, width = images.shape
    if width == size:
        return images
    tall = Image.fromarray(np.ascontiguousarray(images).reshape(count * height, width))
    return np.asarray(tall.resize((size, count * height), by)).reshape(count, height, size)
