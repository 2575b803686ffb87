"""The generator of a run as it is evaluated and published, and as the run began with it."""

from __future__ import annotations

from torch import nn

from ganlib.core.checkpoint import restore_network
from ganlib.core.sampling import calibrate_batch_norm
from ganlib.ports import ObjectStore
from ganlib.records import CheckpointRef, DatasetVersion
from ganlib.training.build import build_generator, untrained
from ganlib.training.checkpoints import read_tensors
from ganlib.training.spec import RunSpec


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
