"""Options and helpers that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ganlib.config.run import field_names, read_value, recipes
from ganlib.errors import ConfigError, together


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes for the shell's completion."""
    return [name for name in recipes() if name.startswith(incomplete)]


def complete_field(incomplete: str) -> list[str]:
    """Fields for the shell's completion of ``--set`` and ``--search``."""
    return [f"{name}=" for name in field_names() if name.startswith(incomplete)]


Recipe = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="What to train, as `ganlib recipes` lists it.", autocompletion=complete_recipe
    ),
]

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the recipe, as in objective.clip=0.05; any number of times. "
        "`ganlib config show RECIPE` lists the fields.",
        show_default="the recipe's values",
        autocompletion=complete_field,
    ),
]

ModelName = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="Name of the registered model.",
        show_default="RECIPE for its own dataset, else RECIPE-DATASET",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show what Prefect, Ray and other libraries say, too.")
]


def say(line: str) -> None:
    """A line for a person, on standard output."""
    typer.echo(line)


def parse_overrides(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``FIELD=VALUE`` pairs as a mapping, each value in its field's own type.

    Raises:
        ConfigError: Pairs have no ``=``.
    """
    if wrong := [pair for pair in pairs or () if "=" not in pair]:
        raise together(ConfigError(f"--set {pair!r} must be FIELD=VALUE") for pair in wrong)
    split = [pair.partition("=") for pair in pairs or ()]
    return {name: read_value(name, text) for name, _, text in split}
