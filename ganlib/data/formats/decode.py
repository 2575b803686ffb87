"""Decoding one picture: from the bytes of a file to uint8 [channels, size, size].

A picture's content decides its format, not its suffix. Of an animation or a document the first picture
counts. Memory is bounded by :data:`~ganlib.data.formats.headers.MAX_PIXELS`; large pictures are decoded one
at a time in each process.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ganlib.data.formats.accepted import ACCEPTED, PictureFormat, is_dropping, is_picture
from ganlib.data.formats.entries import PictureRefused, Reason
from ganlib.data.formats.fit import WHITE, Colour, Fit, fit_grey, fit_picture, needed_size
from ganlib.data.formats.headers import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    check_file_size,
    check_header,
    check_pixels,
    sniff,
)

__all__ = [
    "ACCEPTED",
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "WHITE",
    "Colour",
    "Fit",
    "check_decodable",
    "check_size",
    "decode_picture",
    "fit_grey",
    "fit_picture",
    "is_dropping",
    "is_picture",
    "read_picture",
]

# Pillow's reader of each format, called directly: what `Image.open` does besides, it does for all formats.
_READERS: dict[PictureFormat, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}

_LARGE_PIXELS = 8 * 2**20
_one_large_picture = threading.Lock()

_EXIF = frozenset({"exif", "Raw profile type exif"})
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TILE_WIDTH, _TILE_HEIGHT, _PHOTOMETRIC, _WHITE_IS_ZERO = 322, 323, 262, 0
_MOST_PLANES = 5

# Damaged tags give warnings, thousands of them in a messy bucket. Pixels that are damaged give errors.
warnings.filterwarnings("ignore", module=r"PIL\.")

check_size = check_file_size


def read_picture(
    data: bytes, what: str, *, needed: tuple[int, Fit] | None = None, grey: bool = False
) -> Image.Image:
    """Decode a picture, upright, in the mode in which :func:`fit_picture` takes it.

    Args:
        data: The file.
        what: Names it in messages.
        needed: Size and fit that the picture is wanted for. JPEGs may then be decoded at a half, a quarter
            or an eighth of their size, never below 1.5 times what is wanted.
        grey: No colours are needed.

    Returns:
        ``L`` (grey), ``RGB``, or ``RGBa`` where it is transparent (colours multiplied by alpha). The upper
        8 bits of 16-bit colours, 16-bit grey rounded to 8.

    Raises:
        PictureRefused: It is not a whole picture in an accepted format, or is too large.
    """
    check_file_size(len(data), what)
    kind = sniff(data)
    if kind is None:
        raise PictureRefused(
            what, "unreadable", "its first bytes are no accepted format's", f"accepted: {ACCEPTED}"
        )
    check_header(data, kind, what)
    try:
        with _READERS[kind](io.BytesIO(data)) as image:
            check_pixels(image.width, image.height, len(data), what)
            _check_tiles(image, what)
            large = image.width * image.height > _LARGE_PIXELS
            with _one_large_picture if large else nullcontext():
                _draft(image, needed, grey)
                image.load()
                return _plain(_upright(image), what)
    except (PictureRefused, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureRefused(what, "bomb", str(error)) from error
    # Pillow's parsers let through whatever damaged files make them stumble over: KeyError, struct.error, …
    except Exception as error:
        reason: Reason = "truncated" if _ended_early(error) else "unreadable"
        raise PictureRefused(what, reason, f"{kind}, {str(error) or type(error).__name__}") from error


def _ended_early(error: Exception) -> bool:
    # While a header is read, Pillow makes a SyntaxError of what was raised.
    ends = (EOFError, IndexError, struct.error)
    return isinstance(error, ends) or isinstance(error.__cause__, ends) or "truncated" in str(error).lower()


def _check_tiles(image: ImageFile.ImageFile, what: str) -> None:
    """Refuse a TIFF that stores pixels again and again, or in tiles far larger than itself."""
    pixels, box = image.width * image.height, (0, 0, *image.size)
    stored = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (tile.extents or box for tile in image.tile))
    if stored > _MOST_PLANES * pixels:
        raise PictureRefused(what, "bomb", f"{len(image.tile):,} parts hold {stored:,} pixels for {pixels:,}")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        sides = [image.tag_v2.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT)]
        if sides[0] * sides[1] > MAX_PIXELS:
            raise PictureRefused(
                what, "bomb", f"its tiles have {sides[0]}×{sides[1]} pixels, at most {MAX_PIXELS:,}"
            )


def _draft(image: ImageFile.ImageFile, needed: tuple[int, Fit] | None, grey: bool) -> None:
    """Let a JPEG be decoded at a fraction, where that leaves the filter enough detail."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        wanted = image.size if needed is None else needed_size(image.size, *needed)
        image.draft("L" if grey else None, wanted)


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    """The picture turned as its EXIF data say; where these are damaged, as it lies."""
    if not _EXIF.intersection(image.info):  # TIFFs have been turned by Pillow
        return image
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, struct.error):
        turn = None
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image, what: str) -> Image.Image:
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.mode in ("I", "F"):
        raise PictureRefused(what, "unreadable", f"pixels of 32 bits (mode {image.mode}) have no known range")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        layer = image if image.mode == "RGBA" else image.convert("RGBA")  # which would be a copy
        return layer.convert("RGBa")
    return image.convert("L" if image.mode == "1" else "RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, some rows at a time. Pillow's own conversion clips at 255."""
    values = np.asarray(image)
    result = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), 64):
        rows = slice(start, start + 64)
        result[rows] = (values[rows].astype(np.uint32) + 128) // 257
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, result, out=result)  # Pillow does this for 8 bits only
    return Image.fromarray(result)


def decode_picture(
    data: bytes, what: str, size: int, fit: Fit, channels: int, background: Colour = WHITE
) -> NDArray[np.uint8]:
    """:func:`read_picture` and :func:`fit_picture` in one: uint8 [channels, size, size]."""
    image = read_picture(data, what, needed=(size, fit), grey=channels == 1)
    return fit_picture(image, size, fit, channels, background)


def check_decodable(data: bytes, what: str) -> None:
    """Decode a picture to the end, as cheaply as its format allows.

    Raises:
        PictureRefused: As :func:`read_picture`.
    """
    read_picture(data, what, needed=(1, "stretch"))
