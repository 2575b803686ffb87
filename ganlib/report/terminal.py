"""The table of a sweep's trials on a terminal."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ganlib.report.axes import searched_axes
from ganlib.report.canvas import FAILED
from ganlib.report.table import cell_text, rows
from ganlib.sweep.records import SweepResult

PAPER = 150
"""Width of a table that is not printed to a terminal."""

_HIDDEN = ("run", "changes")  # they are in the CSV
_NAMES = {"curve_distance": "on its curve", "final_distance": "fresh latents", "seconds": "s"}


def trials_table(result: SweepResult) -> Table:
    """The trials, the best first; a column of reasons only when there is one."""
    found = rows(result)
    labels = {axis.field: axis.label for axis in searched_axes(result)} | _NAMES
    columns = [c for c in (found[0] if found else {}) if c not in _HIDDEN]
    columns = [c for c in columns if any(row[c] not in (None, "") for row in found)]
    columns.sort(key=lambda column: column == "reason")  # the longest goes last
    table = Table(title=result.sweep, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in columns:
        words = column in ("status", "reason")
        table.add_column(labels.get(column, column), justify="left" if words else "right", overflow="fold")
    for row in found:
        style = "bold" if row["trial"] == result.best else "red" if row["status"] in FAILED else ""
        table.add_row(*(Text(cell_text(row[column])) for column in columns), style=style)
    return table


def print_trials(result: SweepResult, console: Console | None = None) -> None:
    """Print :func:`trials_table` to standard output, as wide as the terminal."""
    if console is None:
        console = Console() if sys.stdout.isatty() else Console(width=PAPER)
    console.print(trials_table(result))
