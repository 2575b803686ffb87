"""Licences of datasets: as whoever added the pictures stated them, and else as ganlib's recipes do."""

from __future__ import annotations

import logging

from pydantic import TypeAdapter, ValidationError

from ganlib.config.run import RunConfig, load_config, recipes
from ganlib.data.layout import find_description
from ganlib.errors import ConfigError, DataError
from ganlib.names import UNKNOWN_LICENCE, Licence
from ganlib.ports import ObjectStore

_LICENCE = TypeAdapter[str](Licence)
_log = logging.getLogger(__name__)


def stated_licence(name: str) -> str:
    """The licence that a recipe states for the dataset of this name, or ``unknown``."""
    datasets = (load_config(recipe).dataset for recipe in recipes())
    stated = {dataset.licence for dataset in datasets if dataset.name == name} - {UNKNOWN_LICENCE}
    return min(stated, default=UNKNOWN_LICENCE)


def licence_of(store: ObjectStore, name: str, configured: str = UNKNOWN_LICENCE) -> str:
    """The licence of a dataset's pictures.

    Args:
        store: Holds the dataset's description; one that is gone or damaged states nothing.
        name: The dataset.
        configured: The licence in a run's configuration, which counts where it is not ``unknown``.

    Returns:
        The one that was stated when the dataset was added, or else a recipe's, or ``unknown``.
    """
    if configured != UNKNOWN_LICENCE:
        return configured
    try:
        raw = find_description(store, name)
    except DataError as error:
        _log.warning("the licence of dataset %s is not known: %s", name, error)
        raw = None
    if raw is not None and raw.licence != UNKNOWN_LICENCE:
        return raw.licence
    return stated_licence(name)


def with_licence(store: ObjectStore, config: RunConfig) -> RunConfig:
    """A configuration with the licence of its dataset (:func:`licence_of`); its digest stays."""
    licence = licence_of(store, config.dataset.name, config.dataset.licence)
    dataset = config.dataset.model_copy(update={"licence": licence})
    return config.model_copy(update={"dataset": dataset})


def check_licence(text: str) -> None:
    """Refuse a text that can be no licence. Raises ``ConfigError``."""
    try:
        blank = not _LICENCE.validate_python(text).strip()
    except ValidationError:
        blank = True
    if blank:
        raise ConfigError(
            f"--licence {text[:60]!r} cannot be used: it has {len(text):,} characters; give 1 to 200 without "
            "line breaks and |, as in 'CC-BY-4.0'"
        )
