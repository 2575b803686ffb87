"""Near duplicates across the split."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ganlib.data import near_copies as module
from ganlib.data.near_copies import near_copies, perceptual_hashes


def scene(seed: int) -> Image.Image:
    """Some coloured shapes."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (320, 240), tuple(map(int, random.integers(0, 256, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, w, h = map(int, random.integers(0, 200, 4))
        draw.ellipse((x, y, x + w, y + h), fill=tuple(map(int, random.integers(0, 256, 3))))
    return image


def prepared(image: Image.Image, size: int = 64) -> NDArray[np.uint8]:
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS)).transpose(2, 0, 1)


def bits_apart(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint8]:
    apart: NDArray[np.uint8] = np.bitwise_count(one ^ other)
    return apart


def hashes(*images: Image.Image) -> NDArray[np.uint64]:
    return perceptual_hashes(np.stack([prepared(image) for image in images]))


def test_a_picture_saved_again_brighter_or_shifted_is_near_and_another_is_not() -> None:
    whole = [scene(seed) for seed in range(30)]
    again, bright, shifted = [], [], []
    for image in whole:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=40)
        again.append(Image.open(file))
        bright.append(image.point(lambda value: int(value * 0.8)))
        shifted.append(image.transform(image.size, Image.Transform.AFFINE, (1, 0, 1, 0, 1, 1)))
    plain = hashes(*whole)
    for altered in (again, bright, shifted):
        assert np.mean(bits_apart(plain, hashes(*altered)) <= module.NEAR_BITS) > 0.8
    apart = bits_apart(plain[:, None], plain[None])[~np.eye(30, dtype=bool)]
    assert apart.min() > module.NEAR_BITS
    assert apart.mean() == pytest.approx(31.5, abs=3)


def test_hashes_depend_on_nothing_but_the_picture() -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 9, 12), np.uint8)
    together = perceptual_hashes(images)
    assert together.dtype == np.uint64
    assert together.max() < 2**63
    assert (np.concatenate([perceptual_hashes(image[None]) for image in images]) == together).all()
    grey = np.repeat(images, 3, axis=1)
    assert np.mean(bits_apart(perceptual_hashes(grey), together)) < 2


def test_pictures_of_one_tone_have_one_hash() -> None:
    flat = np.repeat(np.arange(256, dtype=np.uint8), 3 * 64 * 64).reshape(256, 3, 64, 64)
    assert set(perceptual_hashes(flat).tolist()) == {0}


@pytest.mark.parametrize("distance", [0, 1, 4, 7, 15])
@pytest.mark.parametrize("fixed_bits", [0, 30, 50, 63])
def test_exactly_those_near_are_found(
    distance: int, fixed_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAIRS_AT_ONCE", 100)
    monkeypatch.setattr(module, "_LARGE_BAND", 40)
    random = np.random.default_rng(distance)
    shift = np.uint64(fixed_bits)
    train = (random.integers(0, 2**63, 400, dtype=np.uint64) >> shift) << shift
    held_out = (random.integers(0, 2**63, 200, dtype=np.uint64) >> shift) << shift
    for position in range(100):
        flipped = random.choice(63, position % 18, replace=False).astype(np.uint64)
        held_out[position] = train[position] ^ np.bitwise_or.reduce(
            np.uint64(1) << flipped, initial=np.uint64(0)
        )
    expected = (bits_apart(held_out[:, None], train[None]) <= distance).any(axis=1)
    assert expected.sum() > 0
    assert (near_copies(held_out, train, distance) == expected).all()


def test_without_pictures_on_a_side_nothing_is_near() -> None:
    none, some = np.empty(0, np.uint64), np.arange(3, dtype=np.uint64)
    assert near_copies(none, some).tolist() == []
    assert near_copies(some, none).tolist() == [False] * 3
    with pytest.raises(ValueError, match="distance is 16"):
        near_copies(some, some, 16)


def test_far_fewer_than_all_pairs_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def count(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
        nonlocal compared
        compared += len(values)
        counted: NDArray[np.uint8] = np.bitwise_count(values)
        return counted

    class Numpy:
        bitwise_count = staticmethod(count)

        def __getattr__(self, name: str) -> object:
            return getattr(np, name)

    monkeypatch.setattr(module, "np", Numpy())
    random = np.random.default_rng(0)
    held_out, train = (random.integers(0, 2**63, n, dtype=np.uint64) for n in (2_000, 18_000))
    near_copies(held_out, train)
    assert 0 < compared < len(held_out) * len(train) / 500
