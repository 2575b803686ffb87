from __future__ import annotations

import pytest
import torch

from ganlib.errors import DataError, DigestMismatch
from ganlib.fakes.stores import MemoryStore
from ganlib.quality import classifier as module
from ganlib.quality.classifier import (
    Classifier,
    Labelled,
    Network,
    find_classifier,
    keep_classifier,
    train_classifier,
)
from ganlib.records import DatasetVersion


def version(classes: int = 2, size: int = 28, channels: int = 1) -> DatasetVersion:
    names = tuple(f"class-{index}" for index in range(classes))
    return DatasetVersion(
        name="dots", digest="a" * 64, image_shape=(channels, size, size), classes=names, shards=()
    )


def stripes(count: int, seed: int) -> Labelled:
    """Upright ones and lying ones, with noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 100, (count, 1, 28, 28), generator=random)
    images[labels == 0, :, ::4] += 150
    images[labels == 1, :, :, ::4] += 150
    return Labelled(count, lambda index: (images[index].to(torch.uint8), labels[index]))


@pytest.fixture(scope="module")
def trained() -> tuple[Network, module.TrainedClassifier, bytes]:
    return train_classifier(version(), stripes(256, 0), stripes(100, 1))


def test_it_learns_the_labels_and_says_how_well(
    trained: tuple[Network, module.TrainedClassifier, bytes],
) -> None:
    network, record, _ = trained
    assert record.accuracy > 0.9
    assert record.classes == 2
    assert record.pictures == 20 * 256
    extractor = Classifier(network, record.sha256)
    images, labels = stripes(40, 2).gather(torch.arange(40))
    features = extractor(images)
    assert features.shape == (40, extractor.dimensions) == (40, 128)
    assert features.dtype == torch.float32
    apart = (features[labels == 0].mean(0) - features[labels == 1].mean(0)).norm()
    within = (features[labels == 0] - features[labels == 0].mean(0)).norm(dim=1).mean()
    assert apart > 3 * within
    assert extractor.metric == "fd_classifier"
    torch.testing.assert_close(extractor(images[7:8]), features[7:8], atol=1e-4, rtol=1e-4)


def test_the_same_version_has_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EPOCHS", 2)
    first, second = (train_classifier(version(), stripes(128, 0), stripes(10, 1)) for _ in range(2))
    assert first[2] == second[2]
    other = version().model_copy(update={"digest": "b" * 64})
    assert train_classifier(other, stripes(128, 0), stripes(10, 1))[2] != first[2]


@pytest.mark.parametrize(("train", "held_out", "empty"), [(0, 3, "train"), (3, 0, "held_out")])
def test_a_split_without_pictures_is_refused(train: int, held_out: int, empty: str) -> None:
    with pytest.raises(DataError, match=f"at least 1 picture in each split, {empty} has none"):
        train_classifier(version(), stripes(train, 0), stripes(held_out, 1))


def test_it_is_found_as_it_was_kept(trained: tuple[Network, module.TrainedClassifier, bytes]) -> None:
    store = MemoryStore()
    assert find_classifier(store, version()) is None
    network, record, weights = trained
    keep_classifier(store, version(), record, weights)
    prefix = f"datasets/dots/{'a' * 64}/classifier"
    assert sorted(store.objects) == [f"{prefix}/classifier.json", f"{prefix}/weights.safetensors"]
    found = find_classifier(store, version())
    assert found is not None
    images, _ = stripes(10, 3).gather(torch.arange(10))
    expected = Classifier(network, record.sha256)(images)
    assert torch.equal(Classifier(found[0], found[1].sha256)(images), expected)
    assert found[1] == record


def test_a_damaged_one_is_refused_and_one_of_another_format_is_not_there(
    trained: tuple[Network, module.TrainedClassifier, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, (_, record, weights) = MemoryStore(), trained
    keep_classifier(store, version(), record, weights[:-1] + b"\x00\x01")
    with pytest.raises(DigestMismatch, match=r"weights\.safetensors"):
        find_classifier(store, version())
    keep_classifier(store, version(), record, weights)
    monkeypatch.setattr(module, "FORMAT", 2)
    assert find_classifier(store, version()) is None
    monkeypatch.undo()
    store.put(f"datasets/dots/{'a' * 64}/classifier/classifier.json", b"{}")
    with pytest.raises(DataError, match="is not a TrainedClassifier"):
        find_classifier(store, version())


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 3), (128, 1)])
def test_pictures_of_every_size_cost_about_the_same(size: int, channels: int) -> None:
    network = Network((channels, size, size), 5)
    images = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    assert network(images).shape == (2, 5)
    assert network.features(images).shape == (2, 128)
    assert 3 <= network.maps(images.float()).shape[-1] <= 5
