"""Pictures of one kind, drawn one after another, as an animated GIF of bounded size."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence

import numpy as np
from PIL import Image

MAX_FRAMES = 30
MAX_SIDE = 512
"""Pixels; larger frames are made smaller. 30 frames of 512 × 512 are 8 MB before compression."""
_FRAME_MILLISECONDS, _LAST_MILLISECONDS = 300, 2500
_MAX_PIXELS = 2**26

_log = logging.getLogger(__name__)


def chosen(count: int, most: int = MAX_FRAMES) -> list[int]:
    """At most ``most`` positions of ``count``, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def film(frames: Sequence[bytes]) -> bytes | None:
    """An animated GIF that runs for ever and rests at its end; the same frames give the same bytes.

    Args:
        frames: PNG files in their order, at most :data:`MAX_FRAMES`; all are drawn at the last one's size,
            which is reduced to :data:`MAX_SIDE`. One that cannot be read is left out, with a warning.

    Returns:
        The GIF; ``None`` when no frame can be read.
    """
    pictures = [picture for data in frames[:MAX_FRAMES] if (picture := _read(data)) is not None]
    if not pictures:
        return None
    width, height = pictures[-1].size
    scale = min(1.0, MAX_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    drawn = [each if each.size == size else each.resize(size, Image.Resampling.LANCZOS) for each in pictures]
    durations = [*[_FRAME_MILLISECONDS] * (len(drawn) - 1), _LAST_MILLISECONDS]
    buffer = io.BytesIO()
    drawn[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=drawn[1:],
        duration=durations,
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def read_frame(data: bytes) -> np.ndarray | None:
    """A PNG as uint8 [H, W] or [H, W, 3]; ``None``, with a warning, when it cannot be read."""
    image = _read(data)
    return None if image is None else np.asarray(image)


def _read(data: bytes) -> Image.Image | None:
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"{image.width} × {image.height} pixels are more than {_MAX_PIXELS}")
            return image.convert("L" if image.mode == "L" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        _log.warning("a picture of the training is left out: %s", error)
        return None
