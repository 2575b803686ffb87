"""Distance over two searched fields of recurring values: a cell for each pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ganlib.report.axes import Axis, best_distance, best_trial, distances_of, searched_axes, text_of
from ganlib.report.canvas import (
    ALARM,
    COLOURS,
    FAILED,
    GREY,
    PALE,
    SMALL,
    TEXT,
    colour_bar,
    distance_norm,
    figure,
    legend,
    name_axes,
    title,
)
from ganlib.sweep.records import SweepResult, Trial

WAITING = "#f4f4f4"


def heat_map(result: SweepResult, up: Axis, right: Axis) -> Figure:
    """The smallest distance in each cell, what became of that trial, and how many trials were there.

    Stopped trials are hatched and say when; failed ones are grey with a frame. The best trial has a
    frame, and the recipe's cell says so.

    Args:
        result: The sweep.
        up: Its values are the rows, from below; an axis of categories.
        right: Its values are the columns; an axis of categories.
    """
    rows, columns = len(up.values), len(right.values)
    made = figure(height=min(max(300 + 75 * rows, 480), 1000))
    axes, distances, best = made.add_subplot(), distances_of(result.trials), best_trial(result)
    norm = distance_norm(distances)
    for row in range(rows):
        for column in range(columns):
            here = [t for t in result.trials if up.position(t) == row and right.position(t) == column]
            if here:
                cell = _Cell(row, column, here, small=columns > 8 or rows > 8)
                cell.draw(axes, norm, framed=any(trial is best for trial in here))
    name_axes(axes, up, right)
    more = ", whatever the other fields were" if len(searched_axes(result)) > 2 else ""
    title(
        axes,
        f"{result.recipe}: distance over {up.label} and {right.label}",
        f"each cell: the smallest distance on the curves of its trials{more}",
    )
    if distances:
        colour_bar(made, axes, norm, result.metric, distances)
    legend(made, _handles(result, best))
    return made


class _Cell:
    """One pair of values."""

    def __init__(self, row: int, column: int, trials: Sequence[Trial], *, small: bool) -> None:
        self.row, self.column, self.trials = row, column, trials
        self.size = SMALL - 1 if small else TEXT
        known = [(d, t.number, t) for t in trials if (d := best_distance(t)) is not None]
        self.shown = min(known, key=lambda entry: entry[:2])[2] if known else trials[-1]
        self.distance = best_distance(self.shown)

    def draw(self, axes: Any, norm: Normalize, *, framed: bool) -> None:
        status = self.shown.status
        colour, ink = self._colours(norm)
        hatched = status == "stopped" and self.distance is not None
        self._rectangle(axes, 0.0, fc=colour, ec=ink, lw=0, hatch="///" if hatched else None, zorder=1)
        self._rectangle(axes, 0.0, fill=False, ec="white", lw=2, zorder=2)
        if status in FAILED:
            self._rectangle(axes, 0.025, fill=False, ec=ALARM, lw=1.5, zorder=3)
        if framed:
            self._rectangle(axes, 0.025, fill=False, ec=ALARM, lw=4, zorder=3)
        # Text over hatching needs the cell's own colour behind it.
        box = {"boxstyle": "round,pad=0.25", "fc": colour, "ec": "none"} if hatched else None
        text = {"ha": "center", "va": "center", "fontsize": self.size, "color": ink, "bbox": box}
        axes.text(self.column, self.row, "\n".join(self._lines()), zorder=4, **text)

    def _colours(self, norm: Normalize) -> tuple[Any, str]:
        if self.shown.status in FAILED:
            return PALE, "black"
        if self.distance is None:
            return WAITING, GREY
        colour = COLOURS(norm(self.distance))
        dark = sum(w * c for w, c in zip((0.299, 0.587, 0.114), colour[:3], strict=True)) < 0.55
        return colour, "white" if dark else "black"

    def _lines(self) -> list[str]:
        lines = [] if self.distance is None else [text_of(self.distance)]
        if self.shown.status != "finished":
            lines.append(self.shown.status)
        if self.shown.status == "stopped" and self.shown.curve:
            # A stopped trial's distance is after fewer pictures than its neighbours'.
            lines.append(f"at {text_of(self.shown.curve[-1].images_seen / 1000)} kimg")
        if len(self.trials) > 1:
            lines.append(f"best of {len(self.trials)}")
        return lines + ["recipe" for trial in self.trials if trial.number == 0]

    def _rectangle(self, axes: Any, inside: float, **how: Any) -> None:
        corner = (self.column - 0.5 + inside, self.row - 0.5 + inside)
        axes.add_patch(Rectangle(corner, 1 - 2 * inside, 1 - 2 * inside, **how))


def _handles(result: SweepResult, best: Trial | None) -> list[Any]:
    handles = []
    if best is not None:
        handles.append(Patch(fill=False, ec=ALARM, lw=4, label=f"best: trial {best.number}"))
    if any(trial.number == 0 for trial in result.trials):
        handles.append(Patch(fill=False, ec="none", label="recipe: its own values, trial 0"))
    present = {trial.status for trial in result.trials}
    if "stopped" in present:
        handles.append(Patch(fc="white", ec=GREY, hatch="///", label="stopped at a rung"))
    if present & set(FAILED):
        handles.append(Patch(fc=PALE, ec=ALARM, lw=1.5, label="diverged or died"))
    return handles
