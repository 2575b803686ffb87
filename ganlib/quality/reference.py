"""Statistics of a dataset version's held-out pictures, computed once and kept in the object store."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError
from torch import Tensor

from ganlib.errors import DataError, ObjectMissing
from ganlib.ports import ObjectStore
from ganlib.quality.distances import Statistics
from ganlib.quality.features import Extractor
from ganlib.records import DatasetVersion, canonical_json

logger = logging.getLogger(__name__)

_ENTRY = "ganlib.statistics"


def reference_statistics(
    store: ObjectStore,
    version: DatasetVersion,
    extractor: Extractor,
    held_out_images: Callable[[], Tensor],
    limit: int,
) -> Statistics:
    """Statistics of the first ``limit`` held-out pictures, from the store or computed and put there.

    A stored object that is damaged or of something else is computed anew, with a logged warning.
    Two processes that compute at the same time put the same content; one after the other is cheaper.

    Args:
        store: Where the statistics are kept, under :func:`reference_key`.
        version: The dataset version.
        extractor: What computes the features.
        held_out_images: Gives the held-out pictures, uint8 [n, c, h, w] in the version's order, at
            least the first ``limit`` of them; called only when they are needed.
        limit: How many pictures at most.

    Raises:
        DataError: The version has no held-out pictures, or those given are not the version's.
    """
    count = _sample_count(version, limit)
    key = reference_key(version, extractor, limit)
    identity = {"dataset": version.digest, "extractor": extractor.name, "count": str(count)}
    try:
        return decode(store.get(key), identity, extractor.dimensions)
    except ObjectMissing:
        pass
    except DataError as error:
        logger.warning("%s cannot be used and is computed anew: %s", key, error)
    images = held_out_images()[:count]
    if tuple(images.shape) != (count, *version.image_shape):
        raise DataError(
            f"held-out pictures of {version.name} have shape {tuple(images.shape)}, expected "
            f"{(count, *version.image_shape)}; prepare the dataset again"
        )
    statistics = Statistics.from_features(extractor(images))
    store.put(key, encode(statistics, identity))
    return statistics


def reference_key(version: DatasetVersion, extractor: Extractor, limit: int) -> str:
    """Object key of the statistics; it names the sample count when ``limit`` leaves pictures out."""
    count = _sample_count(version, limit)
    cap = f"-{count}" if count < version.count("held_out") else ""
    return f"{version.prefix}/reference/{extractor.name}{cap}.safetensors"


def encode(statistics: Statistics, identity: dict[str, str]) -> bytes:
    """Statistics as safetensors, with what they are of and a digest of both; equal ones give equal bytes."""
    tensors = {"mean": statistics.mean, "covariance": statistics.covariance}
    metadata = {**identity, "count": str(statistics.count)}
    metadata["sha256"] = _digest(tensors, metadata)
    # One entry, because safetensors writes several in an order that differs from call to call.
    return safetensors.numpy.save(tensors, metadata={_ENTRY: canonical_json(metadata)})


def decode(data: bytes, identity: dict[str, str], dimensions: int) -> Statistics:
    """The statistics that :func:`encode` wrote for this identity.

    Raises:
        DataError: They are damaged, of something else, or of other dimensions.
    """
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header.get("__metadata__", {}).get(_ENTRY, "{}"))
    except (SafetensorError, ValueError) as error:
        raise DataError(f"it is not readable safetensors ({error})") from error
    stored = metadata.pop("sha256", "")
    if stored != _digest(tensors, metadata):
        raise DataError("its content does not match its own digest")
    if {name: metadata.get(name) for name in identity} != identity:
        raise DataError(f"it is of {metadata}, not of {identity}")
    try:
        statistics = Statistics(tensors["mean"], tensors["covariance"], int(metadata["count"]))
    except (KeyError, ValueError) as error:
        raise DataError(f"it does not hold statistics ({error})") from error
    if statistics.dimensions != dimensions:
        raise DataError(f"it has {statistics.dimensions} dimensions, not {dimensions}")
    return statistics


def _sample_count(version: DatasetVersion, limit: int) -> int:
    if limit < 2:
        raise ValueError(f"limit must be at least 2, got {limit}")
    count = min(limit, version.count("held_out"))
    if count < 2:
        raise DataError(
            f"dataset {version.name} has {count} held-out pictures and at least 2 are needed to compare "
            "with; prepare it with a larger held-out share"
        )
    return count


def _digest(tensors: dict[str, np.ndarray], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(canonical_json(metadata).encode())
    for name in sorted(tensors):
        digest.update(canonical_json([name, str(tensors[name].dtype), list(tensors[name].shape)]).encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()
