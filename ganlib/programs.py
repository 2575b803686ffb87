"""Generators as exported programs (pt2): written by MLflow's PyTorch flavour, read without a pickle."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ganlib.errors import RegistryError
from ganlib.ports import Publication

if TYPE_CHECKING:
    from mlflow.models import Model

_environment_lock = threading.Lock()


class ExportedGenerator(nn.Module):
    """A program from the registry, in evaluation mode for good and without gradients.

    Args:
        program: Maps latents float32 [batch, latent_dim], and labels int64 [batch] if it takes any, to
            pictures float32 [batch, channels, height, width] in [−1, 1].
    """

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program
        self.training = False

    @torch.no_grad()
    def forward(self, latents: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Pictures float32 [batch, channels, height, width] for latents, and labels if it takes any."""
        pictures: torch.Tensor = self.program(latents, *labels)
        return pictures

    def train(self, mode: bool = True) -> ExportedGenerator:
        """Do nothing: a program was exported in evaluation mode and knows no other."""
        return self


def frozen_copy(publication: Publication) -> tuple[nn.Module, tuple[int, ...]]:
    """A copy of the generator as it will be exported, and the channels, height and width that it makes.

    Raises:
        RegistryError: It does not turn latents into pictures.
    """
    generator = copy.deepcopy(publication.generator).cpu().float().eval().requires_grad_(False)
    example = publication.example()
    try:
        made = generator(*example)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RegistryError(f"{publication.model}: the generator fails on latents: {error}") from error
    if made.ndim != 4 or made.shape[0] != len(example[0]):
        raise RegistryError(f"{publication.model}: the generator makes {list(made.shape)}, not pictures")
    return generator, tuple(made.shape[1:])


def export_program(
    generator: nn.Module,
    example: tuple[torch.Tensor, ...],
    picture: tuple[int, ...],
    described: Model,
    folder: Path,
) -> None:
    """Write the program and its description (signature, requirements) into a new folder.

    Args:
        generator: From :func:`frozen_copy`.
        example: What it takes: latents, and maybe labels.
        picture: Channels, height and width of what it makes.
        described: MLflow's description, to be completed.
        folder: Where to write; not there yet.

    Raises:
        RegistryError: The generator cannot be exported.
    """
    import mlflow
    import mlflow.pytorch
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    arrays = [tensor.numpy() for tensor in example]
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(array.dtype, (-1, *array.shape[1:]), name)
        for name, array in zip(("latents", "labels"), arrays, strict=False)
    ]
    pictures = TensorSpec(np.dtype(np.float32), (-1, *picture))
    try:
        mlflow.pytorch.save_model(
            generator,
            str(folder),
            mlflow_model=described,
            signature=ModelSignature(Schema(inputs), Schema([pictures])),
            input_example=arrays[0] if len(arrays) == 1 else tuple(arrays),
            serialization_format="pt2",
            # Named, or MLflow spends many seconds on finding them out.
            pip_requirements=[
                f"mlflow=={mlflow.__version__}",
                f"torch=={torch.__version__.partition('+')[0]}",
            ],
        )
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        raise RegistryError(f"the generator cannot be exported as a program: {error}") from error


def load_program(folder: Path, what: str) -> ExportedGenerator:
    """The program in a folder that :func:`export_program` wrote.

    Args:
        folder: Where it lies, maybe from somebody who means us no good.
        what: What it is, for messages.

    Raises:
        RegistryError: It is no exported program, holds a pickle, or brings code along; none of it ran.
    """
    import mlflow.pytorch
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    flavor = Model.load(str(folder)).flavors.get("pytorch")
    if flavor is None or flavor.get("model_data") != "data" or not (folder / "data" / "model.pt2").is_file():
        raise RegistryError(
            f"{what} is no exported program (pt2); anything else could hold a pickle and is refused"
        )
    if flavor.get("code") or (folder / "data" / "model.pth").exists():
        raise RegistryError(f"{what} brings Python code or a pickle along and is refused")
    try:
        with _pickles_refused():
            return ExportedGenerator(mlflow.pytorch.load_model(str(folder)))
    except (MlflowException, RuntimeError, ValueError, KeyError, OSError) as error:
        raise RegistryError(f"{what} cannot be loaded and is refused: {error}") from error


@contextmanager
def _pickles_refused() -> Iterator[None]:
    # MLflow takes this from the environment alone. The lock keeps one thread from putting the old
    # value back while another one still loads.
    name = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
    with _environment_lock:
        before = os.environ.get(name)
        os.environ[name] = "false"
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
