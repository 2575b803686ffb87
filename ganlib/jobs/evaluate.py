"""The evaluation job: how far the trained and the untrained generator are from held-out pictures.

``python -m ganlib.jobs.evaluate RUN`` on the cluster. Both generators get the same latents, and
none that was used during training: the best checkpoint was chosen on those. Each of the run's
workers takes a share. It leaves ``runs/RUN/evaluation.json``.
"""

from __future__ import annotations

import time

import ray
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from ganlib.build import fresh_state, untrained
from ganlib.core.checkpoint import restore_state
from ganlib.core.sampling import calibrate_batch_norm, generate, latents
from ganlib.core.steps import Place
from ganlib.data.cache import pull
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError
from ganlib.jobs.checkpoints import read_record, read_tensors
from ganlib.jobs.collective import share_of
from ganlib.jobs.reference import reference_over_workers
from ganlib.jobs.runner import connect, emit, run_main
from ganlib.jobs.spec import RunSpec, read_spec
from ganlib.jobs.train import result_key
from ganlib.ports import ObjectStore
from ganlib.quality.distances import Statistics, frechet_distance
from ganlib.quality.evaluate import generate_features
from ganlib.quality.features import extractor, metric_name
from ganlib.records import CheckpointRef, Evaluation, TrainResult
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.tracking import MlflowTracker


def evaluation_key(run: str) -> str:
    """Where a run's :class:`~ganlib.records.Evaluation` lies."""
    return f"runs/{run}/evaluation.json"


def main(run: str) -> None:
    """Evaluate a trained run.

    Raises:
        ConfigError: The run has no checkpoint yet.
    """
    began = time.monotonic()
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    result = TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    checkpoint = result.best or result.last
    if checkpoint is None:
        raise ConfigError(f"run {run} has no checkpoint to evaluate; train it first")
    connect()
    workers = spec.config.compute.workers
    gpus = 1 if ray.cluster_resources().get("GPU", 0.0) >= workers else 0
    task = ray.remote(num_cpus=1, num_gpus=gpus)(share)
    parts = [load_safetensors(part) for part in ray.get([task.remote(run, rank) for rank in range(workers)])]
    dataset = pull(store, load_version(store, spec.dataset_name, spec.dataset_digest), settings.cache)
    config = spec.config.evaluation
    features = extractor(config.extractor, torch.device("cpu"))
    reference = reference_over_workers(store, dataset, features, config.reference_images, Place())
    values = {
        name: frechet_distance(Statistics.from_features(torch.cat([part[name] for part in parts])), reference)
        for name in ("trained", "untrained")
    }
    evaluation = Evaluation(
        run=run,
        checkpoint=checkpoint,
        dataset_digest=spec.dataset_digest,
        metric=metric_name(features),
        samples=config.samples,
        value=values["trained"],
        value_untrained=values["untrained"],
        seconds=time.monotonic() - began,
    )
    tracker = MlflowTracker(settings)
    tracker.metrics(result.tracking_run_id, 0, {evaluation.metric: evaluation.value_untrained})
    tracker.metrics(result.tracking_run_id, checkpoint.images_seen, {evaluation.metric: evaluation.value})
    store.put(evaluation_key(run), evaluation.to_json().encode())
    emit(f"{evaluation.metric} = {evaluation.value:.1f} (untrained {evaluation.value_untrained:.1f})")


def share(run: str, rank: int) -> bytes:
    """One worker's share: features of trained and untrained pictures, as safetensors."""
    settings = load_settings()
    store = open_store(settings)
    spec = read_spec(store, run)
    result = TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    checkpoint = result.best or result.last
    assert checkpoint is not None  # main has checked
    version = load_version(store, spec.dataset_name, spec.dataset_digest)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = Place(rank, spec.config.compute.workers, device)
    count = spec.config.evaluation.samples
    noise = latents(spec.config.seed, "evaluate", 1, count, spec.config.network.latent_dim)[
        share_of(count, place)
    ]
    features = extractor(spec.config.evaluation.extractor, device)

    def features_of(generator: nn.Module) -> Tensor:
        return generate_features(lambda part: generate(generator, part), features, noise).cpu()

    return save_safetensors(
        {
            "trained": features_of(
                trained_generator(store, spec, checkpoint, version.image_shape).to(device)
            ),
            "untrained": features_of(untrained_generator(spec, version.image_shape).to(device)),
        }
    )


def trained_generator(
    store: ObjectStore, spec: RunSpec, checkpoint: CheckpointRef, image_shape: tuple[int, int, int]
) -> nn.Module:
    """The averaged generator of a checkpoint as it is evaluated and published: on the CPU, in eval mode.

    Raises:
        CheckpointRefused: The checkpoint is damaged or half-written.
    """
    state = fresh_state(spec.config, image_shape, torch.device("cpu"))
    restore_state(state, read_tensors(store, checkpoint), read_record(store, checkpoint.key).counters)
    calibrate_batch_norm(state.average, spec.config.seed)
    return state.average.eval()


def untrained_generator(spec: RunSpec, image_shape: tuple[int, int, int]) -> nn.Module:
    """The generator as the run began with it, in eval mode."""
    generator, _ = untrained(spec.config, image_shape)
    calibrate_batch_norm(generator, spec.config.seed)
    return generator.eval()


if __name__ == "__main__":
    run_main(main)
