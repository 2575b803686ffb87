"""Output of `ganlib model`: rows and details as plain values, and their printing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganlib.errors import RegistryError, UnknownName
from ganlib.names import parse_reference
from ganlib.ports import ModelRegistry
from ganlib.registry.aliases import folded

if TYPE_CHECKING:
    from ganlib.records import AliasMove, RegisteredGenerator

TableRow = dict[str, str]

_NUMBERS = {
    "value": "ganlib.value",
    "kernel distance": "ganlib.kernel_distance",
    "± error": "ganlib.kernel_distance_error",
    "precision": "ganlib.precision",
    "recall": "ganlib.recall",
    "copying ratio": "ganlib.copying_ratio",
}
_WIDE = 200


def model_rows(registry: ModelRegistry) -> list[TableRow]:
    """A row for each model."""
    rows = []
    for name in registry.models():
        versions = registry.versions(name)
        champion = next((found for found in versions if "champion" in found.aliases), None)
        rows.append(
            {
                "model": name,
                "versions": str(len(versions)),
                "aliases": ", ".join(f"{a} → {v.version}" for v in versions for a in v.aliases),
                "champion's metric": champion.tags.get("ganlib.metric", "") if champion else "",
                "value": _short(champion.tags.get("ganlib.value", "")) if champion else "",
            }
        )
    return rows


def version_rows(catalog: ModelRegistry, model: str) -> list[TableRow]:
    """A row for each version, the newest first. Raises ``UnknownName``."""
    return [
        {
            "version": str(found.version),
            "aliases": ", ".join(found.aliases),
            "metric": found.tags.get("ganlib.metric", ""),
            "value": _short(found.tags.get("ganlib.value", "")),
            "kernel distance": _short(found.tags.get("ganlib.kernel_distance", "")),
            "dataset": " ".join(
                (found.tags.get("ganlib.dataset", ""), found.tags.get("ganlib.dataset_digest", "")[:8])
            ).strip(),
            "created": found.created,
            "run": found.tags.get("ganlib.run", ""),
        }
        for found in catalog.versions(model)
    ]


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


def version_details(registry: ModelRegistry, generator: RegisteredGenerator) -> dict[str, Any]:
    """Everything about a version, and the history of its model's aliases, as JSON values."""
    found = registry.resolve(generator.model, str(generator.version))
    history = registry.history(generator.model)
    aliases = {alias: v.version for v in registry.versions(generator.model) for alias in v.aliases}
    problems: list[str] = []
    files: dict[str, bytes] = {}
    try:
        files = registry.files(found)
    except RegistryError as error:  # what can be said of a version is said, whatever became of its files
        problems.append(str(error))
    decision = {name: value for name, value in found.tags.items() if name.startswith("ganlib.gate.")}
    return {
        "model": found.model,
        "version": found.version,
        "aliases": list(found.aliases),
        "created": found.created,
        "tracking_run_id": found.tracking_run_id,
        "tags": {name: value for name, value in sorted(found.tags.items()) if name not in decision},
        "gate": dict(sorted(decision.items())),
        "files": {name: len(data) for name, data in sorted(files.items())},
        "history": [move.model_dump(mode="json") for move in history],
        "problems": problems,
        "differences": differences(history, aliases),
    }


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


def print_rows(rows: Sequence[TableRow]) -> None:
    """Print rows with the same keys as a table."""
    table = Table(*rows[0], header_style="bold")
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))
    _console().print(table)


def print_description(described: Mapping[str, Any]) -> None:
    """Print what :func:`version_details` found."""
    console = _console()
    aliases = ", ".join(described["aliases"]) or "no alias"
    title = f"{described['model']} version {described['version']} ({aliases})"
    console.print(title, style="bold", markup=False)
    run = described["tracking_run_id"]
    console.print(f"created {described['created']}, tracking run {run}", markup=False)
    for heading, values in (("tag", described["tags"]), ("gate", described["gate"])):
        if values:
            print_rows([{heading: name, "value": value} for name, value in values.items()])
    if described["files"]:
        print_rows([{"file": name, "bytes": f"{size:,}"} for name, size in described["files"].items()])
    if described["history"]:
        print_rows([_move_row(move) for move in reversed(described["history"])])
    for line in (*described["problems"], *described["differences"]):
        console.print(line, style="yellow", markup=False)


def _move_row(move: Mapping[str, Any]) -> TableRow:
    kind = move["kind"] if move["effective"] else "refused"
    return {
        "when": move["when"],
        "alias": move["alias"],
        "from": str(move["previous"] or "–"),
        "to": str(move["version"] or "–"),
        "": kind,
        "who": move["who"],
        "why": move["why"],
    }


def _where(version: int | None) -> str:
    return "nowhere" if version is None else f"at version {version}"


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _console() -> Console:
    """A terminal's own width, and room for everything in a file or pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)
