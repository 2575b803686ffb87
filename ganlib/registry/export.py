"""Generators as MLflow keeps them: an exported program (pt2) with a signature and requirements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from ganlib.errors import RegistryError
from ganlib.registry.inference import one_input

if TYPE_CHECKING:
    from mlflow.models import Model


def export_program(
    generator: nn.Module,
    example: tuple[torch.Tensor, ...],
    picture: tuple[int, ...],
    described: Model,
    folder: Path,
) -> None:
    """Write the program and its description (signature, requirements) into a new folder.

    Args:
        generator: From :func:`ganlib.registry.program.frozen_copy`.
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
    from mlflow.types import Schema, TensorSpec

    program, inputs = one_input(generator, example)
    # Without names: MLflow makes dictionaries of named ones, which its PyTorch flavour then refuses.
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *inputs.shape[1:]))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, *picture))]),
    )
    try:
        mlflow.pytorch.save_model(
            program,
            str(folder),
            mlflow_model=described,
            signature=signature,
            input_example=inputs.numpy(),
            serialization_format="pt2",
            # Named, or MLflow spends many seconds on finding them out.
            pip_requirements=[
                f"mlflow=={mlflow.__version__}",
                f"torch=={torch.__version__.partition('+')[0]}",
            ],
        )
        # Or MLflow, on a machine with a GPU, would look for one in a program of the CPU, and give up.
        described.flavors["python_function"]["config"] = {"device": "cpu"}
        described.save(str(folder / "MLmodel"))
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
        raise RegistryError(f"the generator cannot be exported as a program: {error}") from error
