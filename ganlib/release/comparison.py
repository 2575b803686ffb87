"""What the workers of the comparison job do; its main process needs none of the packages used here."""

from __future__ import annotations

from functools import partial

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from ganlib.core.sampling import generate, labels_in_turn, latents
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import share_of
from ganlib.data.cache import pull
from ganlib.data.versions import load_version
from ganlib.ports import ModelRegistry, ObjectStore
from ganlib.quality.extractors import open_extractor
from ganlib.quality.generated import generate_features, to_uint8
from ganlib.quality.grids import side_by_side
from ganlib.quality.kernel import gram
from ganlib.quality.measure import measure
from ganlib.quality.reference import reference_over_workers
from ganlib.records import Comparison, Measures, RegisteredGenerator
from ganlib.registry.inputs import class_count, latent_dim_of
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.release.decision import Interval, difference_interval
from ganlib.settings import Settings
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.spec import RunSpec

PICTURES = 64
"""Of each of the two, side by side."""

PAIRED = 4000
"""Generated and real pictures that the bootstrap works with at the most: it holds a number for each pair."""

Versions = tuple[int, int]
"""Candidate and champion."""


def features_of_share(
    settings: Settings, store: ObjectStore, spec: RunSpec, versions: Versions, rank: int
) -> bytes:
    """One worker's share: features of both versions' pictures, and on rank 0 some pictures; safetensors."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = WorkerPlace(rank, spec.config.compute.workers, device)
    registry = MlflowRegistry(settings)
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    extractor = open_extractor(
        store, dataset, spec.config.evaluation, settings.cache, WorkerPlace(device=device)
    )
    found: dict[str, Tensor] = {}
    for name, version in zip(("candidate", "champion"), _resolve(registry, spec, versions), strict=True):
        program = registry.load(version).to(device)
        noise, labels = _given(spec, version, versions[0])
        here = share_of(len(noise), place)
        make = partial(generate, program)
        found[name] = generate_features(
            make, extractor, noise[here], None if labels is None else labels[here]
        ).cpu()
        if rank == 0:
            some = slice(PICTURES)
            found[f"{name} pictures"] = to_uint8(make(noise[some], None if labels is None else labels[some]))
    return save_safetensors(found)


def judge(
    settings: Settings, store: ObjectStore, spec: RunSpec, versions: Versions, shares: list[bytes]
) -> Comparison:
    """The comparison from all workers' shares; its picture goes to the candidate's tracking run."""
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    config = spec.config.evaluation
    extractor = open_extractor(store, dataset, config, settings.cache)
    reference = reference_over_workers(store, dataset, extractor, config.reference_images, WorkerPlace())
    parts = [load_safetensors(share) for share in shares]
    candidate, champion = (torch.cat([part[name] for part in parts]) for name in ("candidate", "champion"))
    bounds = spec.config.gate
    interval = paired_interval(
        candidate, champion, reference.features, resamples=bounds.resamples, confidence=bounds.confidence
    )
    picture = side_by_side(parts[0]["champion pictures"], parts[0]["candidate pictures"], columns=8)
    new, old = _resolve(MlflowRegistry(settings), spec, versions)
    MlflowTracker(settings).image(new.tracking_run_id, "champion and candidate", int(old.version), picture)

    def measures(found: Tensor) -> Measures:
        values = measure(found, reference)
        return Measures(
            metric=extractor.metric,
            samples=len(found),
            value=values.frechet,
            kernel_distance=values.kernel_distance,
            kernel_distance_error=values.kernel_distance_error,
            precision=values.precision,
            recall=values.recall,
        )

    return Comparison(
        dataset_digest=spec.dataset_digest,
        candidate=measures(candidate),
        candidate_version=new.version,
        champion=measures(champion),
        champion_version=old.version,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        confidence=bounds.confidence,
    )


def paired_interval(
    candidate: Tensor, champion: Tensor, real: Tensor, *, resamples: int, confidence: float
) -> Interval:
    """The difference of the kernel distances, with its interval, from features of the same latents.

    Args:
        candidate: [n, d]; of more than :data:`PAIRED` the first are used, as of the others.
        champion: [n, d].
        real: [m, d].
        resamples: Bootstrap samples.
        confidence: Of the interval.
    """
    x, y, z = candidate[:PAIRED], champion[:PAIRED], real[:PAIRED]
    within, across = gram(x, x) - gram(y, y), gram(x, z) - gram(y, z)
    return difference_interval(within.numpy(), across.numpy(), resamples=resamples, confidence=confidence)


def _resolve(
    registry: ModelRegistry, spec: RunSpec, versions: Versions
) -> tuple[RegisteredGenerator, RegisteredGenerator]:
    candidate, champion = (registry.resolve(spec.config.recipe, str(version)) for version in versions)
    return candidate, champion


def _given(spec: RunSpec, version: RegisteredGenerator, candidate: int) -> tuple[Tensor, Tensor | None]:
    """Latents and labels: the same for both, and others for every candidate, or the champion's luck with
    the ones that it was chosen on would count for it each time."""
    count = spec.config.evaluation.samples
    noise = latents(spec.config.seed, "gate", candidate, count, latent_dim_of(version))
    return noise, labels_in_turn(class_count(version), count)
