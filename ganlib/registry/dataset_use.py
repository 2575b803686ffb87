"""Registered generators by the dataset that they were trained on."""

from __future__ import annotations

from collections.abc import Collection

from ganlib.errors import UnknownName
from ganlib.ports import ModelRegistry
from ganlib.records import RegisteredGenerator

NAME_TAG, DIGEST_TAG = "ganlib.dataset", "ganlib.dataset_digest"
"""Tags of a version: name and digest of the dataset version that it was trained on."""


def trained_on(
    registry: ModelRegistry, dataset: str, digests: Collection[str] = ()
) -> list[RegisteredGenerator]:
    """The registered versions that were trained on a dataset, by model and from the newest on.

    Args:
        registry: Asked for the versions of every model.
        dataset: The dataset's name.
        digests: Digests of its versions: models without a dataset's name count when they have one of these.

    Raises:
        ServiceError: The registry cannot be reached.
    """
    found: list[RegisteredGenerator] = []
    for model in registry.models():
        try:
            versions = registry.versions(model)
        except UnknownName:
            continue  # removed since it was listed
        for version in versions:
            name = version.tags.get(NAME_TAG)
            if name == dataset or (name is None and version.tags.get(DIGEST_TAG) in digests):
                found.append(version)
    return found


def use_in_words(found: Collection[RegisteredGenerator], most: int = 10) -> list[str]:
    """Versions as people name them: ``digits-wgan/3 (champion)``, and how many are left out."""
    words = [
        f"{each.model}/{each.version}" + (f" ({', '.join(each.aliases)})" if each.aliases else "")
        for each in list(found)[:most]
    ]
    return words + ([f"{len(found) - most:,} more"] if len(found) > most else [])
