"""From an evaluated checkpoint to a registered generator."""

from __future__ import annotations

import json

from ganlib.data.versions import load_version
from ganlib.jobs.judge import trained_generator
from ganlib.jobs.spec import RunSpec
from ganlib.ports import ModelRegistry, ObjectStore, Publication
from ganlib.records import DatasetVersion, Evaluation, RegisteredGenerator, TrainResult

CHAMPION = "champion"


def publish(
    store: ObjectStore, registry: ModelRegistry, spec: RunSpec, result: TrainResult, evaluation: Evaluation
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
    registry.point(registered.model, CHAMPION, registered.version)
    return registered.model_copy(update={"alias": CHAMPION})


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
