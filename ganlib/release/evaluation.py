"""The computing part of an evaluation.

A run's own workers evaluate it when it has been trained (:func:`evaluate_over_workers`): they have
dataset and extractor in memory. The evaluation job does the same with tasks of its own
(:func:`share_of_task` on each, then :func:`judge`); its main process needs none of the packages used here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from pydantic import Field
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ganlib.core.hardware import allow_tf32
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import gather_bytes, share_of
from ganlib.data.cache import LocalDataset
from ganlib.data.threads import decode_threads
from ganlib.generators.loaded import LoadedGenerator
from ganlib.ports import ObjectStore
from ganlib.quality.copying import BLOCK, SAMPLES, Nearest, copying, merge, nearest, strip, vectors
from ganlib.quality.distances import Statistics, frechet_distance
from ganlib.quality.extractors import open_extractor
from ganlib.quality.features import Extractor
from ganlib.quality.grids import Picture
from ganlib.quality.measure import Reference, measure
from ganlib.quality.reference import reference_over_workers
from ganlib.records import CheckpointRef, Evaluation, Record
from ganlib.release.comparison import RivalMeasures, measure_rival
from ganlib.release.drawn import features_of_share, given_to, some_pictures
from ganlib.settings import Settings
from ganlib.training.dataset import open_dataset
from ganlib.training.generator import trained_generator, untrained_generator
from ganlib.training.spec import RunSpec, count_classes


class Task(Record):
    """An evaluation to make."""

    spec: RunSpec
    checkpoint: CheckpointRef
    samples: int = Field(ge=16)
    """Generated pictures."""
    draw: int = Field(ge=0)
    """Number of the draw of latents."""
    untrained: bool = True
    """Whether the generator is measured as it was before training, too."""


class Rival(NamedTuple):
    """The champion beside the evaluated generator, both with an evaluation's latents."""

    measures: RivalMeasures
    pictures: Tensor
    """Some of the champion's pictures, uint8 [n, c, h, w]."""
    candidate_pictures: Tensor
    """The evaluated generator's of the same latents, uint8 [n, c, h, w]."""


class EvaluationOutcome(NamedTuple):
    """The result of an evaluation."""

    evaluation: Evaluation
    """The numbers, with ``seconds`` left at 0."""
    strip: Picture
    """Generated and held-out pictures above the training pictures nearest to them."""
    rival: Rival | None = None
    """The champion on the same latents, when one was given."""


def share_of_task(settings: Settings, store: ObjectStore, task: Task, rank: int) -> bytes:
    """One worker's share, as safetensors: features of generated and the nearest training pictures."""
    spec = task.spec
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = WorkerPlace(rank, spec.config.compute.workers, device)
    dataset = open_dataset(settings, store, spec)
    extractor = open_extractor(
        store, dataset, spec.config.evaluation, settings.cache, WorkerPlace(device=place.device)
    )
    return _share(store, task, dataset, extractor, place)


def _share(
    store: ObjectStore,
    task: Task,
    dataset: LocalDataset,
    extractor: Extractor,
    place: WorkerPlace,
    champion: LoadedGenerator | None = None,
) -> bytes:
    spec, device = task.spec, place.device
    # A worker that trained may have allowed it; numbers must not depend on who evaluates.
    allow_tf32(False)
    latent_dim, classes = spec.config.network.latent_dim, count_classes(spec.config, dataset.version)
    given = given_to(spec.config, task.draw, task.samples, latent_dim, classes)
    trained = trained_generator(store, spec, task.checkpoint, dataset.version)

    def features_of(generator: nn.Module) -> Tensor:
        return features_of_share(generator, given, extractor, place)

    tensors = {"trained": features_of(trained)}
    if task.untrained:
        tensors["untrained"] = features_of(untrained_generator(spec, dataset.version))
    held_out = held_out_pictures(dataset)
    pictures = some_pictures(trained, given, device)
    made = pictures[: len(held_out)]
    if place.rank == 0:
        tensors["pictures"] = pictures
    if champion is not None:
        theirs = given_to(spec.config, task.draw, task.samples, champion.latent_dim, len(champion.classes))
        tensors["champion"] = features_of_share(champion.program, theirs, extractor, place)
        if place.rank == 0:
            tensors["champion_pictures"] = some_pictures(champion.program, theirs, device)
    for name, looked_up in (("generated", made), ("held_out", held_out)):
        found = nearest_of_share(dataset, looked_up, place)
        tensors |= {f"{name}_distances": found.distances, f"{name}_indices": found.indices}
    return save_safetensors(tensors)


def judge(settings: Settings, store: ObjectStore, task: Task, shares: list[bytes]) -> EvaluationOutcome:
    """The evaluation, from all workers' shares in the order of their ranks."""
    spec = task.spec
    dataset = open_dataset(settings, store, spec)
    with _all_threads(spec.config.compute.workers):
        config = spec.config.evaluation
        extractor = open_extractor(store, dataset, config, settings.cache)
        limit = config.reference_images
        reference = reference_over_workers(store, dataset, extractor, limit, WorkerPlace())
        return _judge(task, dataset, extractor, reference, shares)


def evaluate_over_workers(
    store: ObjectStore,
    task: Task,
    dataset: LocalDataset,
    extractor: Extractor,
    place: WorkerPlace,
    champion: LoadedGenerator | None = None,
) -> EvaluationOutcome | None:
    """Evaluate on all workers of a process group, each of which calls this; ``None`` but on rank 0.

    Args:
        store: Holds the checkpoint and the reference's features.
        task: The evaluation, the same on all workers.
        dataset: The run's dataset version.
        extractor: Of the task's configuration.
        place: This worker's place.
        champion: A registered generator to draw from the same latents, on all workers or on none.
    """
    began = time.monotonic()
    limit = task.spec.config.evaluation.reference_images
    reference = reference_over_workers(store, dataset, extractor, limit, place)
    shares = gather_bytes(_share(store, task, dataset, extractor, place, champion), place)
    # Nothing up to the next gathering may wait for other workers. The last one measures the champion, while
    # rank 0 measures the candidate.
    measured = b""
    threads = place.workers if champion is None or place.workers == 1 else place.workers - 1
    if champion is not None and place.rank == place.workers - 1:
        measured = _measure_rival(task, extractor, reference, shares).to_json().encode()
    found = None
    if place.rank == 0:
        with _all_threads(threads):
            found = _judge(task, dataset, extractor, reference, shares)
    measured = gather_bytes(measured, place)[-1]
    if found is None:
        return None
    rival = None
    if measured:
        first = load_safetensors(shares[0])
        measures = RivalMeasures.from_json(measured, source="the last worker")
        rival = Rival(measures, first["champion_pictures"], first["pictures"])
    seconds = time.monotonic() - began
    evaluation = found.evaluation.model_copy(update={"seconds": seconds})
    return found._replace(evaluation=evaluation, rival=rival)


def _measure_rival(
    task: Task, extractor: Extractor, reference: Reference, shares: list[bytes]
) -> RivalMeasures:
    parts = [load_safetensors(share) for share in shares]
    candidate, champion = (torch.cat([part[name] for part in parts]) for name in ("trained", "champion"))
    return measure_rival(task.spec.config.gate, candidate, champion, reference, extractor.metric)


@contextmanager
def _all_threads(workers: int) -> Iterator[None]:
    """Compute on the processors of all workers, which have ended or wait."""
    threads, before = min(workers, decode_threads()), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


def _judge(
    task: Task, dataset: LocalDataset, extractor: Extractor, reference: Reference, shares: list[bytes]
) -> EvaluationOutcome:
    spec = task.spec
    parts = [load_safetensors(share) for share in shares]

    trained = torch.cat([part["trained"] for part in parts])

    def found(name: str) -> Nearest:
        return merge(Nearest(part[f"{name}_distances"], part[f"{name}_indices"]) for part in parts)

    generated, held_out = found("generated"), found("held_out")
    train = dataset.sample()
    sampled = len(train) < dataset.version.count("train")
    shown = held_out_pictures(dataset)
    picture = strip(
        (parts[0]["pictures"][: len(shown)], train.gather(generated.indices)[0], generated),
        (shown, train.gather(held_out.indices)[0], held_out),
    )
    evaluation = Evaluation(
        run=spec.run,
        checkpoint=task.checkpoint,
        dataset_digest=spec.dataset_digest,
        measures=measure(trained, reference, extractor.metric),
        draw=task.draw,
        value_untrained=_value_untrained(parts, reference) if task.untrained else math.nan,
        copying=copying(generated, held_out, sample=len(train) if sampled else 0),
        resizing=extractor.resizing,
        seconds=0.0,
    )
    return EvaluationOutcome(evaluation, picture)


def _value_untrained(parts: list[dict[str, Tensor]], reference: Reference) -> float:
    """The Fréchet distance of the untrained generator, of which nothing else is asked."""
    features = torch.cat([part["untrained"] for part in parts])
    return frechet_distance(Statistics.from_features(features), reference.statistics)


def held_out_pictures(dataset: LocalDataset) -> Tensor:
    """At most 64 held-out pictures, uint8 [n, c, h, w], from all over the split: it may be sorted."""
    pictures = dataset.load("held_out")
    count = min(SAMPLES, len(pictures))
    return pictures.gather(torch.arange(count) * len(pictures) // count)[0]


def nearest_of_share(dataset: LocalDataset, pictures: Tensor, place: WorkerPlace) -> Nearest:
    """The nearest training pictures to some, uint8 [n, c, h, w], among this worker's share of them.

    Of a dataset that is streamed, among a sample of them.
    """
    train = dataset.sample()
    here = share_of(len(train), place)
    blocks = (
        (start, train.gather(torch.arange(start, min(start + BLOCK, here.stop)))[0])
        for start in range(here.start, here.stop, BLOCK)
    )
    return nearest(vectors(pictures), blocks)
