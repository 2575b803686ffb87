"""The computing part of the comparison job; the job's main process needs none of the packages used here."""

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
from ganlib.records import Comparison, RegisteredGenerator
from ganlib.registry.inputs import class_count, latent_dim_of
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.release.comparison_task import ComparisonTask
from ganlib.release.decision import Interval, difference_interval
from ganlib.settings import Settings
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.spec import RunSpec

PICTURES = 64
"""Pictures of each version that are shown side by side."""

PAIRED = 4000
"""Most generated and real pictures that the bootstrap works with: it holds a number for each pair."""


def features_of_share(settings: Settings, store: ObjectStore, task: ComparisonTask, rank: int) -> bytes:
    """One worker's share: features of both versions' pictures, and on rank 0 some pictures; safetensors."""
    spec = task.spec
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = WorkerPlace(rank, spec.config.compute.workers, device)
    registry = MlflowRegistry(settings)
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    extractor = open_extractor(
        store, dataset, spec.config.evaluation, settings.cache, WorkerPlace(device=device)
    )
    found: dict[str, Tensor] = {}
    for name, version in zip(("candidate", "champion"), _resolve(registry, task), strict=True):
        program = registry.load(version).to(device)
        noise, labels = _given(spec, version, task.candidate)
        here = share_of(len(noise), place)
        make = partial(generate, program)
        found[name] = generate_features(
            make, extractor, noise[here], None if labels is None else labels[here]
        ).cpu()
        if rank == 0:
            some = slice(PICTURES)
            found[f"{name} pictures"] = to_uint8(make(noise[some], None if labels is None else labels[some]))
    return save_safetensors(found)


def judge(settings: Settings, store: ObjectStore, task: ComparisonTask, shares: list[bytes]) -> Comparison:
    """The comparison from all workers' shares; its picture goes to the candidate's tracking run."""
    spec = task.spec
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
    new, old = _resolve(MlflowRegistry(settings), task)
    MlflowTracker(settings).image(new.tracking_run_id, "champion and candidate", int(old.version), picture)

    return Comparison(
        dataset_digest=spec.dataset_digest,
        candidate=measure(candidate, reference, extractor.metric),
        candidate_version=new.version,
        champion=measure(champion, reference, extractor.metric),
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
        candidate: Features [n, d]; the first :data:`PAIRED` of each set are used.
        champion: Features [n, d].
        real: Features [m, d].
        resamples: Bootstrap samples.
        confidence: Confidence level of the interval.
    """
    x, y, z = candidate[:PAIRED], champion[:PAIRED], real[:PAIRED]
    within, across = gram(x, x) - gram(y, y), gram(x, z) - gram(y, z)
    return difference_interval(within.numpy(), across.numpy(), resamples=resamples, confidence=confidence)


def _resolve(
    registry: ModelRegistry, task: ComparisonTask
) -> tuple[RegisteredGenerator, RegisteredGenerator]:
    candidate, champion = (
        registry.resolve(task.model, str(version)) for version in (task.candidate, task.champion)
    )
    return candidate, champion


def _given(spec: RunSpec, version: RegisteredGenerator, candidate: int) -> tuple[Tensor, Tensor | None]:
    """Latents and labels: the same for both versions, and fresh ones for each candidate.

    The champion was chosen on the latents of its own comparison; on them it would look too good.
    """
    count = spec.config.evaluation.samples
    noise = latents(spec.config.seed, "gate", candidate, count, latent_dim_of(version))
    return noise, labels_in_turn(class_count(version), count)
