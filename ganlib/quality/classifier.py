"""A small network that learns a dataset's own labels, and whose last hidden layer gives features.

It suits pictures that look like nothing in ImageNet, since it was trained on what tells them apart. Its
distances compare generators of one dataset version, and nothing else.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.nn import functional

from ganlib.errors import DataError, DigestMismatch, ObjectMissing
from ganlib.names import Sha256
from ganlib.ports import ObjectStore
from ganlib.quality.features import check_pictures
from ganlib.records import DatasetVersion, Record

FEATURES = 128
"""Units of the last hidden layer."""

FORMAT = 1
"""Number of the way that network and training are made; a classifier with another one is trained again."""

BATCH, MAX_PICTURES, MAX_EPOCHS, LEARNING_RATE = 128, 60_000, 20, 3e-3
"""Pictures in a step, pictures seen in all, times that each is seen at most, and the largest rate of Adam."""

Gather = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Pictures uint8 [k, c, h, w] and labels int64 [k] of a split, for indices int64 [k]."""


class TrainedClassifier(Record):
    """Content of ``classifier.json``; the weights lie beside it."""

    format: int
    sha256: Sha256
    """Digest of the weights file."""
    classes: int
    accuracy: float = Field(ge=0, le=1)
    """Share of the held-out pictures whose class it names."""
    pictures: int
    """Seen in training."""
    seconds: float


class Labelled(NamedTuple):
    """A split to train or test on."""

    size: int
    gather: Gather


class Network(nn.Module):
    """Three convolutions, the mean over the last map, one hidden layer, and the classes.

    Args:
        image_shape: Channels, height, width; 28 pixels or more.
        classes: How many.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, size, _ = image_shape
        # A larger first stride for larger pictures, so that all sizes cost about the same.
        stride = max(2, size // 16)
        layers: list[nn.Module] = [nn.Conv2d(channels, 32, 2 * stride, stride, stride // 2)]
        for inputs, outputs in ((32, 64), (64, FEATURES)):
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1)]
        self.maps = nn.Sequential(*layers, nn.BatchNorm2d(FEATURES), nn.ReLU(inplace=True))
        self.hidden = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, classes)

    def features(self, images: Tensor) -> Tensor:
        """float32 [n, FEATURES] at least 0, of pictures uint8 [n, c, h, w]."""
        maps: Tensor = self.maps((images.float() - 127.5) / 127.5)
        return functional.relu(self.hidden(maps.mean(dim=(2, 3))))

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 [n, classes], of pictures uint8 [n, c, h, w]."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Classifier:
    """128 features of a network trained on the dataset's own labels, at the pictures' own size.

    Args:
        network: Trained; it is put into eval mode.
        weights_sha256: Digest of the network's weights file.
        device: Torch device to compute on.
    """

    name = "classifier"
    metric = "fd_classifier"
    dimensions = FEATURES
    resizing = "none: pictures are taken at their own size"

    def __init__(
        self, network: Network, weights_sha256: str, device: str | torch.device = "cpu", batch: int = 256
    ) -> None:
        self.weights_sha256 = weights_sha256
        self.device = torch.device(device)
        self._network = network.to(self.device).eval().requires_grad_(False)
        self._batch = batch

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Features float32 [n, 128] on the CPU, at least 0, of pictures uint8 of the dataset's shape."""
        check_pictures(images)
        features = torch.empty(len(images), self.dimensions)
        for start in range(0, len(images), self._batch):
            here = slice(start, start + self._batch)
            features[here] = self._network.features(images[here].to(self.device))
        return features


def train_classifier(
    version: DatasetVersion, train: Labelled, held_out: Labelled, device: str | torch.device = "cpu"
) -> tuple[Network, TrainedClassifier, bytes]:
    """Train a network on a version's labels: the same one for the same version on the same machine.

    Returns:
        The network, its record, and its weights as safetensors.

    Raises:
        DataError: A split has no picture.
    """
    for name, split in (("train", train), ("held_out", held_out)):
        if split.size < 1:
            raise DataError(
                f"a classifier of {version.name} needs at least 1 picture in each split, {name} has none; "
                "add more pictures to the dataset"
            )
    began = time.monotonic()
    seed = int(version.digest[:15], 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(version.image_shape, len(version.classes)).to(device)
    steps = max(1, min(MAX_PICTURES, MAX_EPOCHS * train.size) // BATCH)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    order = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        images, labels = train.gather(torch.randint(train.size, (BATCH,), generator=order))
        loss = functional.cross_entropy(network(images.to(device)), labels.to(device), label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    accuracy = _accuracy(network.eval(), held_out, device)
    weights = save_safetensors(
        {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    )
    record = TrainedClassifier(
        format=FORMAT,
        sha256=hashlib.sha256(weights).hexdigest(),
        classes=len(version.classes),
        accuracy=accuracy,
        pictures=steps * BATCH,
        seconds=time.monotonic() - began,
    )
    return network, record, weights


def keep_classifier(
    store: ObjectStore, version: DatasetVersion, record: TrainedClassifier, weights: bytes
) -> None:
    """Put a classifier beside its version: the weights, then what is said of them."""
    store.put(_key(version, "weights.safetensors"), weights)
    store.put(_key(version, "classifier.json"), record.to_json().encode())


def find_classifier(store: ObjectStore, version: DatasetVersion) -> tuple[Network, TrainedClassifier] | None:
    """The version's classifier, if the store has one of this format.

    Raises:
        DataError: It is damaged.
    """
    key = _key(version, "classifier.json")
    try:
        record = TrainedClassifier.from_json(store.get(key), source=key)
    except ObjectMissing:
        return None
    if record.format != FORMAT or record.classes != len(version.classes):
        return None
    key = _key(version, "weights.safetensors")
    weights = store.get(key)
    actual = hashlib.sha256(weights).hexdigest()
    if actual != record.sha256:
        raise DigestMismatch(key, record.sha256, actual)
    network = Network(version.image_shape, record.classes)
    try:
        network.load_state_dict(load_safetensors(weights))
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{key} does not hold this network's weights ({error})") from error
    return network, record


def _key(version: DatasetVersion, name: str) -> str:
    return f"{version.prefix}/classifier/{name}"


@torch.inference_mode()
def _accuracy(network: Network, split: Labelled, device: str | torch.device) -> float:
    right = 0
    for start in range(0, split.size, 512):
        images, labels = split.gather(torch.arange(start, min(start + 512, split.size)))
        right += int((network(images.to(device)).argmax(dim=1).cpu() == labels).sum())
    return right / split.size
