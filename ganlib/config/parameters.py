"""Fields of a configuration that tell one run from another, for a tracker's list of parameters."""

from __future__ import annotations

from collections.abc import Iterable

from ganlib.config.run import KINDS, RunConfig, load_config, recipes

_ALWAYS = ("recipe", "dataset.name")


def telling_fields(config: RunConfig, also: Iterable[str] = ()) -> dict[str, str]:
    """The fields that a configuration or its recipe sets otherwise than the defaults, as text.

    A field in which the recipe differs from the defaults is there even where the configuration goes back to
    the default, so that the runs of a recipe can be compared in it.

    Args:
        config: The configuration.
        also: Dotted names of further fields to tell; one that the configuration lacks is passed over.

    Returns:
        Text of the values by dotted field name, in the order of the configuration's fields.
    """
    names = {*_ALWAYS, *also, *_unlike_defaults(config)}
    if config.recipe in recipes():
        names |= _unlike_defaults(load_config(config.recipe))
    return {name: value for name, value in config.flat().items() if name in names}


def _unlike_defaults(config: RunConfig) -> set[str]:
    # The default of a part's own kind is that kind, so the kinds are compared here.
    kinds = {f"{part}.kind" for part, usual in KINDS.items() if getattr(config, part).kind != usual}
    return kinds | set(config.flat(exclude_defaults=True))
