"""Distance over one or two searched fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganlib.report.axes import Axis, best_distance, best_trial, distances_of, searched_axes
from ganlib.report.canvas import (
    ALARM,
    COLOURS,
    FAILED,
    GREY,
    MARKS,
    TEXT,
    colour_bar,
    distance_norm,
    figure,
    legend,
    mark_handle,
    name_axes,
    set_scale,
    title,
    wants_log,
)
from ganlib.report.heat_map import heat_map
from ganlib.sweep.records import SweepResult, Trial

PREFERRED = ("cadence.n_critic", "objective.clip")
"""Fields that are drawn upwards and to the right when both are searched."""


def landscape(result: SweepResult) -> Figure:
    """The best distance over two searched fields, ``n_critic`` and ``clip`` where they are among them.

    Two fields of recurring values give a heat map, a cell for each pair; otherwise every trial is a
    point, coloured by its distance. One field gives its distances along a line, and none the
    trials in their order. Failed and stopped trials are marked apart.
    """
    pair = _pair(searched_axes(result))
    if len(pair) < 2:
        return _profile(result, pair[0].as_scale() if pair else None)
    up, right = pair
    if up.kind == right.kind == "category":
        return heat_map(result, up, right)
    return _scatter(result, up.as_scale(), right.as_scale())


def _pair(axes: Sequence[Axis]) -> list[Axis]:
    named = {axis.field: axis for axis in axes}
    if all(field in named for field in PREFERRED):
        return [named[field] for field in PREFERRED]
    return list(axes[:2])


def _scatter(result: SweepResult, up: Axis, right: Axis) -> Figure:
    made = figure(height=720)
    axes, distances, best = made.add_subplot(), distances_of(result.trials), best_trial(result)
    norm = distance_norm(distances)
    name_axes(axes, up, right)
    for trial in result.trials:
        x, y = right.position(trial), up.position(trial)
        if x is not None and y is not None:
            _point(axes, (_beside(x, trial, right), _beside(y, trial, up)), trial, norm, best)
    title(
        axes,
        f"{result.recipe}: distance over {up.label} and {right.label}",
        "each point: a trial, by the smallest distance on its curve",
    )
    if distances:
        colour_bar(made, axes, norm, result.metric, distances)
    legend(made, _handles(result, best))
    return made


def _profile(result: SweepResult, axis: Axis | None) -> Figure:
    made = figure(height=560)
    axes, distances, best = made.add_subplot(), distances_of(result.trials), best_trial(result)
    norm = distance_norm(distances)
    places = [(t, float(t.number) if axis is None else axis.position(t)) for t in result.trials]
    numbers = [trial.number for trial in result.trials] or [0]
    right = axis or Axis("trial", "the trials", "linear", (min(numbers), max(numbers)))
    name_axes(axes, None, right)
    measured = [(x, d) for trial, x in places if x is not None and (d := best_distance(trial)) is not None]
    _distance_scale(axes, [distance for _, distance in measured], result.metric)
    if axis is not None and axis.numeric:
        lowest = dict(
            sorted(measured, reverse=True)
        )  # at equal positions the smallest distance is drawn last
        axes.plot(list(lowest), list(lowest.values()), color=GREY, lw=1, zorder=1)
    above = False
    for trial, x in places:
        distance = best_distance(trial)
        if x is not None and distance is not None:
            _point(axes, (x, distance), trial, norm, best)
        elif x is not None:
            above = True
            _point(axes, (x, 0.965), trial, norm, best, transform=axes.get_xaxis_transform())
    title(
        axes,
        f"{result.recipe}: distance over {right.label}",
        "at the upper edge: trials without a distance" if above else "",
    )
    legend(made, _handles(result, best))
    return made


def _distance_scale(axes: Any, distances: Sequence[float], metric: str) -> None:
    axes.set_ylabel(f"{metric}, smaller is better", fontsize=TEXT)
    if distances:
        low, high = min(distances), max(distances)
        kind: Any = "log" if wants_log(low, high) else "linear"
        set_scale(axes, "y", Axis("distance", metric, kind, (low, high)), room=0.13)
    else:
        axes.set_yticks([])
        note = {"ha": "center", "transform": axes.transAxes, "fontsize": TEXT, "color": GREY}
        axes.text(0.5, 0.5, "no distance yet", **note)


def _beside(position: float, trial: Trial, axis: Axis) -> float:
    """Shift trials of one category side by side, so that they do not hide one another."""
    if axis.kind != "category":
        return position
    return position + 0.36 * ((trial.number * 0.618034) % 1 - 0.5)


def _point(
    axes: Any, at: tuple[float, float], trial: Trial, norm: Normalize, best: Trial | None, **how: Any
) -> None:
    distance = best_distance(trial)
    colour: Any
    if trial.status in FAILED:
        colour, edge = ALARM, "white"
    elif distance is None:
        colour, edge = "white", GREY
    else:
        colour, edge = COLOURS(norm(distance)), "black"
    marker = MARKS[trial.status].marker
    axes.scatter(*at, s=110, marker=marker, color=[colour], edgecolors=edge, lw=1.3, zorder=3, **how)
    rings = [(340, ALARM, "-")] if trial is best else []
    rings += [(560, "black", "--")] if trial.number == 0 else []
    for size, ink, style in rings:
        axes.scatter(
            *at, s=size, facecolors="none", edgecolors=ink, lw=2.2, linestyles=style, zorder=4, **how
        )


def _handles(result: SweepResult, best: Trial | None) -> list[Any]:
    ring: dict[str, Any] = {"marker": "o", "ls": "none", "mfc": "none", "mew": 2, "ms": 12}
    handles = []
    if best is not None:
        handles.append(Line2D([], [], mec=ALARM, label=f"best: trial {best.number}", **ring))
    if any(trial.number == 0 for trial in result.trials):
        handles.append(Line2D([], [], mec="black", label="dashed: the recipe itself, trial 0", **ring))
    present = {trial.status for trial in result.trials}
    return handles + [mark_handle(status) for status in MARKS if status in present]
