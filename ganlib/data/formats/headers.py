"""The first bytes of a picture, read before Pillow sees it: its format, and what would cost too much.

Pillow checks the number of pixels after it has read the header. What it does before, and how often it
passes over the pixels, is bounded here.
"""

from __future__ import annotations

import struct

from ganlib.data.formats.accepted import PictureFormat
from ganlib.data.formats.entries import PictureRefused

MAX_PIXELS = 64 * 2**20
"""Most pixels of one picture (8192×8192); larger ones are refused before they are unpacked."""

MAX_WEBP_PIXELS = MAX_PIXELS // 2
"""As :data:`MAX_PIXELS`, for WebP: its decoder holds a picture four times, with alpha."""

MAX_SIDE = 65_535
"""Longest side of one picture, in pixels."""

MAX_FILE_BYTES = 256 * 2**20
"""Largest picture file."""

_BOMB_RATIO = 100
"""A refused picture of more pixels than this for each byte of the file is called a bomb."""

_MAX_JPEG_SEGMENTS = 1_000
_MAX_JPEG_HEADER_BYTES = 16 * 2**20
# Each scan of a JPEG passes over all of its pixels; progressive ones have about ten.
_MAX_SCANNED_PIXELS = 100 * MAX_PIXELS

_SOS, _PADDING = 0xDA, 0xFF
_WITHOUT_LENGTH = frozenset({0x00, 0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SEQUENTIAL = frozenset({0xC0, 0xC1})


def sniff(data: bytes) -> PictureFormat | None:
    """The format that a file's first bytes announce; ``None`` when it is none of the accepted ones."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    return None


def check_file_size(size: int, what: str) -> None:
    """Refuse a picture file by its size in bytes. Raises ``PictureRefused`` unless it is 1 to the limit."""
    if size <= 0:
        raise PictureRefused(what, "empty", "it has 0 bytes")
    if size > MAX_FILE_BYTES:
        raise PictureRefused(what, "too large", f"it has {size:,} bytes, at most {MAX_FILE_BYTES:,}")


def check_pixels(width: int, height: int, file_bytes: int, what: str, limit: int = MAX_PIXELS) -> None:
    """Refuse a picture by its announced size in pixels. Raises ``PictureRefused``."""
    pixels = width * height
    if pixels > limit:
        detail = f"it announces {width}×{height} pixels, and at most {limit:,} are accepted"
        raise PictureRefused(what, "bomb" if pixels > _BOMB_RATIO * file_bytes else "too large", detail)
    if max(width, height) > MAX_SIDE:
        raise PictureRefused(
            what,
            "too large",
            f"it announces {width}×{height} pixels, and sides of at most {MAX_SIDE:,} are accepted",
        )


def check_header(data: bytes, kind: PictureFormat, what: str) -> None:
    """Refuse what Pillow would spend too much memory or time on before its size is known.

    Raises:
        PictureRefused: Too many pixels, JPEG segments or scans, or the header ends too early.
    """
    if kind == "JPEG":
        _check_jpeg(data, what)
    elif kind == "WebP":
        _check_webp(data, what)
    elif kind == "TIFF" and data[2:4] in (b"*\0", b"\0*"):
        directory = int.from_bytes(data[4:8], "little" if data.startswith(b"II") else "big")
        if directory + 2 > len(data):
            raise PictureRefused(what, "truncated", f"it ends before its directory at byte {directory:,}")


def _check_jpeg(data: bytes, what: str) -> None:
    """Walk over a JPEG's segments up to its pixels, passing over bytes between them as Pillow does."""
    at, width, height, components, sequential = 2, 0, 0, 0, True
    for _ in range(_MAX_JPEG_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            raise PictureRefused(what, "truncated", "it ends before its pixels begin")
        marker = data[at + 1]
        if marker == _SOS:
            break
        if marker == _PADDING or marker in _WITHOUT_LENGTH:
            at += 1 if marker == _PADDING else 2
            continue
        if marker in _FRAMES and at + 10 <= len(data):
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            sequential = marker in _SEQUENTIAL
            check_pixels(width, height, len(data), what)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if at > _MAX_JPEG_HEADER_BYTES:
            detail = f"its pixels begin beyond byte {_MAX_JPEG_HEADER_BYTES:,}, the limit"
            raise PictureRefused(what, "bomb", detail)
    else:
        raise PictureRefused(what, "bomb", f"it has more than {_MAX_JPEG_SEGMENTS:,} segments, the limit")
    # One scan of all components is decoded once, whatever follows. Inside of a scan 0xFF is escaped.
    if sequential and data[at + 4 : at + 5] == bytes([components]):
        return
    scans = data.count(b"\xff\xda", at)
    if scans * width * height > _MAX_SCANNED_PIXELS:
        detail = f"it passes over {width}×{height} pixels {scans:,} times, which would take too long"
        raise PictureRefused(what, "bomb", detail)


def _check_webp(data: bytes, what: str) -> None:
    """A WebP's canvas, whose memory is taken as soon as the file is opened."""
    if len(data) < 30:
        raise PictureRefused(what, "truncated", f"it ends after {len(data)} bytes")
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise PictureRefused(what, "truncated", f"it ends after {len(data):,} bytes, and announces more")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
    elif chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    else:
        raise PictureRefused(what, "unreadable", "its first chunk is none of WebP's")
    check_pixels(width, height, len(data), what, MAX_WEBP_PIXELS)
