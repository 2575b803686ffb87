"""The extractor that a configuration names, ready to use on a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from ganlib.config.parts import EvaluationConfig
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import barrier, mean_over_workers
from ganlib.data.cache import LocalDataset
from ganlib.errors import ConfigError, DataError
from ganlib.ports import ObjectStore
from ganlib.quality.classifier import (
    Classifier,
    Labelled,
    Network,
    TrainedClassifier,
    find_classifier,
    keep_classifier,
    train_classifier,
)
from ganlib.quality.efficientnet import EfficientNetLite0
from ganlib.quality.features import Extractor
from ganlib.quality.inception_weights import INCEPTION_SHA256, fetch_weights, put_weights
from ganlib.quality.requirements import require_classes
from ganlib.records import DatasetVersion

log = logging.getLogger(__name__)


def open_extractor(
    store: ObjectStore,
    dataset: LocalDataset,
    config: EvaluationConfig,
    cache: Path,
    place: WorkerPlace | None = None,
    say: Callable[[str], None] = log.info,
) -> Extractor:
    """The extractor of a run.

    To be called on every worker of a process group, or in a single process: where the classifier of a
    dataset version does not exist yet, rank 0 trains it and the others wait.

    Args:
        store: Holds the version, and the weights of ``inception`` (:func:`provide_weights`).
        dataset: Trains the classifier.
        config: Names the extractor.
        cache: The machine's cache.
        place: This worker; left out, a single process on the CPU.
        say: Takes a line when a classifier has to be trained.

    Raises:
        ConfigError: The dataset has no classes to train a classifier on, or the store has no weights.
        DigestMismatch: The weights are not the standard ones.
    """
    place = place or WorkerPlace()
    if config.extractor == "inception":
        # Takes a second or more to import, and no other extractor needs it.
        from ganlib.quality.inception import Inception

        return Inception(fetch_weights(store, INCEPTION_SHA256, cache), place.device)
    if config.extractor == "classifier":
        return _classifier(store, dataset, place, say)
    return EfficientNetLite0(place.device)


def provide_weights(
    store: ObjectStore,
    config: EvaluationConfig,
    cache: Path,
    open_store: Callable[[str], ObjectStore],
    *,
    sha256: str = INCEPTION_SHA256,
) -> None:
    """Bring the weights that the extractor needs to where every worker finds them, and check them.

    A file named by ``evaluation.weights`` goes into the object store, under its content's name; once it
    is there, the setting may be left out.

    Args:
        store: The object store.
        config: Names the extractor and the file.
        cache: This machine's cache.
        open_store: A store of what lies below an ``s3://`` address.
        sha256: The digest that they must have.

    Raises:
        ConfigError: There is no such file, or none was named and none is in the store.
        DigestMismatch: The file, or what the store holds, is not the standard one.
    """
    if config.extractor != "inception":
        return
    if config.weights is not None:
        put_weights(store, config.weights, _read(config.weights, open_store), sha256)
    fetch_weights(store, sha256, cache)


def _read(where: str, open_store: Callable[[str], ObjectStore]) -> bytes:
    if where.startswith("s3://"):
        folder, _, name = where.rpartition("/")
        try:
            return open_store(folder).get(name)
        except DataError as error:
            raise ConfigError(f"evaluation.weights = {where} cannot be read: {error}") from error
    try:
        return Path(where).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(
            f"evaluation.weights = {where} cannot be read: {error.strerror or error}; give the path of the "
            "file, or s3://BUCKET/KEY"
        ) from error


def _classifier(
    store: ObjectStore, dataset: LocalDataset, place: WorkerPlace, say: Callable[[str], None]
) -> Classifier:
    version = dataset.version
    found = _find(store, version) if place.rank == 0 else None
    missing = torch.tensor([float(place.rank == 0 and found is None)], device=place.device)
    if float(mean_over_workers(missing)) > 0:
        if place.rank == 0:
            _train(store, dataset, place, say)
        barrier()
    # Another run may have trained it at the same time, so use what the store has.
    found = found or find_classifier(store, version)
    if found is None:
        raise DataError(f"the classifier of {version.prefix} was deleted from the object store; run again")
    network, record = found
    return Classifier(network, record.sha256, place.device)


def _find(store: ObjectStore, version: DatasetVersion) -> tuple[Network, TrainedClassifier] | None:
    try:
        return find_classifier(store, version)
    except DataError as error:
        log.warning("the classifier of %s cannot be used and is trained anew: %s", version.prefix, error)
        return None


def _train(store: ObjectStore, dataset: LocalDataset, place: WorkerPlace, say: Callable[[str], None]) -> None:
    version = dataset.version
    require_classes(EvaluationConfig(extractor="classifier"), version)
    say(f"training a classifier of {version.name}'s {len(version.classes)} classes, once for this version")
    train, held_out = (dataset.sample(), dataset.load("held_out"))
    if len(train) < version.count("train"):
        say(f"it learns from a sample of {len(train):,} of {version.count('train'):,} training pictures")
    _, record, weights = train_classifier(
        version,
        Labelled(len(train), train.gather),
        Labelled(len(held_out), held_out.gather),
        place.device,
    )
    keep_classifier(store, version, record, weights)
    say(f"the classifier is right on {record.accuracy:.1%} of held-out pictures ({record.seconds:.0f} s)")
