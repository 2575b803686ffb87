from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryStore
from ganlib.quality.features import Extractor
from ganlib.quality.measure import Reference
from ganlib.quality.reference import find_reference, first, keep_reference, reference_key
from ganlib.records import DatasetVersion, Shard


class MeanOfPixels:
    """An extractor of one's own: the protocol asks for no class of ours."""

    name = "mean_of_pixels"
    metric = "fd_mean_of_pixels"
    dimensions = 3
    resizing = "none"

    def __init__(self, weights_sha256: str = "0" * 64) -> None:
        self.weights_sha256 = weights_sha256

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        flat = images.float().flatten(1)
        return torch.stack([flat.mean(1), flat.amax(1), flat.amin(1)], dim=1)


IMAGES = torch.randint(0, 256, (40, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _version(held_out: int = 40, digest: str = "a" * 64) -> DatasetVersion:
    shards = [Shard(path="shards/train-00000.safetensors", split="train", images=9, bytes=1, sha256="b" * 64)]
    if held_out:
        shards.append(
            Shard(path="shards/held.safetensors", split="held_out", images=held_out, bytes=1, sha256="c" * 64)
        )
    return DatasetVersion(name="dots", digest=digest, image_shape=(1, 8, 8), classes=(), shards=tuple(shards))


def _reference(limit: int = 40, extractor: Extractor | None = None) -> Reference:
    return Reference.from_features((extractor or MeanOfPixels())(first(_version(), IMAGES, limit)))


def _assert_same(found: Reference | None, expected: Reference) -> None:
    assert found is not None
    assert np.array_equal(found.statistics.mean, expected.statistics.mean)
    assert np.array_equal(found.statistics.covariance, expected.statistics.covariance)
    assert np.array_equal(found.statistics.factor, expected.statistics.factor)
    assert found.statistics.count == expected.statistics.count
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.within.radii, expected.within.radii)
    assert torch.equal(found.within.kernel_sums, expected.within.kernel_sums)


def test_it_is_found_as_it_was_kept() -> None:
    store, extractor = MemoryStore(), MeanOfPixels()
    assert find_reference(store, _version(), extractor, 1000) is None
    keep_reference(store, _version(), extractor, 1000, _reference())
    assert list(store.objects) == [f"datasets/dots/{'a' * 64}/reference/mean_of_pixels.safetensors"]
    _assert_same(find_reference(store, _version(), extractor, 1000), _reference())
    first_bytes = store.get(reference_key(_version(), extractor, 1000))
    keep_reference(store, _version(), extractor, 1000, _reference())
    assert store.get(reference_key(_version(), extractor, 1000)) == first_bytes


def test_a_cap_is_kept_apart() -> None:
    store, extractor = MemoryStore(), MeanOfPixels()
    for limit in (25, 40):
        keep_reference(store, _version(), extractor, limit, _reference(limit))
    _assert_same(find_reference(store, _version(), extractor, 25), _reference(25))
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
def test_a_damaged_object_counts_as_none(
    damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    store, extractor, version = MemoryStore(), MeanOfPixels(), _version()
    keep_reference(store, version, extractor, 40, _reference())
    key = reference_key(version, extractor, 40)
    store.put(key, damage(store.get(key)))
    with caplog.at_level(logging.WARNING):
        assert find_reference(store, version, extractor, 40) is None
    assert key in caplog.text


def test_what_an_older_ganlib_kept_counts_as_none(caplog: pytest.LogCaptureFixture) -> None:
    """It kept mean and covariance alone, under the same key, with a digest of its own."""
    import safetensors.numpy

    store, extractor, version = MemoryStore(), MeanOfPixels(), _version()
    old = safetensors.numpy.save(
        {"mean": np.zeros(3), "covariance": np.eye(3)}, metadata={"ganlib.statistics": "{}"}
    )
    store.put(reference_key(version, extractor, 40), old)
    assert find_reference(store, version, extractor, 40) is None
    assert "older format" in caplog.text


def test_a_reference_of_other_pictures_or_weights_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    store, mine, other = MemoryStore(), _version(), _version(digest="d" * 64)
    keep_reference(store, other, MeanOfPixels(), 40, _reference())
    misplaced = store.get(reference_key(other, MeanOfPixels(), 40))
    store.put(reference_key(mine, MeanOfPixels(), 40), misplaced)
    assert find_reference(store, mine, MeanOfPixels(), 40) is None
    assert "d" * 64 in caplog.text
    keep_reference(store, mine, MeanOfPixels(), 40, _reference())
    assert find_reference(store, mine, MeanOfPixels(), 40) is not None
    assert find_reference(store, mine, MeanOfPixels(weights_sha256="e" * 64), 40) is None


def test_pictures_that_are_not_the_version_s_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(30, 1, 8, 8\), expected \(40, 1, 8, 8\)"):
        first(_version(), IMAGES[:30], 40)


@pytest.mark.parametrize("held_out", [0, 2])
def test_a_version_with_too_few_held_out_pictures_is_refused(held_out: int) -> None:
    with pytest.raises(
        DataError, match=rf"has {held_out} held-out pictures and 9 to train on.* needs 4 .*add"
    ):
        find_reference(MemoryStore(), _version(held_out), MeanOfPixels(), 40)
    assert find_reference(MemoryStore(), _version(4), MeanOfPixels(), 40) is None
