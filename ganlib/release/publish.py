"""From an evaluated checkpoint to a registered generator."""

from __future__ import annotations

from functools import partial

from safetensors.torch import save as save_safetensors
from torch import nn

from ganlib.config.run import RunConfig
from ganlib.core.sampling import generate, labels_in_turn, sample_latents
from ganlib.data.licences import with_licence
from ganlib.data.versions import load_version
from ganlib.errors import AliasMoved
from ganlib.ports import ModelRegistry, ObjectStore, Publication
from ganlib.quality.generated import to_uint8
from ganlib.quality.grids import grid, png
from ganlib.records import (
    DatasetVersion,
    Evaluation,
    RegisteredGenerator,
    TrainResult,
)
from ganlib.release.card import model_card
from ganlib.release.run_page import samples_link
from ganlib.release.tags import CHALLENGER, version_tags
from ganlib.training.generator import trained_generator
from ganlib.training.spec import RunSpec

GRID_PICTURES = 64


def publish(
    store: ObjectStore, registry: ModelRegistry, spec: RunSpec, result: TrainResult, evaluation: Evaluation
) -> RegisteredGenerator:
    """Register the evaluated generator under its model's name, as challenger.

    The gate (:mod:`ganlib.release.gate`) decides whether it becomes the champion. Repeating the call returns
    the version that is there.
    """
    spec = spec.model_copy(update={"config": with_licence(store, spec.config)})
    version = load_version(store, spec.dataset_name, spec.dataset_digest)
    generator = trained_generator(store, spec, evaluation.checkpoint, version)
    classes = version.classes if spec.config.network.conditional else ()
    card = partial(model_card, spec.config, version, evaluation, run=spec.run, code_version=spec.code_version)
    registered = registry.publish(
        Publication(
            model=spec.config.model_name,
            run=spec.run,
            tracking_run_id=result.tracking_run_id,
            generator=generator,
            latent_dim=spec.config.network.latent_dim,
            classes=classes,
            tags=version_tags(spec, version, evaluation),
            files={
                **training_files(generator, spec.config, version),
                "evaluation.json": evaluation.to_json().encode(),
                "grid.png": sample_grid(generator, spec.config.network.latent_dim, classes),
                "model_card.md": card().encode(),
            },
            description=card(samples=samples_link(store, spec.run, result.tracking_run_id)),
        )
    )
    challenge(registry, registered, who=f"run {spec.run}")
    return registered.model_copy(update={"alias": CHALLENGER})


def training_files(generator: nn.Module, config: RunConfig, dataset: DatasetVersion) -> dict[str, bytes]:
    """Files that further training needs beside the program, by name: weights and their configuration."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in generator.state_dict().items()}
    return {
        "generator.safetensors": save_safetensors(tensors),
        "config.json": config.model_dump_json(indent=2).encode(),
        "dataset.json": dataset.to_json().encode(),
    }


def sample_grid(generator: nn.Module, latent_dim: int, classes: tuple[str, ...]) -> bytes:
    """The first 64 pictures of seed 0, those of ``ganlib generate``, as a PNG."""
    noise = sample_latents(0, 0, GRID_PICTURES, latent_dim)
    pictures = generate(generator, noise, labels_in_turn(len(classes), GRID_PICTURES))
    return png(grid(to_uint8(pictures), columns=8))


def challenge(catalog: ModelRegistry, generator: RegisteredGenerator, who: str) -> None:
    """Make a version the challenger, unless a newer one is that already."""
    while True:
        present = pointed(catalog, generator.model, CHALLENGER)
        if present is not None and present >= generator.version:
            return
        try:
            catalog.move(
                generator.model, CHALLENGER, generator.version, expected=present, who=who, why="published"
            )
        except AliasMoved:
            continue  # another publisher moved it: the newer version wins
        return


def pointed(catalog: ModelRegistry, model: str, alias: str) -> int | None:
    """The version that an alias points to, if any."""
    return next((found.version for found in catalog.versions(model) if alias in found.aliases), None)
