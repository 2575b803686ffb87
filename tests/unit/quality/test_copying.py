from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ganlib.quality.copying import Nearest, copying, merge, nearest, strip, vectors


def search(queries: Tensor, train: Tensor, block: int = 300) -> Nearest:
    blocks = ((start, train[start : start + block]) for start in range(0, len(train), block))
    return nearest(vectors(queries), blocks)


@pytest.fixture(scope="module")
def split(digits: Tensor) -> tuple[Tensor, Tensor]:
    """Training and held-out digits; the data set has some twice, and it is in the order of its writers."""
    shuffled = digits[torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))]
    return shuffled[:1500], shuffled[1500:1564]


def test_the_nearest_picture_is_that_of_brute_force_whatever_the_blocks(
    split: tuple[Tensor, Tensor],
) -> None:
    train, held_out = split
    difference = (held_out[:, None].double() - train[None].double()) / 255
    expected = difference.square().mean(dim=(2, 3, 4)).sqrt().min(dim=1)
    for block in (1, 7, 1500, 9999):
        found = search(held_out[:8], train[:200], block)
        torch.testing.assert_close(
            found.distances.double(),
            difference[:8, :200].square().mean(dim=(2, 3, 4)).sqrt().amin(dim=1),
            rtol=1e-5,
            atol=0,
        )
    found = search(held_out, train)
    torch.testing.assert_close(found.distances.double(), expected.values, rtol=1e-5, atol=0)
    assert torch.equal(found.indices, expected.indices)


def test_what_workers_find_is_merged(split: tuple[Tensor, Tensor]) -> None:
    train, held_out = split
    queries = vectors(held_out)
    parts = [nearest(queries, [(start, train[start : start + 500])]) for start in (0, 500, 1000)]
    nothing = nearest(queries, [])
    assert (nothing.indices == -1).all()
    merged, whole = merge([*parts, nothing]), search(held_out, train)
    assert torch.equal(merged.indices, whole.indices)
    assert torch.equal(merged.distances, whole.distances)


def test_a_generator_that_has_memorized_its_data_is_seen(split: tuple[Tensor, Tensor]) -> None:
    train, held_out = split
    baseline = search(held_out, train)
    exact = copying(search(train[100:164], train), baseline)
    assert exact.generated_distance == 0
    assert exact.ratio == 0
    noise = torch.randint(-8, 9, train[:64].shape, generator=torch.Generator().manual_seed(1))
    nearly = (train[100:164].int() + noise).clamp(0, 255).to(torch.uint8)
    repeated = search(nearly, train)
    assert copying(repeated, baseline).ratio < 0.25
    assert repeated.indices.tolist() == list(range(100, 164))


def test_pictures_of_its_own_and_noise_are_not_taken_for_copies(
    split: tuple[Tensor, Tensor], digits: Tensor
) -> None:
    train, held_out = split
    baseline = search(held_out, train)
    assert baseline.distances.median() > 0.05
    shuffled = digits[torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))]
    others = copying(search(shuffled[1564:1628], train), baseline)
    assert others.ratio == pytest.approx(1, abs=0.15)
    random = torch.randint(0, 256, held_out.shape, dtype=torch.uint8)
    assert copying(search(random, train), baseline).ratio > 1.5
    grey = torch.full_like(held_out, 128)
    assert copying(search(grey, train), baseline).ratio > 1


def test_held_out_pictures_that_are_in_the_training_split_are_no_baseline(
    split: tuple[Tensor, Tensor],
) -> None:
    train, held_out = split
    new = held_out[search(held_out, train).distances > 0]
    mixed = search(torch.cat([train[:60], new[:5]]), train)
    found = copying(search(new[5:20], train), mixed)
    assert found.held_out_copies == 60
    assert found.held_out_distance == float(search(new[:5], train).distances.median()) > 0
    copies = copying(search(new[:5], train), search(train[64:128], train))
    assert (copies.held_out_copies, copies.held_out_distance) == (64, 0)
    assert math.isnan(copies.ratio)


def test_large_pictures_are_compared_at_32_pixels_by_area() -> None:
    pictures = torch.zeros(2, 3, 128, 96, dtype=torch.uint8)
    pictures[0, :, ::2] = 255  # every second row: half as bright, not all or nothing
    found = vectors(pictures)
    assert found.shape == (2, 3 * 32 * 24)
    torch.testing.assert_close(found[0], torch.full_like(found[0], 0.5))
    assert vectors(torch.zeros(1, 1, 28, 28, dtype=torch.uint8)).shape == (1, 28 * 28)


def test_the_strip_has_each_picture_above_its_nearest_the_nearest_pair_first() -> None:
    made = torch.arange(10, 30, dtype=torch.uint8)[:, None, None, None].expand(20, 3, 5, 4).contiguous()
    there = made + 100
    near = Nearest(torch.linspace(1, 0, 20), torch.arange(20))
    picture = strip((made, there, near), (made[:3], there[:3], Nearest(torch.ones(3), torch.arange(3))))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    pairs = [(int(picture[18 + 25, x, 0]), int(picture[18 + 52 + 25, x, 0])) for x in (4 + 22, 4 + 42 + 22)]
    assert pairs == [(29, 129), (28, 128)], "of 5×4 pixels, shown ten times as large"
    assert picture.shape == (18 + 2 * (2 * 52 + 2 + 4) + 18 + 2 * 52 + 2 + 4, 16 * 42 + 2 + 2 * 4, 3)


def test_grey_pictures_make_a_strip_as_well(split: tuple[Tensor, Tensor]) -> None:
    train, held_out = split
    found = search(held_out, train)
    picture = strip((held_out, train[found.indices], found), (held_out, train[found.indices], found))
    rows = 4 * (2 * (48 + 2) + 2 + 4) + 18
    assert picture.shape == (2 * rows, 16 * (48 + 2) + 2 + 2 * 4, 3)
