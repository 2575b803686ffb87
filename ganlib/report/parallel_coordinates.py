"""Every trial as a line through all searched fields to its distance."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganlib.report.axes import (
    Axis,
    best_distance,
    best_trial,
    distances_of,
    scale_ticks,
    searched_axes,
    text_of,
    wrapped,
)
from ganlib.report.canvas import (
    ALARM,
    COLOURS,
    FAILED,
    GREY,
    SMALL,
    TEXT,
    colour_bar,
    distance_norm,
    figure,
    legend,
    title,
    wants_log,
)
from ganlib.sweep.records import SweepResult, Trial

NO_DISTANCE = 1.1
"""Height on the last axis of trials without a finite distance; the axes end at 1."""


def parallel_coordinates(result: SweepResult) -> Figure:
    """A vertical axis for each searched field, the distance as the last one, a line for each trial.

    Lines are coloured by distance, the best one is drawn last and thick, and the recipe itself dashed.
    """
    fields = searched_axes(result)
    # A failed trial may have an earlier distance: it gets a position on the axis, and no colour.
    distances = [d for trial in result.trials if (d := best_distance(trial)) is not None]
    norm = distance_norm(distances_of(result.trials))
    made = figure(height=640)
    axes = made.add_subplot()
    last = _distance_axis(distances, result.metric)
    columns = [*fields, last]
    best = best_trial(result)
    order = sorted(result.trials, key=lambda trial: -(best_distance(trial) or 0.0))
    for trial in order:
        _line(axes, trial, fields, last, norm, best is trial)
    for x, axis in enumerate(columns):
        _draw_axis(axes, x, axis, is_last=axis is last, known=bool(distances))
    unknown = any(best_distance(trial) is None for trial in result.trials)
    if unknown:
        _tick(axes, len(fields), NO_DISTANCE, "no distance")
    axes.set_xlim(-0.35, len(columns) - 1 + 0.25)
    axes.set_ylim(-0.06, NO_DISTANCE + 0.05 if unknown else 1.06)
    axes.set_xticks(range(len(columns)), [wrapped(axis.label, _room(len(columns))) for axis in columns])
    axes.tick_params(axis="x", labelsize=TEXT if len(columns) < 8 else SMALL, length=0)
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    what = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
    title(axes, f"{result.recipe}: {len(result.trials)} trials over {what}")
    if distances:
        colour_bar(made, axes, norm, result.metric, distances_of(result.trials))
    legend(made, _handles(result, best))
    return made


def _room(columns: int) -> int:
    """Characters that fit between two axes."""
    return max(1000 // columns // 9, 8)


def _distance_axis(distances: list[float], metric: str) -> Axis:
    low, high = (min(distances), max(distances)) if distances else (0.0, 1.0)
    return Axis("distance", metric, "log" if wants_log(low, high) else "linear", (low, high))


def _draw_axis(axes: Any, x: int, axis: Axis, *, is_last: bool, known: bool) -> None:
    axes.plot([x, x], [0, 1], color="black", lw=1.2, zorder=5)
    low, high = axis.limits
    if not is_last:
        for at, text in axis.ticks():
            _tick(axes, x, axis.share(at), text)
    elif known:
        for at in scale_ticks(low, high, log=axis.kind == "log") if high > low else [low]:
            _tick(axes, x, axis.share(at), text_of(at))


def _tick(axes: Any, x: int, y: float, text: str) -> None:
    axes.plot([x - 0.015, x + 0.015], [y, y], color="black", lw=1.2, zorder=5)
    axes.annotate(
        text,
        (x, y),
        xytext=(-7, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=SMALL,
        zorder=6,
        bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.85},
    )


def _line(axes: Any, trial: Trial, fields: list[Axis], last: Axis, norm: Any, is_best: bool) -> None:
    distance = best_distance(trial)
    xs, ys = [], []
    for x, axis in enumerate(fields):
        position = axis.position(trial)
        if position is not None:
            xs.append(float(x))
            ys.append(_apart(axis.share(position), axis, trial))
    xs.append(float(len(fields)))
    ys.append(NO_DISTANCE if distance is None else last.share(distance))
    failed = trial.status in FAILED
    colour = ALARM if failed else GREY if distance is None else COLOURS(norm(distance))
    style = ":" if failed else "--" if trial.number == 0 else "-"
    width = 4.0 if is_best else 2.6 if trial.number == 0 else 1.6
    axes.plot(
        xs, ys, color=colour, lw=width, ls=style, alpha=1 if is_best or failed else 0.85, zorder=3 + is_best
    )
    if is_best:
        axes.plot(xs, ys, ls="none", marker="o", ms=8, mfc=colour, mec="white", zorder=5.5)


def _apart(share: float, axis: Axis, trial: Trial) -> float:
    """Shift lines through one category side by side, so that they do not hide one another."""
    if axis.kind != "category" or len(axis.values) < 1:
        return share
    return share + 0.16 / max(len(axis.values), 4) * ((trial.number * 0.618034) % 1 - 0.5)


def _handles(result: SweepResult, best: Trial | None) -> list[Any]:
    handles = []
    if best is not None:
        handles.append(Line2D([], [], color="black", lw=4, marker="o", label=f"best: trial {best.number}"))
    if any(trial.number == 0 for trial in result.trials):
        handles.append(Line2D([], [], color=GREY, lw=2.6, ls="--", label="the recipe itself: trial 0"))
    if any(trial.status in FAILED for trial in result.trials):
        handles.append(Line2D([], [], color=ALARM, lw=1.6, ls=":", label="diverged or died"))
    return handles
