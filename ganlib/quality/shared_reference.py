"""The held-out split's reference, with the features spread over a run's workers."""

from __future__ import annotations

import torch
from torch import Tensor

from ganlib.core.steps import Place
from ganlib.core.workers import gather_rows, mean_over_workers, share_of
from ganlib.data.cache import LocalDataset
from ganlib.ports import ObjectStore
from ganlib.quality.distances import Statistics
from ganlib.quality.features import Extractor
from ganlib.quality.measure import REFERENCE_FEATURES, Reference, Within, within
from ganlib.quality.reference import find_reference, first, keep_reference, sample_count


def reference_over_workers(
    store: ObjectStore, dataset: LocalDataset, extractor: Extractor, limit: int, place: Place
) -> Reference:
    """The reference of the first ``limit`` held-out pictures: from the store, or computed by all workers.

    To be called on every worker of a process group, or in a single process.

    Raises:
        DataError: The version has fewer than two held-out pictures, or the store holds damaged ones.
    """
    version = dataset.version
    # Rank 0 alone looks, and all follow: were each to look by itself, one could find what another
    # missed a moment before, and they would wait for each other for ever.
    found = find_reference(store, version, extractor, limit) if place.rank == 0 else None
    missing = torch.tensor([float(place.rank == 0 and found is None)], device=place.device)
    if float(mean_over_workers(missing)) > 0:
        computed = _compute(dataset, extractor, limit, place)
        if place.rank == 0:
            keep_reference(store, version, extractor, limit, computed)
        return computed
    if found is None:
        found = find_reference(store, version, extractor, limit)
    # Should it be gone since rank 0 looked, nobody waits for this worker: it computes by itself.
    return found if found is not None else _compute(dataset, extractor, limit, Place(device=place.device))


def _compute(dataset: LocalDataset, extractor: Extractor, limit: int, place: Place) -> Reference:
    count = sample_count(dataset.version, limit)
    images = first(dataset.version, dataset.load("held_out").gather(torch.arange(count))[0], limit)
    features = _gathered(extractor(images[share_of(count, place)]), count, place)
    kept = features[:REFERENCE_FEATURES].clone()
    mine = within(kept, share_of(len(kept), place))
    both = _gathered(torch.stack(mine, dim=1), len(kept), place)
    return Reference(Statistics.from_features(features), kept, Within(both[:, 0].clone(), both[:, 1].clone()))


def _gathered(rows: Tensor, count: int, place: Place) -> Tensor:
    """All workers' rows, on the CPU."""
    return gather_rows(rows.to(place.device), count, place).cpu()
