"""Pictures made to cost memory or time: refused with a reason, or decoded within bounds."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganlib.data.formats import decode, headers
from ganlib.data.formats.decode import MAX_FILE_BYTES, check_size, decode_picture
from ganlib.data.formats.entries import PictureRefused


def reason(data: bytes) -> str:
    with pytest.raises(PictureRefused) as refused:
        decode_picture(data, "hostile", 64, "crop", 3)
    assert "hostile" in str(refused.value)
    assert "\n" not in str(refused.value)
    return refused.value.reason


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg(**options: object) -> bytes:
    out = io.BytesIO()
    shades = np.arange(64, dtype=np.uint8).repeat(64).reshape(64, 64)
    Image.fromarray(shades).convert("RGB").save(out, "JPEG", **options)
    return out.getvalue()


def tiff(
    width: int, height: int, *, strips: int = 1, tags: dict[int, int] | None = None, data: int = 64
) -> bytes:
    """Grey, uncompressed, all of its strips at the same place."""
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 278: height} | (tags or {})
    start = 8 + data
    table = struct.pack("<I", 8) * strips
    rows = sorted(
        [*((tag, 4, 1, value) for tag, value in entries.items()), (273, 4, strips, start), (279, 4, 1, data)]
    )
    if strips == 1:
        rows = [(tag, kind, count, 8 if tag == 273 else value) for tag, kind, count, value in rows]
    directory = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows) + bytes(4)
    return b"II*\0" + struct.pack("<I", start + len(table)) + bytes(data) + table + directory


def test_a_line_of_a_hundred_thousand_pixels_is_too_large() -> None:
    assert reason(png(100_000, 1, bytes(100_001))) == "too large"
    assert reason(png(1, 100_000, bytes(200_000))) == "too large"


def test_a_long_picture_within_the_limits_is_scaled() -> None:
    data = png(60_000, 2, bytes(120_002))
    for fit in ("crop", "stretch", "pad"):
        assert decode_picture(data, "x", 64, fit, 1).shape == (1, 64, 64)


BILLION = {
    "PNG": png(40_000, 40_000),
    "JPEG": jpeg().replace(b"\x00\x40\x00\x40", b"\xff\xff\xff\xff", 1),
    "GIF": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;",
    "GIF frame": b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\2D\1\0;",
    "BMP": b"BM"
    + struct.pack("<IHHI", 99, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 50_000, -50_000, 1, 24, *[0] * 6),
    "TIFF": tiff(50_000, 50_000),
    "WebP": b"RIFF"
    + struct.pack("<I", 60)
    + b"WEBPVP8X"
    + struct.pack("<II", 10, 0)
    + b"\xff\x3f\0" * 2
    + bytes(60),
    "WebP lossless": b"RIFF"
    + struct.pack("<I", 60)
    + b"WEBPVP8L"
    + struct.pack("<I", 9)
    + b"/\xff\xff\xff\x0f"
    + bytes(60),
    "WebP lossy": b"RIFF"
    + struct.pack("<I", 60)
    + b"WEBPVP8 "
    + struct.pack("<I", 30)
    + b"\0\0\0\x9d\1*\xff\x3f\xff\x3f"
    + bytes(60),
}


@pytest.mark.parametrize("kind", BILLION)
def test_headers_that_announce_millions_of_pixels_are_bombs(kind: str) -> None:
    assert reason(BILLION[kind]) == "bomb"


def test_a_large_picture_that_is_no_bomb_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MAX_PIXELS", 63 * 64)
    monkeypatch.setattr(headers.check_pixels, "__defaults__", (63 * 64,))
    assert reason(jpeg(quality=95)) == "too large"


@pytest.mark.parametrize(("size", "why"), [(0, "empty"), (MAX_FILE_BYTES + 1, "too large")])
def test_files_are_refused_by_size_before_they_are_read(size: int, why: str) -> None:
    with pytest.raises(PictureRefused) as refused:
        check_size(size, "a.jpg")
    assert refused.value.reason == why


def test_a_jpeg_of_very_many_segments_is_a_bomb() -> None:
    """Pillow joins EXIF segments one by one, each time copying what there is."""
    whole, segment = jpeg(), b"\xff\xe1\x00\x0aExif\0\0xx"
    assert decode_picture(whole[:2] + segment * 50 + whole[2:], "x", 8, "crop", 3).shape == (3, 8, 8)
    assert reason(whole[:2] + segment * 5_000 + whole[2:]) == "bomb"
    assert (
        reason(whole[:2] + b"\xff\xe2\xff\xff" + bytes(65533) + (b"\xff\xe2\xff\xff" + bytes(65533)) * 300)
        == "bomb"
    )


def test_a_jpeg_of_very_many_scans_is_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = jpeg(progressive=True)
    last = whole.rindex(b"\xff\xda")
    many = whole[:last] + whole[last:-2] * 300 + whole[-2:]
    monkeypatch.setattr(headers, "_MAX_SCANNED_PIXELS", 200 * 64 * 64)
    assert reason(many) == "bomb"
    assert decode_picture(whole, "x", 8, "crop", 3).shape == (3, 8, 8)
    after = jpeg() + b"\xff\xda" * 300
    assert decode_picture(after, "x", 8, "crop", 3).shape == (3, 8, 8), (
        "a film after a picture does not count"
    )


def test_a_tiff_whose_strips_hold_its_pixels_again_and_again_is_a_bomb() -> None:
    assert decode_picture(tiff(8, 8), "x", 8, "crop", 1).max() == 0
    assert decode_picture(tiff(8, 8, strips=2, tags={278: 4}), "x", 8, "crop", 1).max() == 0
    assert reason(tiff(8, 8, strips=20_000, tags={278: 4})) == "bomb"


def test_a_tiff_with_tiles_far_larger_than_itself_is_a_bomb() -> None:
    tags = {322: 30_000, 323: 30_000, 324: 8, 325: 64, 259: 5}
    assert reason(tiff(8, 8, tags=tags)) in ("bomb", "unreadable")


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP"])
def test_of_hundreds_of_frames_one_is_decoded(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shades = [Image.new("L", (8, 8), shade % 256) for shade in range(600)]
    out = io.BytesIO()
    shades[9].save(
        out,
        format,
        save_all=True,
        append_images=shades[10:],
        **({"lossless": True} if format == "WEBP" else {}),
    )
    frames: list[int] = []
    reader = decode._READERS["WebP" if format == "WEBP" else format]  # type: ignore[index]
    seek = reader._seek  # type: ignore[attr-defined]
    monkeypatch.setattr(
        reader, "_seek", lambda self, frame, *rest: frames.append(frame) or seek(self, frame, *rest)
    )
    assert (decode_picture(out.getvalue(), "x", 8, "crop", 1) == 9).all()
    assert max(frames) <= 1, "TIFF looks whether there is a second page"


LARGE = """
import io, resource, sys
from PIL import Image
from ganlib.data.formats.decode import decode_picture
out = io.BytesIO()
image = Image.new(sys.argv[1], (8192, 8192))
image.save(out, sys.argv[2], **({"compress_level": 1} if sys.argv[2] == "PNG" else {}))
del image
data = out.getvalue()
del out
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]) + 1024 * 2**20,) * 2)
print(decode_picture(data, "x", 64, "pad", 3).shape)
"""


@pytest.mark.parametrize(
    ("mode", "format"),
    [pytest.param("RGBA", "PNG", marks=pytest.mark.slow), ("L", "TIFF"), ("1", "GIF")],
)
def test_the_largest_pictures_take_less_than_a_gigabyte(mode: str, format: str) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    done = subprocess.run(
        [sys.executable, "-c", LARGE, mode, format, str(pages * resource.getpagesize())],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "(3, 64, 64)", done.stderr[-2000:]
