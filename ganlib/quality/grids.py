"""Many pictures as one, and as PNG."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.ports import check_picture

Picture = npt.NDArray[np.uint8]

PADDING = 2
"""Black pixels around each picture of a grid."""


def grid(images: Tensor, columns: int) -> Picture:
    """Pictures in rows, from left to right and from top to bottom; missing ones of the last row are black.

    Args:
        images: uint8 [n, 1 or 3, h, w], n ≥ 1.
        columns: Pictures in a row, at least 1.

    Returns:
        uint8 [H, W] for one channel, [H, W, 3] for three, with ``W = columns · (w + 2) + 2``.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"uint8 [n, 1 or 3, h, w] expected, got {images.dtype} {tuple(images.shape)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    count, height, width, channels = pictures.shape
    rows = -(-count // columns)
    step_y, step_x = height + PADDING, width + PADDING
    canvas = np.zeros((rows * step_y + PADDING, columns * step_x + PADDING, channels), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        top = index // columns * step_y + PADDING
        left = index % columns * step_x + PADDING
        canvas[top : top + height, left : left + width] = picture
    return canvas[:, :, 0] if channels == 1 else canvas


def side_by_side(left: Tensor, right: Tensor, columns: int) -> Picture:
    """Two sets of pictures of the same latents as two grids with a white line between them.

    Args:
        left: uint8 [n, 1 or 3, h, w].
        right: The same shape; picture i has the latent of picture i on the left.
        columns: Pictures in a row of each grid, at least 1.

    Returns:
        uint8 [H, W] for one channel, [H, W, 3] for three, with ``W = 2 · (columns · (w + 2) + 2) + 4``.

    Raises:
        ConfigError: The pictures differ in number, size or channels.
    """
    if left.shape != right.shape:
        raise ConfigError(
            f"pictures of shapes {tuple(left.shape)} and {tuple(right.shape)} cannot be compared side by "
            "side: choose generators of the same size and channels"
        )
    first, second = grid(left, columns), grid(right, columns)
    line = np.full((first.shape[0], 4, *first.shape[2:]), 255, dtype=np.uint8)
    return np.concatenate([first, line, second], axis=1)


def png(picture: Picture) -> bytes:
    """A picture, uint8 [H, W] or [H, W, 3], as PNG; the same picture gives the same bytes.

    Raises:
        DataError: It is of another type or shape.
    """
    check_picture(picture)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, picture: Picture) -> None:
    """Write a picture, uint8 [H, W] or [H, W, 3], beside ``path`` and rename it there; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(png(picture))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
