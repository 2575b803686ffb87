"""Licences of datasets, as far as ganlib's recipes state them."""

from __future__ import annotations

from ganlib.config.run import load_config, recipes

UNKNOWN = "unknown"


def stated_licence(name: str) -> str:
    """The licence that a recipe states for the dataset of this name; :data:`UNKNOWN` when none does."""
    datasets = (load_config(recipe).dataset for recipe in recipes())
    stated = {dataset.licence for dataset in datasets if dataset.name == name} - {UNKNOWN}
    return min(stated, default=UNKNOWN)
