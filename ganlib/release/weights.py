"""A generator's weights with its configuration: what a warm start needs, beside the exported program."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import nn

from ganlib.config.run import RunConfig
from ganlib.errors import DataError, RegistryError
from ganlib.records import DatasetVersion
from ganlib.training.build import build_generator

WEIGHTS, CONFIG, DATASET = "generator.safetensors", "config.json", "dataset.json"


def dump_weights(generator: nn.Module, config: RunConfig, dataset: DatasetVersion) -> dict[str, bytes]:
    """A generator's files, by name: safetensors, and what its network is built from as JSON."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
    return {
        WEIGHTS: save_safetensors(tensors),
        CONFIG: config.model_dump_json(indent=2).encode(),
        DATASET: dataset.to_json().encode(),
    }


def load_weights(files: Mapping[str, bytes], what: str = "the version") -> nn.Module:
    """The network that :func:`dump_weights` wrote, on the CPU, in eval mode; it can be trained on.

    Args:
        files: A version's files by name, as from :meth:`ganlib.ports.ModelRegistry.files`.
        what: Whose they are, for messages.

    Raises:
        RegistryError: A file is missing or damaged, or they do not belong together.
    """
    missing = sorted({WEIGHTS, CONFIG, DATASET} - files.keys())
    if missing:
        raise RegistryError(
            f"{what} cannot be taken up for training: it has no {missing[0]}; publish it anew with "
            "`ganlib retrain --force`"
        )
    try:
        config = RunConfig.model_validate_json(files[CONFIG])
        dataset = DatasetVersion.from_json(files[DATASET], source=f"{DATASET} of {what}")
        generator = build_generator(config, dataset)
        generator.load_state_dict(load_safetensors(files[WEIGHTS]))
    except (ValidationError, DataError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RegistryError(f"{what} cannot be taken up for training: {reason}") from error
    return generator.eval()
