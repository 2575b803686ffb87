from __future__ import annotations

import contextlib
import copy
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
    is_dropping,
    is_picture,
    read_picture,
)
from ganlib.data.formats.entries import PictureRefused, Refused
from ganlib.errors import DataError


def reason(data: bytes) -> str:
    with pytest.raises(PictureRefused) as refused:
        read_picture(data, "x")
    assert "\n" not in str(refused.value)
    return refused.value.reason


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
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    for format in ("PNG", "GIF"):
        result = decode_picture(encoded(palette, format, transparency=0), "x", 2, "crop", 3)
        assert result[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]
    grey = Image.fromarray(np.array([[7, 99], [7, 99]], np.uint8))
    data = encoded(grey, transparency=7)
    assert decode_picture(data, "x", 2, "crop", 1)[0, 0].tolist() == [255, 99]


def test_transparency_is_laid_on_the_background_that_was_asked_for() -> None:
    layer = Image.new("RGBA", (64, 64), (200, 100, 0, 128))
    for size in (64, 16):
        result = decode_picture(encoded(layer), "x", size, "crop", 3, (0, 0, 255))
        assert abs(result.reshape(3, -1).T.astype(int) - [100, 50, 127]).max() <= 1
    grey = Image.new("LA", (8, 8), (0, 0))
    assert (decode_picture(encoded(grey), "x", 8, "crop", 1, (255, 0, 0)) == 76).all()


def test_colours_of_transparent_pixels_do_not_bleed() -> None:
    values = np.zeros((64, 64, 4), np.uint8)
    values[:, :32] = (0, 255, 0, 0)
    values[:, 32:] = (255, 0, 0, 255)
    result = decode_picture(encoded(Image.fromarray(values)), "x", 8, "crop", 3, (255, 0, 0))
    assert result[0].min() == 255
    assert result[1:].max() == 0


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    result = np.asarray(read_picture(encoded(Image.fromarray(values)), "x"))
    assert result.tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bit_tiffs_are_scaled_too(mode: str) -> None:
    values = np.array([[0, 257], [32896, 65535]], np.dtype("<u2" if mode == "I;16" else ">u2"))
    image = Image.frombytes(mode, (2, 2), values.tobytes())
    assert decode_picture(encoded(image, "TIFF"), "x", 2, "crop", 1).tolist() == [[[0, 1], [128, 255]]]
    if mode == "I;16":
        inverted = encoded(image, "TIFF", tiffinfo={262: 0})
        assert decode_picture(inverted, "x", 2, "crop", 1).tolist() == [[[255, 254], [127, 0]]]


def test_sixteen_bit_colours_keep_their_upper_bits() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + struct.pack(">6H", *(n * 1000 for n in range(6 * y, 6 * y + 6))) for y in (0, 1))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    result = decode_picture(data, "x", 2, "crop", 3).transpose(1, 2, 0).ravel()
    assert result.tolist() == [n * 1000 >> 8 for n in range(12)]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_known_range_are_refused(mode: str) -> None:
    assert reason(encoded(Image.new(mode, (4, 4)), "TIFF")) == "unreadable"


def test_other_modes_become_grey_or_colour() -> None:
    assert read_picture(encoded(Image.new("1", (3, 3), 1)), "x").mode == "L"
    cmyk = read_picture(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG"), "x")
    assert cmyk.mode == "RGB"
    assert np.asarray(cmyk).min() > 250
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert decode_picture(encoded(red), "x", 8, "crop", 1).tolist() == np.full((1, 8, 8), 76).tolist()


@pytest.mark.parametrize("options", [{}, {"quality": 95}, {"lossless": True}])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_all_formats_give_the_picture(format: str, options: dict[str, Any]) -> None:
    result = decode_picture(encoded(halves(32, 32), format, **options), "x", 32, "crop", 3)
    np.testing.assert_allclose(result[:, :, :14], 0, atol=6)
    np.testing.assert_allclose(result[:, :, 18:], 255, atol=6)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_compressed_tiffs_are_read(compression: str) -> None:
    result = decode_picture(encoded(halves(32, 32), "TIFF", compression=compression), "x", 32, "crop", 1)
    np.testing.assert_allclose(result[0, :, [0, 31]], [[0] * 32, [255] * 32], atol=6)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_pictures_the_first_one_counts(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, shade, shade)) for shade in range(0, 250, 50)]
    data = encoded(
        frames[1],
        format,
        save_all=True,
        append_images=frames[2:],
        **({"lossless": True} if format == "WEBP" else {}),
    )
    assert (decode_picture(data, "x", 8, "crop", 3) == 50).all()


@pytest.mark.parametrize("format", ["TIFF", "WEBP", "PNG"])
def test_other_formats_are_turned_upright_too(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_picture(encoded(halves(), format, exif=exif), "x")
    assert image.size == (8, 16)
    assert np.asarray(image.convert("L"))[:6].mean() < 20


def test_damaged_exif_data_leave_a_picture_as_it_lies() -> None:
    data = encoded(halves(), "JPEG", exif=b"Exif\0\0XX*\0" + b"\xff" * 60)
    assert read_picture(data, "x").size == (16, 8)


@pytest.mark.parametrize("channels", [1, 3])
def test_pad_shows_all_of_the_picture_on_the_background(channels: int) -> None:
    data = encoded(Image.new("RGB", (64, 32), (0, 0, 0)))
    result = decode_picture(data, "x", 16, "pad", channels, (255, 0, 0))
    first = 255 if channels == 3 else 76
    assert (result[0, [0, 3, 12, 15]] == first).all()
    assert (result[:, 4:12] == 0).all()
    upright = decode_picture(encoded(Image.new("RGB", (1, 500))), "x", 16, "pad", channels)
    assert (upright[0, :, [6, 9]] == 255).all()
    assert (upright[0, :, 7] == 0).all()


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


def test_many_grey_pictures_are_padded_as_one_is() -> None:
    y, x = np.indices((30, 12))
    images = np.stack([x * 9 + y * 4, 255 - x * 2 - y * 3]).astype(np.uint8)
    together = fit_grey(images, 16, "pad", (255, 0, 0)).astype(int)
    alone = [fit_picture(Image.fromarray(image), 16, "pad", 1, (255, 0, 0))[0] for image in images]
    assert abs(together - np.stack(alone)).max() <= 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_pictures_are_refused(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, format)
    check_decodable(data, "whole")
    with pytest.raises(DataError, match=r"cats/1\.jpg cannot be opened as a picture, truncated: "):
        check_decodable(data[: len(data) // 2], "cats/1.jpg")
    for cut in range(1, len(data) // 2, 97):
        assert reason(data[:cut]) in ("truncated", "unreadable")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"hello", "unreadable"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff", "truncated"),
    ],
)
def test_other_bytes_are_refused(data: bytes, why: str) -> None:
    assert reason(data) == why


def test_other_formats_are_refused_and_the_accepted_ones_named() -> None:
    with pytest.raises(PictureRefused, match=r"accepted: JPEG, PNG, .*\.tiff") as refused:
        check_decodable(encoded(halves(), "PPM"), "x.png")
    assert refused.value.refused("x\n.png") == Refused(
        name="x\\n.png", reason="unreadable", detail="its first bytes are no accepted format's"
    )
    assert copy.copy(refused.value).reason == "unreadable"


@pytest.mark.parametrize("side", [9000, 20000, 65000])
def test_decompression_bombs_are_refused_before_they_are_unpacked(side: int) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    with pytest.raises(PictureRefused, match=r"bomb\.png .*67,108,864") as refused:
        check_decodable(data + chunk(b"IEND", b""), "bomb.png")
    assert refused.value.reason == "bomb"


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
        ("a.gif", True),
        ("a.WebP", True),
        ("scan.tif", True),
        ("a.bmp", True),
        ("a.svg", False),
        ("__MACOSX/a.jpg", False),
        ("album/@eaDir/a.jpg", False),
        ("notes.txt", False),
        (".hidden.jpg", False),
        ("__MACOSX/._a.jpg", False),
        (".git/a.png", False),
        ("jpg", False),
    ],
)
def test_pictures_are_told_by_suffix(name: str, accepted: bool) -> None:
    assert is_picture(name) is accepted


@pytest.mark.parametrize(
    "name",
    [
        "._a.jpg",
        "c0/._a.jpg",
        ".DS_Store",
        "c0/Thumbs.db",
        "Desktop.ini",
        "__MACOSX/c0/a.jpg",
        "$RECYCLE.BIN/a.png",
    ],
)
def test_droppings_of_file_managers_are_recognized(name: str) -> None:
    assert is_dropping(name)
    assert not is_picture(name)


@pytest.mark.parametrize("name", ["a.jpg", "thumbs.db.png", "DS_Store.jpg", "macosx/a.jpg", ".hidden.jpg"])
def test_other_files_are_no_droppings(name: str) -> None:
    assert not is_dropping(name)
