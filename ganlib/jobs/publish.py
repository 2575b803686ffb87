"""From an evaluated checkpoint to a registered generator."""

from __future__ import annotations

import json

from ganlib.data.versions import load_version
from ganlib.errors import AliasMoved
from ganlib.jobs.judge import trained_generator
from ganlib.jobs.spec import RunSpec
from ganlib.ports import ModelCatalog, ObjectStore, Publication, Registry
from ganlib.records import AliasMove, DatasetVersion, Evaluation, RegisteredGenerator, TrainResult

CHAMPION = "champion"
"""What users fetch."""
CHALLENGER = "challenger"
"""What was published last."""


def publish(
    store: ObjectStore, registry: Registry, spec: RunSpec, result: TrainResult, evaluation: Evaluation
) -> RegisteredGenerator:
    """Register the evaluated generator under the recipe's name and make it the champion.

    Repeating it returns the version that is there.
    """
    version = load_version(store, spec.dataset_name, spec.dataset_digest)
    generator = trained_generator(store, spec, evaluation.checkpoint, version)
    registered = registry.publish(
        Publication(
            model=spec.config.recipe,
            run=spec.run,
            tracking_run_id=result.tracking_run_id,
            generator=generator,
            latent_dim=spec.config.network.latent_dim,
            classes=version.classes if spec.config.network.conditional else (),
            tags=champion_tags(spec, version, evaluation),
            files={"config.json": spec.config.model_dump_json(indent=2).encode()},
        )
    )
    challenge(registry, registered, who=f"run {spec.run}")
    promote(registry, registered, who=f"run {spec.run}", why="published")
    return registered.model_copy(update={"alias": CHAMPION})


def challenge(catalog: ModelCatalog, generator: RegisteredGenerator, who: str) -> None:
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
            continue  # by another publisher: whose version is the newer one decides
        return


def promote(catalog: ModelCatalog, generator: RegisteredGenerator, who: str, why: str) -> AliasMove | None:
    """Make a version the champion; ``None`` when it is that already.

    Raises:
        AliasMoved: Somebody else moved the champion at the same time.
    """
    present = pointed(catalog, generator.model, CHAMPION)
    if present == generator.version:
        return None
    return catalog.move(generator.model, CHAMPION, generator.version, expected=present, who=who, why=why)


def pointed(catalog: ModelCatalog, model: str, alias: str) -> int | None:
    """The version that an alias points to, if any."""
    return next((found.version for found in catalog.versions(model) if alias in found.aliases), None)


def champion_tags(spec: RunSpec, dataset: DatasetVersion, evaluation: Evaluation) -> dict[str, str]:
    """What a version says of itself in the registry."""
    labels = {"ganlib.classes": json.dumps(dataset.classes)} if spec.config.network.conditional else {}
    return {
        **labels,
        "ganlib.config_digest": spec.config.digest,
        "ganlib.dataset": spec.dataset_name,
        "ganlib.dataset_digest": spec.dataset_digest,
        "ganlib.code_version": spec.code_version,
        "ganlib.latent_dim": str(spec.config.network.latent_dim),
        "ganlib.metric": evaluation.metric,
        "ganlib.value": repr(evaluation.value),
        "ganlib.value_untrained": repr(evaluation.value_untrained),
        "ganlib.images_seen": str(evaluation.checkpoint.images_seen),
    }
