"""What the workers of the evaluation job do; its main process needs none of the packages used here."""

from __future__ import annotations

from functools import partial

import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from ganlib.build import build_generator, count_classes, untrained
from ganlib.core.checkpoint import restore_network
from ganlib.core.sampling import calibrate_batch_norm, generate, labels_in_turn, latents
from ganlib.core.steps import Place
from ganlib.data.cache import pull
from ganlib.data.versions import load_version
from ganlib.jobs.checkpoints import read_tensors
from ganlib.jobs.collective import share_of
from ganlib.jobs.reference import reference_over_workers
from ganlib.jobs.spec import RunSpec
from ganlib.ports import ObjectStore
from ganlib.quality.distances import Statistics, frechet_distance
from ganlib.quality.evaluate import generate_features
from ganlib.quality.features import extractor, metric_name
from ganlib.records import CheckpointRef, DatasetVersion
from ganlib.settings import Settings


def features_of_share(store: ObjectStore, spec: RunSpec, checkpoint: CheckpointRef, rank: int) -> bytes:
    """One worker's share: features of trained and untrained pictures, as safetensors."""
    version = load_version(store, spec.dataset_name, spec.dataset_digest)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = Place(rank, spec.config.compute.workers, device)
    count = spec.config.evaluation.samples
    noise = latents(spec.config.seed, "evaluate", 1, count, spec.config.network.latent_dim)
    here = share_of(count, place)
    noise, labels = noise[here], labels_in_turn(count_classes(spec.config, version), count)
    labels = None if labels is None else labels[here]
    features = extractor(spec.config.evaluation.extractor, device)

    def features_of(generator: nn.Module) -> Tensor:
        return generate_features(partial(generate, generator), features, noise, labels).cpu()

    trained = trained_generator(store, spec, checkpoint, version).to(device)
    untrained = untrained_generator(spec, version).to(device)
    return save_safetensors({"trained": features_of(trained), "untrained": features_of(untrained)})


def distances(
    settings: Settings, store: ObjectStore, spec: RunSpec, shares: list[bytes]
) -> tuple[str, dict[str, float]]:
    """The metric's name, and its value for ``trained`` and ``untrained``, from all workers' shares."""
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    config = spec.config.evaluation
    features = extractor(config.extractor, torch.device("cpu"))
    reference = reference_over_workers(store, dataset, features, config.reference_images, Place())
    parts = [load_safetensors(share) for share in shares]
    values = {
        name: frechet_distance(Statistics.from_features(torch.cat([part[name] for part in parts])), reference)
        for name in ("trained", "untrained")
    }
    return metric_name(features), values


def trained_generator(
    store: ObjectStore, spec: RunSpec, checkpoint: CheckpointRef, dataset: DatasetVersion
) -> nn.Module:
    """The averaged generator of a checkpoint as it is evaluated and published: on the CPU, in eval mode.

    Raises:
        CheckpointRefused: The checkpoint is damaged or half-written.
    """
    generator = build_generator(spec.config, dataset)
    restore_network(generator, "average", read_tensors(store, checkpoint))
    calibrate_batch_norm(generator, spec.config.seed)
    return generator.eval().requires_grad_(False)


def untrained_generator(spec: RunSpec, dataset: DatasetVersion) -> nn.Module:
    """The generator as the run began with it, in eval mode."""
    generator, _ = untrained(spec.config, dataset)
    calibrate_batch_norm(generator, spec.config.seed)
    return generator.eval().requires_grad_(False)
