"""Output of commands: JSON for programs, tables for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

TableRow = dict[str, str]
"""Text of each cell by the heading of its column."""

_PAPER = 200
"""Width of what is not printed to a terminal."""


def as_json(value: Any) -> str:
    """Dictionaries, lists, tuples, text and numbers as indented JSON; NaN and infinities become ``null``."""
    # Python would write NaN as a bare word, which is no JSON: other languages refuse the whole document.
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def print_rows(*choices: Sequence[TableRow]) -> None:
    """Print rows with the same keys as a table.

    Args:
        choices: At least one. The same rows, each time with fewer or narrower columns: the first that the
            terminal has room for is printed, otherwise the last, and the columns left out are named.
    """
    console = terminal()
    tables = [_table(rows) for rows in choices]
    fitting = (number for number, table in enumerate(tables) if _width(console, table) <= console.width)
    chosen = next(fitting, len(tables) - 1)
    console.print(tables[chosen])
    shown = choices[chosen][0]
    if hidden := [name for name in choices[0][0] if name not in shown]:
        console.print(
            f"no room for {', '.join(hidden)}: widen the terminal or use --json", style="dim", markup=False
        )


def without(rows: Sequence[TableRow], columns: Sequence[str]) -> list[TableRow]:
    """Rows less some columns."""
    return [{name: text for name, text in row.items() if name not in columns} for row in rows]


def terminal() -> Console:
    """A terminal's own width, and room for everything in a file or pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PAPER)


def one_line(text: str) -> str:
    """Text of whatever origin as one line that does nothing to a terminal; unprintable characters escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode()
        for character in text
    )


def _table(rows: Sequence[TableRow]) -> Table:
    table = Table(*rows[0], header_style="bold")
    for row in rows:
        table.add_row(*(Text(value) for value in row.values()))
    return table


def _width(console: Console, table: Table) -> int:
    """Columns of the terminal that a table needs for every cell to be one line."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
