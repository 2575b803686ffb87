from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ganlib.data.formats.decode import (
    check_decodable,
    decode_picture,
    fit_grey,
    fit_picture,
    is_picture,
    read_picture,
)
from ganlib.errors import DataError


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def halves(width: int = 16, height: int = 8) -> Image.Image:
    """Left half black, right half white."""
    values = np.zeros((height, width, 3), np.uint8)
    values[:, width // 2 :] = 255
    return Image.fromarray(values)


def test_png_comes_out_as_it_went_in() -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    result = decode_picture(encoded(Image.fromarray(values)), "x", 9, "crop", 3)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, values.transpose(2, 0, 1))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright after a quarter turn clockwise: what was left comes to the top
    image = read_picture(encoded(halves(), "JPEG", exif=exif, quality=95), "x")
    assert image.size == (8, 16)
    values = np.asarray(image.convert("L"))
    assert values[:6].mean() < 20
    assert values[10:].mean() > 235


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode: str) -> None:
    image = Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255) if mode == "RGBA" else (0, 255))
    result = decode_picture(encoded(image), "x", 4, "crop", 3)
    assert result[:, 0, 0].tolist() == [0, 0, 0]
    assert (result.reshape(3, -1)[:, 1:] == 255).all()


def test_transparent_palette_and_grey_key_are_laid_on_white() -> None:
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    result = np.asarray(read_picture(encoded(palette, transparency=0), "x"))
    assert result[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    grey = Image.fromarray(np.array([[7, 99]], np.uint8))
    assert np.asarray(read_picture(encoded(grey, transparency=7), "x").convert("L")).tolist() == [[255, 99]]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    result = np.asarray(read_picture(encoded(Image.fromarray(values)), "x"))
    assert result.tolist() == [[0, 1, 128, 255]]


def test_other_modes_become_grey_or_colour() -> None:
    assert read_picture(encoded(Image.new("1", (3, 3), 1)), "x").mode == "L"
    cmyk = read_picture(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), "x")
    assert cmyk.mode == "RGB"
    assert np.asarray(cmyk).min() > 250
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert decode_picture(encoded(red), "x", 8, "crop", 1).tolist() == np.full((1, 8, 8), 76).tolist()


def test_crop_takes_the_middle_and_stretch_takes_all() -> None:
    values = np.zeros((8, 24, 3), np.uint8)
    values[:, 8:16] = 255
    data = encoded(Image.fromarray(values))
    assert (decode_picture(data, "x", 8, "crop", 1) == 255).all()
    stretched = decode_picture(data, "x", 8, "stretch", 1)[0]
    assert stretched[:, 0].max() < 30
    assert stretched[:, 4].min() > 225


def test_resizing_is_antialiased() -> None:
    """A fine chequerboard becomes grey; without a filter it would stay black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    result = decode_picture(encoded(Image.fromarray(board)), "x", 8, "crop", 1)
    assert abs(result.astype(int) - 128).max() <= 8


def test_large_jpegs_decoded_at_a_fraction_look_the_same() -> None:
    y, x = np.indices((512, 640))
    values = np.stack([x * 255 // 639, y * 255 // 511, (x + y) * 255 // 1150], -1).astype(np.uint8)
    data = encoded(Image.fromarray(values), "JPEG", quality=95)
    fast = decode_picture(data, "x", 32, "crop", 3).astype(int)
    slow = fit_picture(read_picture(data, "x"), 32, "crop", 3).astype(int)
    assert abs(fast - slow).max() <= 3


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), size=st.integers(8, 24), seed=st.integers(0, 99))
def test_many_grey_pictures_get_the_values_of_one(height: int, width: int, size: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)
    together = fit_grey(images, size, "crop")
    alone = [fit_picture(Image.fromarray(image), size, "crop", 1)[0] for image in images]
    np.testing.assert_array_equal(together, np.stack(alone))


def test_many_grey_pictures_are_stretched_as_one_is() -> None:
    y, x = np.indices((40, 90))
    images = np.stack([x * 2 + y, 255 - x - y]).astype(np.uint8)
    together = fit_grey(images, 24, "stretch").astype(int)
    alone = [fit_picture(Image.fromarray(image), 24, "stretch", 1)[0] for image in images]
    # Pillow takes rows or columns first, whichever is less work, and rounds in between.
    assert abs(together - np.stack(alone)).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_truncated_pictures_are_refused(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, format)
    check_decodable(data, "whole")
    with pytest.raises(DataError, match=r"cats/1\.jpg cannot be opened as a picture.*JPEG and PNG"):
        check_decodable(data[: len(data) // 2], "cats/1.jpg")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="a file cannot be opened as a picture"):
        check_decodable(data, "a file")


def test_other_formats_are_refused() -> None:
    with pytest.raises(DataError, match="Accepted: JPEG and PNG"):
        check_decodable(encoded(halves(), "GIF"), "x.png")


@pytest.mark.parametrize("side", [9000, 20000, 65000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_before_they_are_unpacked(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    with pytest.raises(DataError, match=r"bomb\.png .*67,108,864"):
        check_decodable(data + chunk(b"IEND", b""), "bomb.png")


@given(st.binary(max_size=300), st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_a_data_error_or_still_a_picture(noise: bytes, where: int) -> None:
    data = bytearray(encoded(halves(), "PNG"))
    data[where : where + len(noise)] = noise
    with contextlib.suppress(DataError):
        check_decodable(bytes(data), "damaged")


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("a.jpg", True),
        ("c0/IMG.JPEG", True),
        ("x/y/z.PNG", True),
        ("a.gif", False),
        ("notes.txt", False),
        (".hidden.jpg", False),
        ("__MACOSX/._a.jpg", False),
        (".git/a.png", False),
        ("jpg", False),
    ],
)
def test_pictures_are_told_by_suffix(name: str, accepted: bool) -> None:
    assert is_picture(name) is accepted
