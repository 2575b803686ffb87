"""The lists of `ganlib model list`: rows as typed values, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ganlib.cli.output import TableRow, print_rows, without
from ganlib.cli.tag_values import number_tag, text_tag
from ganlib.names import RUN_TAG
from ganlib.ports import ModelRegistry

_LEAST = ("champion's metric", "run", "dataset", "kernel distance", "metric", "created")
"""Columns that a narrow terminal can do without, the first to go first."""


@dataclass(frozen=True)
class ModelRow:
    """A model in the list of models."""

    model: str
    versions: int
    """How many it has."""
    aliases: dict[str, int]
    """Version by alias."""
    metric: str | None
    """The champion's; ``None``: there is no champion, or it has none."""
    value: float | None
    """The champion's, by ``metric``."""

    def texts(self) -> TableRow:
        """The row for people."""
        return {
            "model": self.model,
            "versions": str(self.versions),
            "aliases": ", ".join(f"{alias} → {version}" for alias, version in self.aliases.items()),
            "champion's metric": self.metric or "",
            "value": _figures(self.value),
        }


@dataclass(frozen=True)
class VersionRow:
    """A version in the list of a model's versions."""

    version: int
    aliases: dict[str, int]
    """Those that point to it, each with its number, as in a :class:`ModelRow`."""
    metric: str | None
    value: float | None
    kernel_distance: float | None
    dataset: str | None
    dataset_digest: str | None
    created: str | None
    """UTC, ISO 8601."""
    run: str | None

    def texts(self) -> TableRow:
        """The row for people."""
        return {
            "version": str(self.version),
            "aliases": ", ".join(self.aliases),
            "metric": self.metric or "",
            "value": _figures(self.value),
            "kernel distance": _figures(self.kernel_distance),
            "dataset": " ".join(filter(None, (self.dataset, (self.dataset_digest or "")[:8]))),
            "created": self.created or "",
            "run": self.run or "",
        }


def model_rows(registry: ModelRegistry) -> list[ModelRow]:
    """A row for each model."""
    rows = []
    for name in registry.models():
        versions = registry.versions(name)
        tags = next((found.tags for found in versions if "champion" in found.aliases), {})
        rows.append(
            ModelRow(
                model=name,
                versions=len(versions),
                aliases={alias: found.version for found in versions for alias in found.aliases},
                metric=text_tag(tags, "ganlib.metric"),
                value=number_tag(tags, "ganlib.value"),
            )
        )
    return rows


def version_rows(catalog: ModelRegistry, model: str) -> list[VersionRow]:
    """A row for each version, the newest first. Raises ``UnknownName``."""
    return [
        VersionRow(
            version=found.version,
            aliases=dict.fromkeys(found.aliases, found.version),
            metric=text_tag(found.tags, "ganlib.metric"),
            value=number_tag(found.tags, "ganlib.value"),
            kernel_distance=number_tag(found.tags, "ganlib.kernel_distance"),
            dataset=text_tag(found.tags, "ganlib.dataset"),
            dataset_digest=text_tag(found.tags, "ganlib.dataset_digest"),
            created=found.created or None,
            run=text_tag(found.tags, RUN_TAG),
        )
        for found in catalog.versions(model)
    ]


def print_listed(rows: Sequence[ModelRow] | Sequence[VersionRow]) -> None:
    """Print models or versions as a table; in a narrow terminal without the less important columns."""
    full = [row.texts() for row in rows]
    # A day is enough to tell versions apart, and leaves room for the numbers.
    brief = [{name: text[:10] if name == "created" else text for name, text in row.items()} for row in full]
    least = [name for name in _LEAST if name in full[0]]
    print_rows(full, *(without(brief, least[:count]) for count in range(1, len(least) + 1)))


def _figures(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}"
