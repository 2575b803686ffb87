"""The computing part of a comparison of two versions.

A run's own workers draw the champion's pictures while they evaluate the run
(:mod:`ganlib.release.conclusion`). Where that was not done, or the champion has been moved since, the
comparison job does the same with both registered programs; its main process needs none of the packages used
here.
"""

from __future__ import annotations

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from ganlib.config.parts import GateConfig
from ganlib.core.steps import WorkerPlace
from ganlib.ports import ModelRegistry, ObjectStore, RunTracker
from ganlib.quality.extractors import open_extractor
from ganlib.quality.grids import side_by_side
from ganlib.quality.kernel import gram
from ganlib.quality.measure import Reference, measure
from ganlib.quality.reference import reference_over_workers
from ganlib.records import Comparison, Measures, Record, RegisteredGenerator
from ganlib.registry.inputs import class_count, latent_dim_of
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.release.comparison_task import ComparisonTask
from ganlib.release.decision import Interval, difference_interval
from ganlib.release.drawn import features_of_share, given_to, some_pictures
from ganlib.settings import Settings
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.dataset import open_dataset
from ganlib.training.spec import run_draw

PAIRED = 4000
"""Most generated and real pictures that the bootstrap works with: it holds a number for each pair."""


def features_of_versions(settings: Settings, store: ObjectStore, task: ComparisonTask, rank: int) -> bytes:
    """One worker's share: features of both versions' pictures, and on rank 0 some pictures; safetensors."""
    spec = task.spec
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = WorkerPlace(rank, spec.config.compute.workers, device)
    registry = MlflowRegistry(settings)
    dataset = open_dataset(settings, store, spec)
    extractor = open_extractor(
        store, dataset, spec.config.evaluation, settings.cache, WorkerPlace(device=device)
    )
    found: dict[str, Tensor] = {}
    for name, version in zip(("candidate", "champion"), _resolve(registry, task), strict=True):
        program = registry.load(version)
        samples, draw = spec.config.evaluation.samples, run_draw(spec.run)
        given = given_to(spec.config, draw, samples, latent_dim_of(version), class_count(version))
        found[name] = features_of_share(program, given, extractor, place)
        if rank == 0:
            found[f"{name}_pictures"] = some_pictures(program, given, device)
    return save_safetensors(found)


def judge(settings: Settings, store: ObjectStore, task: ComparisonTask, shares: list[bytes]) -> Comparison:
    """The comparison from all workers' shares; its picture goes to the candidate's tracking run."""
    spec = task.spec
    dataset = open_dataset(settings, store, spec)
    config = spec.config.evaluation
    extractor = open_extractor(store, dataset, config, settings.cache)
    reference = reference_over_workers(store, dataset, extractor, config.reference_images, WorkerPlace())
    parts = [load_safetensors(share) for share in shares]
    candidate, champion = (torch.cat([part[name] for part in parts]) for name in ("candidate", "champion"))
    new, _ = _resolve(MlflowRegistry(settings), task)
    pictures = parts[0]["champion_pictures"], parts[0]["candidate_pictures"]
    log_pictures(MlflowTracker(settings), new.tracking_run_id, task.champion, *pictures)
    measures = measure(candidate, reference, extractor.metric)
    return compared(
        task, measures, measure_rival(spec.config.gate, candidate, champion, reference, extractor.metric)
    )


class RivalMeasures(Record):
    """The champion beside the candidate, on the same latents."""

    champion: Measures
    difference: float
    """Candidate's kernel distance less the champion's."""
    low: float
    """Lower end of the bootstrap interval of ``difference``."""
    high: float


def measure_rival(
    bounds: GateConfig, candidate: Tensor, champion: Tensor, reference: Reference, metric: str
) -> RivalMeasures:
    """Measure the champion and its difference to the candidate.

    Args:
        bounds: Bootstrap samples and confidence.
        candidate: The candidate's features, float32 [n, dimensions].
        champion: The champion's, of the same latents.
        reference: The held-out pictures.
        metric: Name of the Fréchet distance over these features.
    """
    interval = paired_interval(
        candidate, champion, reference.features, resamples=bounds.resamples, confidence=bounds.confidence
    )
    measures = measure(champion, reference, metric)
    return RivalMeasures(champion=measures, difference=interval.value, low=interval.low, high=interval.high)


def compared(task: ComparisonTask, measures: Measures, rival: RivalMeasures) -> Comparison:
    """The comparison of two versions, from the candidate's measures and the champion's."""
    return Comparison(
        dataset_digest=task.spec.dataset_digest,
        candidate=measures,
        candidate_version=task.candidate,
        champion_version=task.champion,
        confidence=task.spec.config.gate.confidence,
        **{name: getattr(rival, name) for name in RivalMeasures.model_fields},
    )


def log_pictures(
    tracker: RunTracker, run_id: str, champion: int, champions: Tensor, candidates: Tensor
) -> None:
    """Show the champion's and the candidate's pictures side by side in the candidate's tracking run.

    Args:
        tracker: Takes the picture.
        run_id: The candidate's tracking run.
        champion: Number of the champion's version, which is the picture's step.
        champions: uint8 [n, c, h, w].
        candidates: uint8 [n, c, h, w].
    """
    tracker.image(run_id, "champion and candidate", champion, side_by_side(champions, candidates, columns=8))


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
