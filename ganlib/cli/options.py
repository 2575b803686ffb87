"""Options and helpers that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ganlib.config.run import read_value
from ganlib.errors import ConfigError

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Change a field of the recipe, as in objective.clip=0.05."
    ),
]

ModelName = Annotated[
    str | None,
    typer.Option(
        "--name",
        help="Name of the registered model. Default: the recipe's for its own dataset, else RECIPE-DATASET.",
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show what Prefect, Ray and other libraries say, too.")
]


def say(line: str) -> None:
    """A line for a person, on standard output."""
    typer.echo(line)


def parse_overrides(pairs: Sequence[str] | None) -> dict[str, Any]:
    """``FIELD=VALUE`` pairs as a mapping, each value in its field's own type.

    Raises:
        ConfigError: A pair has no ``=``.
    """
    values: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair!r} must be FIELD=VALUE")
        values[name] = read_value(name, text)
    return values
