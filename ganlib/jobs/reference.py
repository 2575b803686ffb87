"""The held-out split's statistics, with the features spread over a run's workers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ganlib.core.steps import Place
from ganlib.data.cache import LocalDataset
from ganlib.jobs.collective import barrier, gather_rows, mean_over_workers, share_of
from ganlib.ports import ObjectStore
from ganlib.quality.distances import Statistics
from ganlib.quality.features import Extractor
from ganlib.quality.reference import reference_key, reference_statistics


def reference_over_workers(
    store: ObjectStore, dataset: LocalDataset, extractor: Extractor, limit: int, place: Place
) -> Statistics:
    """Statistics of the first ``limit`` held-out pictures: from the store, or computed by all workers.

    To be called on every worker of a process group, or in a single process.

    Raises:
        DataError: As :func:`ganlib.quality.reference.reference_statistics`.
    """
    version = dataset.version
    count = min(limit, version.count("held_out"))

    def images() -> Tensor:
        return dataset.load("held_out").gather(torch.arange(count))[0]

    key = reference_key(version, extractor, limit)
    # Rank 0 alone looks, and all follow: were each to look by itself, one could find what another
    # missed a moment before, and they would wait for each other for ever.
    missing = place.rank == 0 and not any(info.key == key for info in store.list(key))
    if float(mean_over_workers(torch.tensor([float(missing)], device=place.device))) > 0:
        features = gather_rows(extractor(images()[share_of(count, place)]).to(place.device), count, place)
        if place.rank == 0:
            reference_statistics(store, version, _Computed(extractor, features.cpu()), images, limit)
    barrier()
    return reference_statistics(store, version, extractor, images, limit)


@dataclass(frozen=True)
class _Computed:
    """An extractor whose answer is known."""

    extractor: Extractor
    features: Tensor

    @property
    def name(self) -> str:
        return self.extractor.name

    @property
    def dimensions(self) -> int:
        return self.extractor.dimensions

    def __call__(self, images: Tensor) -> Tensor:
        return self.features
