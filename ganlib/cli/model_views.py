"""Output of ``ganlib model show`` and ``compare``: typed values, for programs and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganlib.cli.output import TableRow, print_rows, terminal
from ganlib.cli.tag_values import GATE, tag_values
from ganlib.errors import RegistryError, UnknownName
from ganlib.names import parse_reference
from ganlib.ports import ModelRegistry
from ganlib.registry.aliases import folded

if TYPE_CHECKING:
    from ganlib.records import AliasMove, RegisteredGenerator

_NUMBERS = {
    "value": "ganlib.value",
    "kernel distance": "ganlib.kernel_distance",
    "± error": "ganlib.kernel_distance_error",
    "precision": "ganlib.precision",
    "recall": "ganlib.recall",
    "copying ratio": "ganlib.copying_ratio",
}


def compared_rows(left: RegisteredGenerator, right: RegisteredGenerator) -> list[TableRow]:
    """The recorded numbers of two versions, those that at least one of them has."""
    names = (f"{left.model}/{left.version}", f"{right.model}/{right.version}")
    columns = names if names[0] != names[1] else (names[0], f"{names[1]} (again)")
    facts = {"metric": "ganlib.metric", **_NUMBERS, "pictures": "ganlib.samples"}
    facts |= {"dataset": "ganlib.dataset_digest", "created": "created"}
    rows = []
    for name, tag in facts.items():
        values = [found.created if tag == "created" else found.tags.get(tag, "") for found in (left, right)]
        if any(values):
            shown = [value[:12] if tag == "ganlib.dataset_digest" else _short(value) for value in values]
            rows.append({"": name, **dict(zip(columns, shown, strict=True))})
    return rows


def resolve_or_newest(registry: ModelRegistry, reference: str) -> RegisteredGenerator:
    """The version of a reference; for a bare name the champion, or the newest where there is none.

    Raises:
        UnknownName: There is no such model, alias or version.
    """
    model, which = parse_reference(reference)
    try:
        return registry.resolve(model, which)
    except UnknownName:
        if model != reference or model not in registry.models():
            raise
        return registry.versions(model)[0]


@dataclass(frozen=True)
class VersionDetails:
    """Everything about a version, and the history of its model's aliases."""

    generator: RegisteredGenerator
    files: dict[str, int]
    """Bytes by name of file."""
    history: list[AliasMove]
    problems: list[str]
    """Why something is missing here, a sentence for each."""
    differences: list[str]
    """As :func:`differences` tells them."""

    @property
    def decision(self) -> dict[str, str]:
        """The tags that the gate wrote, by name."""
        return {name: text for name, text in self._sorted_tags() if name.startswith(GATE)}

    @property
    def tags(self) -> dict[str, str]:
        """The other tags, by name."""
        return {name: text for name, text in self._sorted_tags() if not name.startswith(GATE)}

    def values(self) -> dict[str, Any]:
        """The details for programs: plain values, ``None`` for what is absent."""
        found = self.generator
        return {
            "model": found.model,
            "version": found.version,
            "aliases": dict.fromkeys(found.aliases, found.version),
            "created": found.created or None,
            "tracking_run_id": found.tracking_run_id or None,
            "tags": tag_values(self.tags),
            "gate": tag_values(self.decision),
            "files": self.files,
            "history": [move.model_dump(mode="json") for move in self.history],
            "problems": self.problems,
            "differences": self.differences,
        }

    def _sorted_tags(self) -> list[tuple[str, str]]:
        return sorted(self.generator.tags.items())


def version_details(registry: ModelRegistry, generator: RegisteredGenerator) -> VersionDetails:
    """Look up everything about a version. Raises ``UnknownName``."""
    found = registry.resolve(generator.model, str(generator.version))
    history = registry.history(generator.model)
    aliases = {alias: v.version for v in registry.versions(generator.model) for alias in v.aliases}
    problems: list[str] = []
    files: dict[str, bytes] = {}
    try:
        files = registry.files(found)
    except RegistryError as error:  # what can be said of a version is said, whatever became of its files
        problems.append(str(error))
    sizes = {name: len(data) for name, data in sorted(files.items())}
    return VersionDetails(found, sizes, history, problems, differences(history, aliases))


def differences(history: Sequence[AliasMove], aliases: Mapping[str, int]) -> list[str]:
    """Where an alias is not where its history says, a sentence for each."""
    lines = []
    for alias in sorted({move.alias for move in history} | set(aliases)):
        recorded, points = folded(history, alias), aliases.get(alias)
        if recorded != points:
            lines.append(
                f"{alias} points {_where(points)}, and the last recorded move left it {_where(recorded)}: "
                "somebody moved it without ganlib, or a move is under way or was cut short; the next move "
                "through ganlib sets this right"
            )
    return lines


def print_description(described: VersionDetails) -> None:
    """Print what :func:`version_details` found."""
    console, found = terminal(), described.generator
    aliases = ", ".join(found.aliases) or "no alias"
    console.print(f"{found.model} version {found.version} ({aliases})", style="bold", markup=False)
    console.print(f"created {found.created}, tracking run {found.tracking_run_id}", markup=False)
    for heading, tags in (("tag", described.tags), ("gate", described.decision)):
        if tags:
            print_rows([{heading: name, "value": text} for name, text in tags.items()])
    if described.files:
        print_rows([{"file": name, "bytes": f"{size:,}"} for name, size in described.files.items()])
    if described.history:
        print_rows([_move_row(move) for move in reversed(described.history)])
    for line in (*described.problems, *described.differences):
        console.print(line, style="yellow", markup=False)


def _move_row(move: AliasMove) -> TableRow:
    return {
        "when": move.when,
        "alias": move.alias,
        "from": str(move.previous or "–"),
        "to": str(move.version or "–"),
        "": move.kind if move.effective else "refused",
        "who": move.who,
        "why": move.why,
    }


def _where(version: int | None) -> str:
    return "nowhere" if version is None else f"at version {version}"


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
