"""Configurations field by field: typed values for programs, text for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.padding import Padding
from rich.text import Text

from ganlib.cli.output import TableRow, print_rows, terminal
from ganlib.config.fields import ConfigField, unknown_field
from ganlib.config.run import (
    KINDS,
    RunConfig,
    change_config,
    config_fields,
    load_config,
    recipe_fields,
    recipes,
)
from ganlib.errors import ConfigError, RegistryError, UnknownName
from ganlib.settings import load_settings

_RUN = re.compile(r"[a-z0-9-]+-[0-9a-f]{8}-[0-9a-f]{8}-[a-z0-9-]+")
"""A run's name, as :func:`~ganlib.config.run.name_of` makes it."""


@dataclass(frozen=True)
class FieldRow:
    """A field with its value in one configuration."""

    field: ConfigField
    value: Any
    source: str
    """``set``, ``recipe``, ``run`` or ``default``: where the value comes from."""

    def values(self) -> dict[str, Any]:
        """The row for programs."""
        kind = self.field.type
        return {
            "field": self.field.name,
            "value": self.value,
            "default": self.field.default,
            "required": self.field.required,
            "source": self.source,
            "type": kind.kind,
            "nullable": kind.nullable,
            "choices": list(kind.choices) or None,
            "minimum": kind.minimum,
            "minimum_excluded": kind.minimum_excluded,
            "maximum": kind.maximum,
            "maximum_excluded": kind.maximum_excluded,
            "accepted": str(kind),
            "description": self.field.description,
        }


def configuration_of(reference: str, overrides: Mapping[str, Any]) -> tuple[RunConfig, str]:
    """A recipe's configuration, a run's, or that of a registered generator, with some fields changed.

    Args:
        reference: A recipe, a run's name, NAME@ALIAS or NAME/VERSION.
        overrides: Dotted field names with values.

    Returns:
        The configuration, and ``recipe`` or ``run`` for where it comes from.

    Raises:
        UnknownName: There is none of that name.
        ConfigError: A field cannot have the value that it is given.
        RegistryError: The registered generator does not say of which run it is.
    """
    if reference in recipes():
        return load_config(reference, overrides), "recipe"
    if "@" in reference or "/" in reference:
        run = _run_of(reference)
    elif _RUN.fullmatch(reference):
        run = reference
    else:
        remedy = "a run's name, NAME@ALIAS and NAME/VERSION are accepted, too"
        raise UnknownName("recipe", reference, recipes(), remedy)
    from ganlib.storage import open_store
    from ganlib.training.spec import read_spec

    config = read_spec(open_store(load_settings()), run).config
    return change_config(config, overrides), "run"


def _run_of(reference: str) -> str:
    from ganlib.names import RUN_TAG, parse_reference
    from ganlib.registry.mlflow import MlflowRegistry

    run = MlflowRegistry(load_settings()).resolve(*parse_reference(reference)).tags.get(RUN_TAG)
    if run is None:
        raise RegistryError(
            f"{reference} has no tag {RUN_TAG}: ganlib did not train it; name another version"
        )
    return run


def field_rows(config: RunConfig, origin: str, overrides: Mapping[str, Any]) -> list[FieldRow]:
    """A row for each field that a configuration has, the recipe's name apart.

    Args:
        config: The configuration.
        origin: ``recipe`` or ``run``.
        overrides: The fields that were changed.
    """
    named = recipe_fields(config.recipe) if origin == "recipe" else set()
    # A part whose kind was changed has the fields of the new kind: none of their values is the recipe's.
    recipe = load_config(config.recipe) if origin == "recipe" else config
    rows = []
    for field in config_fields():
        if field.name == "recipe" or field.kind not in ("", _kind(config, field.part)):
            continue
        value = _value(config, field.name)
        if field.name in overrides:
            source = "set"
        elif (field.name in named and _kind(config, field.part) == _kind(recipe, field.part)) or (
            origin == "run" and value != field.default
        ):
            source = origin
        else:
            source = "default"
        rows.append(FieldRow(field, value, source))
    return rows


def matching(rows: Sequence[FieldRow], wanted: str | None) -> list[FieldRow]:
    """The rows of one field or part, or else those whose name has a text in it.

    Raises:
        UnknownName: None has.
    """
    if wanted is None:
        return list(rows)
    exact = [row for row in rows if row.field.name == wanted or row.field.name.startswith(f"{wanted}.")]
    found = exact or [row for row in rows if wanted in row.field.name]
    if not found:
        names = [row.field.name for row in rows]
        raise unknown_field(wanted, names, "leave it out for all fields")
    return found


def print_fields(config: RunConfig, reference: str, rows: Sequence[FieldRow]) -> None:
    """Print fields for people: value and default in one line, then meaning and accepted values."""
    console = terminal()
    for row in rows:
        line = Text(f"{row.field.name} = {shown_value(row.value)}", style="bold")
        line.append(f"   ({_default(row)})", style="not bold dim")
        console.print(line)
        about = f"{row.field.description} Accepted: {row.field.type}."
        console.print(Padding(Text(about), (0, 0, 0, 4), expand=False))
    hint = _other_kinds(config, reference, {row.field.name for row in rows})
    if hint:
        console.print(hint, markup=False, soft_wrap=True)


def _default(row: FieldRow) -> str:
    if row.field.required:
        return "no default"
    changed = row.value != row.field.default
    text = f"default: {shown_value(row.field.default)}" if changed else "default"
    return f"--set; {text}" if row.source == "set" else text


def _other_kinds(config: RunConfig, reference: str, names: set[str]) -> str:
    """How to see the fields that another kind of a part has; empty where no part with kinds is shown."""
    for field in config_fields():
        kind = _kind(config, field.part)
        if not (kind and field.name.endswith(".kind") and field.name in names and field.kind == kind):
            continue
        for other in field.type.choices:
            command = f"ganlib config show {reference} {field.part} --set {field.name}={other}"
            if other != kind and _usable(config, {field.name: other}):
                return f"Other kinds have other fields, as `{command}` shows."
    return ""


def _usable(config: RunConfig, overrides: Mapping[str, Any]) -> bool:
    try:
        change_config(config, overrides)
    except ConfigError:
        return False
    return True


def differing(left: RunConfig, right: RunConfig) -> list[dict[str, Any]]:
    """The fields in which two configurations differ; ``only`` names the side whose kinds have a field."""
    sides = [{row.field.name: row.value for row in field_rows(config, "run", {})} for config in (left, right)]
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        values = [side.get(name) for side in sides]
        only = "right" if name not in sides[0] else "left" if name not in sides[1] else None
        if only is not None or values[0] != values[1]:
            found.append({"field": name, "left": values[0], "right": values[1], "only": only})
    return found


def print_differences(left: str, right: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Print differing fields side by side."""
    if left == right:
        left, right = f"{left} (left)", f"{right} (right)"
    rows: list[TableRow] = [
        {
            "field": each["field"],
            left: "–" if each["only"] == "right" else shown_value(each["left"]),
            right: "–" if each["only"] == "left" else shown_value(each["right"]),
        }
        for each in found
    ]
    print_rows(rows)


def shown_value(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _kind(config: RunConfig, part: str) -> str:
    return getattr(getattr(config, part), "kind", "") if part in KINDS else ""


def _value(config: RunConfig, name: str) -> Any:
    value: Any = config
    for step in name.split("."):
        value = getattr(value, step)
    return value
