"""Complaints about a configuration in ganlib's own words: all of them at once, a line for each field.

Each line names the field, the value given, the values accepted, and what else helps.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ganlib.config.fields import ConfigField, kinds_with, unknown_field
from ganlib.errors import ConfigError
from ganlib.field_words import alternatives, in_error


def complaints(
    error: ValidationError,
    fields: Sequence[ConfigField],
    *,
    remedy: str = "",
    options: Mapping[str, str] | None = None,
) -> list[ConfigError]:
    """An error for each field that a model refused.

    Args:
        error: The model's own error.
        fields: All fields of the model.
        remedy: Said of a field that does not exist: where the known ones are listed.
        options: What a field is called on the command line, where that is another name.
    """
    found = []
    for each in error.errors():
        # Checks of several fields give one line for each problem, which names its fields itself.
        if each["type"] == "value_error":
            found += [ConfigError(line) for line in str(each["ctx"]["error"]).splitlines()]
        else:
            found.append(_complaint(each, fields, remedy, options or {}))
    return found


def _complaint(
    error: ErrorDetails, fields: Sequence[ConfigField], remedy: str, options: Mapping[str, str]
) -> ConfigError:
    name, kind = _place(error["loc"], fields)
    given = error["input"]
    if error["type"] == "extra_forbidden":
        return _not_here(name, kind, given, fields, remedy)
    if error["type"].startswith("union_tag"):
        name, given = f"{name}.kind", given.get("kind") if isinstance(given, Mapping) else given
    field = next((each for each in fields if each.name == name and each.kind in ("", kind)), None)
    field = field or next((each for each in fields if each.name == name), None)
    called = f"{name} ({options[name]})" if name in options else name
    allowed = "it has fields of its own" if field is None else f"it must be {field.type}"
    if error["type"] == "missing":
        return ConfigError(f"{called} is missing: {allowed}")
    if field is not None and field.type.element is not None and isinstance(error["loc"][-1], int):
        return ConfigError(f"{called} cannot hold {in_error(given)}: {allowed}")
    return ConfigError(f"{called} = {in_error(given)} cannot be used: {allowed}{_nearest(given, field)}")


def _place(loc: Sequence[int | str], fields: Sequence[ConfigField]) -> tuple[str, str]:
    """The dotted name of the field that an error is about, and the kind of its part."""
    names = {field.name for field in fields}
    parts = {field.part for field in fields}
    name, kind = "", ""
    for step in map(str, loc):
        longer = f"{name}.{step}" if name else step
        if name in names:
            break  # an element of a list
        if name in parts and step in {field.kind for field in fields if field.part == name and field.kind}:
            kind = step
        else:
            name = longer
    return name, kind


def _not_here(name: str, kind: str, given: Any, fields: Sequence[ConfigField], remedy: str) -> ConfigError:
    kinds = kinds_with(fields, name)
    if not kinds:
        return unknown_field(name, sorted({field.name for field in fields}), remedy)
    part = name.partition(".")[0]
    return ConfigError(
        f"{name} = {in_error(given)} cannot be used: {part} {kind} has none; leave it out, or choose "
        f"{part}.kind = {alternatives(kinds)}"
    )


def _nearest(given: Any, field: ConfigField | None) -> str:
    """A suggestion where one of some words was meant."""
    if field is None or not isinstance(given, str):
        return ""
    close = difflib.get_close_matches(given, [str(choice) for choice in field.type.choices], n=1, cutoff=0.5)
    return f"; close to it: {close[0]}" if close else ""
