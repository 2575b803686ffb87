"""Decoding one picture: from the bytes of a JPEG or PNG file to uint8 [channels, size, size]."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ganlib.errors import DataError

Fit = Literal["crop", "stretch"]

ACCEPTED = "JPEG and PNG pictures (.jpg, .jpeg, .png)"
"""The accepted formats in words, for messages."""

MAX_PIXELS = 64 * 2**20
"""Most pixels of one picture (8192×8192); larger ones are refused before they are unpacked."""

MAX_FILE_BYTES = 256 * 2**20
"""Largest picture file."""

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

# Pillow's plugins let the errors of their parsers through for damaged files.
_PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def is_picture(relative: str) -> bool:
    """Whether a relative path names a picture: by suffix, and nothing on the way to it is hidden."""
    path = PurePosixPath(relative)
    return path.suffix.lower() in _SUFFIXES and not any(part.startswith(".") for part in path.parts)


def check_size(size: int, what: str) -> None:
    """Refuse a picture file by its size in bytes. Raises ``DataError`` unless it is 1 to the limit."""
    if not 0 < size <= MAX_FILE_BYTES:
        raise DataError(
            f"{what} has {size:,} bytes; pictures of 1 to {MAX_FILE_BYTES:,} bytes are accepted. Repair or "
            "remove it"
        )


def read_picture(data: bytes, what: str, at_least: int | None = None) -> Image.Image:
    """Decode a picture to mode ``L`` (grey) or ``RGB``.

    The EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bits.

    Args:
        data: The file.
        what: Names it in messages.
        at_least: The caller needs no side longer than this, in pixels; JPEGs may then be decoded at
            a half, a quarter or an eighth of their size, never below this.

    Raises:
        DataError: Not a whole JPEG or PNG, or larger than :data:`MAX_PIXELS` or :data:`MAX_FILE_BYTES`.
    """
    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{what} has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are accepted")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{what} has {image.width}×{image.height} pixels; at most {MAX_PIXELS:,} are accepted. "
                    "Scale it down or leave it out"
                )
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            return _plain(ImageOps.exif_transpose(image))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"{what} would unpack to more than the {MAX_PIXELS:,} pixels that are accepted ({error}). "
            "Scale it down or leave it out"
        ) from error
    except _PILLOW_ERRORS as error:
        raise DataError(
            f"{what} cannot be opened as a picture ({_reason(error)}). Accepted: {ACCEPTED}; repair "
            "or remove it"
        ) from error


def _reason(error: Exception) -> str:
    """Pillow's message without the file object, whose address says nothing."""
    if isinstance(error, UnidentifiedImageError):
        return "its first bytes are no JPEG's or PNG's"
    return str(error)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        if "transparency" not in image.info:
            return image
    elif image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(((values.clip(0, 65535) + 128) // 257).astype(np.uint8))
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        flat = Image.alpha_composite(white, layer).convert("RGB")
        return flat.convert("L") if image.mode in ("L", "LA", "La") else flat
    return image.convert("L" if image.mode == "1" else "RGB")


def fit_picture(image: Image.Image, size: int, fit: Fit, channels: int) -> NDArray[np.uint8]:
    """A picture brought to one size.

    Args:
        image: Mode ``L`` or ``RGB``.
        size: Side of the result, in pixels.
        fit: ``crop`` takes the largest square in the middle; ``stretch`` takes all and changes its shape.
        channels: 1 (grey, ITU-R 601 weights) or 3.

    Returns:
        uint8 [channels, size, size] in 0..255; Lanczos-filtered unless it had that size already.
    """
    image = image.convert("L" if channels == 1 else "RGB")
    if fit == "crop" and image.width != image.height:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    values: NDArray[np.uint8] = np.asarray(image)
    return values[None] if channels == 1 else np.ascontiguousarray(values.transpose(2, 0, 1))


def fit_grey(images: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """Many grey pictures of one shape brought to one size, sooner than one by one.

    Lanczos is separable: first the rows of all pictures are filtered, as one tall picture, then
    their columns. Squares get the very values of :func:`fit_picture`; stretched pictures may differ
    from it by the rounding between the two passes.

    Args:
        images: uint8 [n, height, width].
        size: Side of the result, in pixels.
        fit: As for :func:`fit_picture`.

    Returns:
        uint8 [n, size, size].
    """
    _, height, width = images.shape
    if fit == "crop" and height != width:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        images = images[:, top : top + side, left : left + side]
    rows = _filter_rows(images, size)
    return np.ascontiguousarray(_filter_rows(rows.transpose(0, 2, 1), size).transpose(0, 2, 1))


def _filter_rows(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    count, height, width = images.shape
    if width == size:
        return images
    tall = Image.fromarray(np.ascontiguousarray(images).reshape(count * height, width))
    return np.asarray(tall.resize((size, count * height), Image.Resampling.LANCZOS)).reshape(
        count, height, size
    )


def decode_picture(data: bytes, what: str, size: int, fit: Fit, channels: int) -> NDArray[np.uint8]:
    """:func:`read_picture` and :func:`fit_picture` in one: uint8 [channels, size, size]."""
    # A JPEG decoded at a fraction, but at twice the size or more, gives the filter enough detail.
    return fit_picture(read_picture(data, what, at_least=2 * size), size, fit, channels)


def check_decodable(data: bytes, what: str) -> None:
    """Decode a picture to the end, as cheaply as its format allows.

    Raises:
        DataError: As :func:`read_picture`.
    """
    read_picture(data, what, at_least=1)
