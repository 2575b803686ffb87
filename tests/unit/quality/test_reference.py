from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ganlib.errors import DataError
from ganlib.fakes import MemoryStore
from ganlib.quality.distances import Statistics
from ganlib.quality.reference import reference_key, reference_statistics
from ganlib.records import DatasetVersion, Shard


class MeanOfPixels:
    """An extractor of one's own: the protocol asks for no class of ours."""

    name = "mean_of_pixels"
    dimensions = 3

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.float().flatten(1)
        return torch.stack([flat.mean(1), flat.amax(1), flat.amin(1)], dim=1)


class Images:
    """Held-out pictures, counting how often they are asked for."""

    def __init__(self, count: int) -> None:
        self.asked = 0
        self.images = torch.randint(
            0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
        )

    def __call__(self) -> torch.Tensor:
        self.asked += 1
        return self.images


def _version(held_out: int = 40, digest: str = "a" * 64) -> DatasetVersion:
    shards = [Shard(path="shards/train-00000.safetensors", split="train", images=9, bytes=1, sha256="b" * 64)]
    if held_out:
        shards.append(
            Shard(path="shards/held.safetensors", split="held_out", images=held_out, bytes=1, sha256="c" * 64)
        )
    return DatasetVersion(name="dots", digest=digest, image_shape=(1, 8, 8), classes=(), shards=tuple(shards))


def test_it_is_computed_once_and_read_the_same() -> None:
    store, images = MemoryStore(), Images(40)
    first = reference_statistics(store, _version(), MeanOfPixels(), images, 1000)
    again = reference_statistics(store, _version(), MeanOfPixels(), images, 1000)
    expected = Statistics.from_features(MeanOfPixels()(images.images))
    assert images.asked == 1
    assert list(store.objects) == [f"datasets/dots/{'a' * 64}/reference/mean_of_pixels.safetensors"]
    for statistics in (first, again):
        assert np.array_equal(statistics.mean, expected.mean)
        assert np.array_equal(statistics.covariance, expected.covariance)
        assert statistics.count == 40


def test_a_cap_takes_the_first_pictures_and_is_kept_apart() -> None:
    store, images = MemoryStore(), Images(40)
    capped = reference_statistics(store, _version(), MeanOfPixels(), images, 25)
    reference_statistics(store, _version(), MeanOfPixels(), images, 40)
    expected = Statistics.from_features(MeanOfPixels()(images.images[:25]))
    assert np.array_equal(capped.covariance, expected.covariance)
    assert sorted(key.rsplit("/", 1)[1] for key in store.objects) == [
        "mean_of_pixels-25.safetensors",
        "mean_of_pixels.safetensors",
    ]


def _flip(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    "damage",
    [_flip, lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"not safetensors" * 9],
    ids=["a flipped bit", "truncated", "empty", "something else"],
)
def test_a_damaged_object_is_computed_anew(
    damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    store, images, version = MemoryStore(), Images(40), _version()
    good = reference_statistics(store, version, MeanOfPixels(), images, 40)
    key = reference_key(version, MeanOfPixels(), 40)
    whole = store.get(key)
    store.put(key, damage(whole))
    with caplog.at_level(logging.WARNING):
        repaired = reference_statistics(store, version, MeanOfPixels(), images, 40)
    assert np.array_equal(repaired.covariance, good.covariance)
    assert key in caplog.text
    assert images.asked == 2
    assert store.get(key) == whole


def test_statistics_of_something_else_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    store, images = MemoryStore(), Images(40)
    mine, other = _version(), _version(digest="d" * 64)
    reference_statistics(store, other, MeanOfPixels(), images, 40)
    misplaced = store.get(reference_key(other, MeanOfPixels(), 40))
    store.put(reference_key(mine, MeanOfPixels(), 40), misplaced)
    reference_statistics(store, mine, MeanOfPixels(), images, 40)
    assert images.asked == 2
    assert "d" * 64 in caplog.text


def test_pictures_that_are_not_the_version_s_are_refused() -> None:
    store = MemoryStore()
    with pytest.raises(DataError, match=r"\(30, 1, 8, 8\), expected \(40, 1, 8, 8\)"):
        reference_statistics(store, _version(), MeanOfPixels(), Images(30), 40)
    assert not store.objects


def test_a_version_without_held_out_pictures_is_refused() -> None:
    with pytest.raises(DataError, match="0 held-out"):
        reference_statistics(MemoryStore(), _version(held_out=0), MeanOfPixels(), Images(0), 40)
