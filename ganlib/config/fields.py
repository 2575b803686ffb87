"""The fields of a configuration by their dotted names, with types, defaults and descriptions."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel

from ganlib.errors import UnknownName
from ganlib.field_words import FieldType, parts_of, type_of


@dataclass(frozen=True)
class ConfigField:
    """A field of a configuration. A field that several kinds of a part have comes once for each kind."""

    name: str
    """Dotted, as in ``objective.clip``."""
    type: FieldType
    default: Any
    """``None`` where it is ``null``, or where a value must be given."""
    required: bool
    description: str
    """A line of plain text, or several."""
    kind: str = ""
    """Kind of its part that has it; empty for parts without kinds."""

    @property
    def part(self) -> str:
        """Name of its part, as in ``objective``; empty for a field of the whole configuration."""
        return self.name.rpartition(".")[0]


@cache
def fields_of(model: type[BaseModel]) -> tuple[ConfigField, ...]:
    """The fields of a configuration and of its parts, in the order of their definition."""
    return tuple(_walk(model, "", ""))


def _walk(model: type[BaseModel], prefix: str, kind: str) -> Iterator[ConfigField]:
    for name, info in model.model_fields.items():
        parts = parts_of(info)
        kinds = [part.model_fields["kind"].default for part in parts] if len(parts) > 1 else []
        for part, tag in zip(parts, kinds or [""] * len(parts), strict=True):
            for field in _walk(part, f"{prefix}{name}.", tag):
                if tag and field.name == f"{prefix}{name}.kind":
                    choices = replace(field.type, choices=tuple(kinds))
                    yield replace(field, type=choices, default=info.default.kind)
                else:
                    yield field
        if not parts:
            yield ConfigField(
                name=f"{prefix}{name}",
                type=type_of(info),
                default=None if info.is_required() else info.default,
                required=info.is_required(),
                description=" ".join((info.description or "").split()),
                kind=kind,
            )


def kinds_with(fields: Sequence[ConfigField], name: str) -> list[str]:
    """The kinds of its part that have a field; empty where the part has no kinds, or nothing has it."""
    return [field.kind for field in fields if field.name == name and field.kind]


def unknown_field(name: str, known: Sequence[str], remedy: str, what: str = "field") -> UnknownName:
    """The error for a field that does not exist: it suggests fields that are spelled, or end, alike."""
    ends: dict[str, list[str]] = {}
    for field in known:
        ends.setdefault(field.rpartition(".")[2], []).append(field)
    last = difflib.get_close_matches(name.rpartition(".")[2], list(ends), n=1, cutoff=0.75)
    alike = [field for end in last for field in ends[end]]
    close = difflib.get_close_matches(name, alike or known, n=3, cutoff=0 if alike else 0.5)
    return UnknownName(what, name, known, remedy, close=close)
