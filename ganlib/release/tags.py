"""Aliases and tags of published versions; without torch, for flows that look at them before they train."""

from __future__ import annotations

from ganlib.names import check_model_name, check_tags
from ganlib.ports import CLASS_COUNT_TAG
from ganlib.records import DatasetVersion, Evaluation
from ganlib.release.card import evaluation_numbers
from ganlib.training.spec import RunSpec

CHAMPION = "champion"
"""Alias of the version that users fetch."""
CHALLENGER = "challenger"
"""Alias of the newest version."""


def require_publishable(spec: RunSpec, dataset: DatasetVersion) -> None:
    """Check, before a run is trained, that the registry will take what it is published with.

    Raises:
        ConfigError: The model's name or a tag is not fit for the registry.
    """
    check_model_name(spec.config.model_name)
    check_tags(known_tags(spec, dataset))


def version_tags(spec: RunSpec, dataset: DatasetVersion, evaluation: Evaluation) -> dict[str, str]:
    """A version's tags in the registry: where it comes from, what it makes, and how good it is."""
    return {
        **known_tags(spec, dataset),
        **{f"ganlib.{name}": repr(value) for name, value in evaluation_numbers(evaluation).items()},
        "ganlib.images_seen": str(evaluation.checkpoint.images_seen),
    }


def known_tags(spec: RunSpec, dataset: DatasetVersion) -> dict[str, str]:
    """Those of a version's tags that are known before it is trained; the others are numbers."""
    labels = {CLASS_COUNT_TAG: str(len(dataset.classes))} if spec.config.network.conditional else {}
    return {
        **labels,
        "ganlib.config_digest": spec.config.digest,
        "ganlib.dataset": spec.dataset_name,
        "ganlib.dataset_digest": spec.dataset_digest,
        "ganlib.code_version": spec.code_version,
        "ganlib.image_shape": ",".join(map(str, dataset.image_shape)),
        "ganlib.latent_dim": str(spec.config.network.latent_dim),
        "ganlib.licence": spec.config.dataset.licence,
        "ganlib.metric": spec.config.evaluation.metric,
        "ganlib.samples": str(spec.config.evaluation.samples),
    }
