"""Help pages: commands under headings in the order of use, flags without a type, an example at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

SECTIONS: dict[str, tuple[str, ...]] = {
    "Every day": ("demo", "up", "status", "doctor", "down", "retrain", "schedule", "generate"),
    "Generators and datasets": ("model", "dataset"),
    "Settings": ("recipes", "config"),
    "Sweeps": ("sweep", "sweep-status", "sweep-demo"),
    "Looking closer": ("runs", "logs", "open", "login", "bench"),
}
"""Headings of ``ganlib --help`` with the commands under them."""


def _readable(params: list[Any]) -> list[Any]:
    """Drop ``<bool>`` beside flags, which take no value, and ``<str>`` beside arguments, whose name tells."""
    for param in params:
        if isinstance(param, TyperOption):
            if param.is_flag and param.metavar is None:
                param.metavar = ""
        elif param.metavar is not None:
            # Typer has no setting that leaves an argument's type out.
            param.display_type_rich = _no_type
    return params


def _no_type(ctx: Any) -> None:
    """Stand in for a parameter's type on a help page."""


class Command(TyperCommand):
    """A command whose help shows no type beside flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return options and arguments, ``--help`` among them."""
        return _readable(super().get_params(ctx))


class Group(TyperGroup):
    """A family of commands; those of :data:`SECTIONS` come in that order."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the family's own options."""
        return _readable(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the help page."""
        names = super().list_commands(ctx)
        order = [name for section in SECTIONS.values() for name in section]
        return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def section_of(name: str) -> str | None:
    """The heading under which a command of the first level stands."""
    return next((heading for heading, names in SECTIONS.items() if name in names), None)


def command(
    app: typer.Typer, name: str, *, example: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a command.

    Args:
        app: The family that it belongs to.
        name: Its name.
        example: A command line that runs as it stands; the last line of its help.
    """
    return app.command(name, cls=Command, epilog=f"Example:  {example}", rich_help_panel=section_of(name))
