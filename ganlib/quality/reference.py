"""The reference of a dataset version: its held-out pictures' features, computed once and kept in the store.

Kept are the statistics of all of them, the features of the first ones, and what is to be known of the
pairs among those, which is most of the work of comparing with them.
"""

from __future__ import annotations

import hashlib
import json
import logging

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError
from torch import Tensor

from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import gather_rows, mean_over_workers, share_of
from ganlib.data.cache import LocalDataset
from ganlib.errors import DataError, ObjectMissing
from ganlib.ports import ObjectStore
from ganlib.quality.distances import Statistics
from ganlib.quality.features import Extractor
from ganlib.quality.measure import REFERENCE_FEATURES, Reference, Within, within
from ganlib.quality.requirements import MIN_HELD_OUT, require_held_out
from ganlib.records import DatasetVersion, canonical_json

logger = logging.getLogger(__name__)

_ENTRY = "ganlib.reference"


def find_reference(
    store: ObjectStore, version: DatasetVersion, extractor: Extractor, limit: int
) -> Reference | None:
    """The reference of the first ``limit`` held-out pictures, if the store has it.

    A stored object that is damaged, of something else or of an older format counts as none, with a
    logged warning.

    Raises:
        DataError: The version has too few held-out pictures.
    """
    key = reference_key(version, extractor, limit)
    try:
        return decode(store.get(key), _identity(version, extractor, limit), extractor.dimensions)
    except ObjectMissing:
        return None
    except DataError as error:
        logger.warning("%s cannot be used and is computed anew: %s", key, error)
        return None


def keep_reference(
    store: ObjectStore, version: DatasetVersion, extractor: Extractor, limit: int, reference: Reference
) -> None:
    """Put a reference where :func:`find_reference` looks; equal ones have equal bytes."""
    data = encode(reference, _identity(version, extractor, limit))
    store.put(reference_key(version, extractor, limit), data)


def first(version: DatasetVersion, images: Tensor, limit: int) -> Tensor:
    """The first ``limit`` of a version's held-out pictures, uint8 [n, c, h, w].

    Raises:
        DataError: They are not the version's, or too few.
    """
    count = sample_count(version, limit)
    images = images[:count]
    if tuple(images.shape) != (count, *version.image_shape):
        raise DataError(
            f"held-out pictures of {version.name} have shape {tuple(images.shape)}, expected "
            f"{(count, *version.image_shape)}; prepare the dataset again"
        )
    return images


def reference_key(version: DatasetVersion, extractor: Extractor, limit: int) -> str:
    """Object key of the reference; it names the sample count when ``limit`` leaves pictures out."""
    count = sample_count(version, limit)
    cap = f"-{count}" if count < version.count("held_out") else ""
    return f"{version.prefix}/reference/{extractor.name}{cap}.safetensors"


def _identity(version: DatasetVersion, extractor: Extractor, limit: int) -> dict[str, str]:
    return {
        "format": "2",
        "dataset": version.digest,
        "extractor": extractor.name,
        "weights": extractor.weights_sha256,
        "resizing": extractor.resizing,
        "count": str(sample_count(version, limit)),
    }


def encode(reference: Reference, identity: dict[str, str]) -> bytes:
    """A reference as safetensors, with what it is of and a digest of both; equal ones give equal bytes."""
    statistics = reference.statistics
    tensors = {
        "mean": statistics.mean,
        "covariance": statistics.covariance,
        "factor": np.ascontiguousarray(statistics.factor),
        "features": reference.features.numpy(),
        "radii": reference.within.radii.numpy(),
        "kernel_sums": reference.within.kernel_sums.numpy(),
    }
    metadata = {**identity, "count": str(statistics.count)}
    metadata["sha256"] = _digest(tensors, metadata)
    # One entry, because safetensors writes several in an order that differs from call to call.
    return safetensors.numpy.save(tensors, metadata={_ENTRY: canonical_json(metadata)})


def decode(data: bytes, identity: dict[str, str], dimensions: int) -> Reference:
    """The reference that :func:`encode` wrote for this identity.

    Raises:
        DataError: It is damaged, of something else, of an older format, or of other dimensions.
    """
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header.get("__metadata__", {}).get(_ENTRY, "{}"))
        if not isinstance(metadata, dict):
            raise ValueError(f"its entry {_ENTRY} is no object")
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"it is not readable safetensors ({error})") from error
    stored = metadata.pop("sha256", "")
    if stored != _digest(tensors, metadata):
        raise DataError("its content does not match its own digest, or it is of an older format")
    if {name: metadata.get(name) for name in identity} != identity:
        raise DataError(f"it is of {metadata}, not of {identity}")
    try:
        statistics = Statistics.restored(
            tensors["mean"], tensors["covariance"], int(metadata["count"]), tensors["factor"]
        )
        features, radii, sums = (
            torch.from_numpy(tensors[name]) for name in ("features", "radii", "kernel_sums")
        )
        if features.ndim != 2 or radii.shape != (len(features),) or sums.shape != (len(features),):
            raise ValueError(f"features {list(features.shape)} with {list(radii.shape)} radii")
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"it does not hold a reference ({error})") from error
    if not statistics.dimensions == features.shape[1] == dimensions:
        raise DataError(f"it has {statistics.dimensions} dimensions, not {dimensions}")
    return Reference(statistics, features, Within(radii, sums))


def sample_count(version: DatasetVersion, limit: int) -> int:
    """Number of held-out pictures that the reference is made of. Raises as ``require_held_out``."""
    if limit < MIN_HELD_OUT:
        raise ValueError(f"limit must be at least {MIN_HELD_OUT}, got {limit}")
    require_held_out(version)
    return min(limit, version.count("held_out"))


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(canonical_json(metadata).encode())
    for name in sorted(tensors):
        digest.update(canonical_json([name, str(tensors[name].dtype), list(tensors[name].shape)]).encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


def reference_over_workers(
    store: ObjectStore, dataset: LocalDataset, extractor: Extractor, limit: int, place: WorkerPlace
) -> Reference:
    """The reference of the first ``limit`` held-out pictures: from the store, or computed by all workers.

    To be called on every worker of a process group, or in a single process.

    Raises:
        DataError: The version has too few held-out pictures, or the store holds damaged ones.
    """
    version = dataset.version
    # Rank 0 looks for all. If each looked, one could find what another missed a moment before, and
    # they would wait for each other for ever.
    found = find_reference(store, version, extractor, limit) if place.rank == 0 else None
    missing = torch.tensor([float(place.rank == 0 and found is None)], device=place.device)
    if float(mean_over_workers(missing)) > 0:
        computed = _compute(dataset, extractor, limit, place)
        if place.rank == 0:
            keep_reference(store, version, extractor, limit, computed)
        return computed
    if found is None:
        found = find_reference(store, version, extractor, limit)
    # It may be gone since rank 0 looked; the others do not wait, so this worker computes it alone.
    return (
        found if found is not None else _compute(dataset, extractor, limit, WorkerPlace(device=place.device))
    )


def _compute(dataset: LocalDataset, extractor: Extractor, limit: int, place: WorkerPlace) -> Reference:
    count = sample_count(dataset.version, limit)
    images = first(dataset.version, dataset.load("held_out").gather(torch.arange(count))[0], limit)
    features = _gathered(extractor(images[share_of(count, place)]), count, place)
    kept = features[:REFERENCE_FEATURES].clone()
    mine = within(kept, share_of(len(kept), place))
    both = _gathered(torch.stack(mine, dim=1), len(kept), place)
    return Reference(Statistics.from_features(features), kept, Within(both[:, 0].clone(), both[:, 1].clone()))


def _gathered(rows: Tensor, count: int, place: WorkerPlace) -> Tensor:
    """All workers' rows, on the CPU."""
    return gather_rows(rows.to(place.device), count, place).cpu()
