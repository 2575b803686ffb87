"""The distance of every trial over the pictures its critic has seen."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganlib.report.axes import (
    best_distance,
    best_trial,
    distances_of,
    scale_ticks,
    searched_axes,
    settings_of,
    text_of,
)
from ganlib.report.canvas import (
    ALARM,
    COLOURS,
    FAILED,
    GREY,
    MARKS,
    PALE,
    SMALL,
    TEXT,
    colour_bar,
    distance_norm,
    figure,
    legend,
    mark_handle,
    title,
    wants_log,
)
from ganlib.sweep.records import SweepResult, Trial

Line = tuple[list[float], list[float]]


def curves(result: SweepResult) -> Figure:
    """Distances over kimg, a line for each trial that ends where the trial did.

    Lines are coloured by the smallest distance on them; the best trial is thick, the recipe itself
    dashed. Points that are no finite number are left out.
    """
    found = [(trial, _points(trial)) for trial in result.trials]
    drawn = [(trial, curve) for trial, curve in found if curve[0]]
    distances = distances_of(result.trials)
    made, norm = figure(height=680), distance_norm(distances)
    axes, best = made.add_subplot(), best_trial(result)
    for trial, curve in sorted(drawn, key=lambda entry: -(best_distance(entry[0]) or 0.0)):
        _draw(axes, trial, curve, norm, trial is best)
    values = [value for _, (_, ys) in drawn for value in ys if math.isfinite(value)]
    if values:
        _scale(axes, values)
        axes.set_xlim(left=0)
        if distances:
            colour_bar(made, axes, norm, f"smallest {result.metric}", distances)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.text(
            0.5, 0.5, "no distance yet", ha="center", transform=axes.transAxes, fontsize=TEXT, color=GREY
        )
    axes.set_xlabel("real pictures the critic has seen, kimg", fontsize=TEXT)
    axes.set_ylabel(f"{result.metric}, smaller is better", fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    counts = [f"{sum(t.status == s for t in result.trials)} {s}" for s in MARKS]
    shown = ", ".join(text for text in counts if not text.startswith("0 "))
    title(axes, f"{result.recipe}: curves of {len(result.trials)} trials", shown)
    legend(made, _handles(result, best))
    return made


def _points(trial: Trial) -> Line:
    """Finite points in kimg, in their order.

    Where the clock goes back, because the trial went on as a copy of another, the line is broken by a NaN.
    """
    xs: list[float] = []
    ys: list[float] = []
    for point in trial.curve:
        if not math.isfinite(point.distance):
            continue
        x = point.images_seen / 1000
        if xs and x <= xs[-1]:
            xs.append(xs[-1])
            ys.append(math.nan)
        xs.append(x)
        ys.append(point.distance)
    return xs, ys


def _draw(axes: Any, trial: Trial, curve: Line, norm: Any, is_best: bool) -> None:
    xs, ys = curve
    is_recipe, failed = trial.number == 0, trial.status in FAILED
    colour = ALARM if failed else COLOURS(norm(best_distance(trial)))
    axes.plot(
        xs,
        ys,
        color=colour,
        lw=4 if is_best else 2.4 if is_recipe else 1.4,
        ls="--" if is_recipe and not is_best else "-",
        alpha=1 if is_best or is_recipe else 0.8,
        zorder=4 if is_best else 3 if is_recipe else 2,
    )
    axes.scatter(
        xs[-1],
        ys[-1],
        s=170 if is_best else 90 if failed else 55,
        marker=MARKS[trial.status].marker,
        color=[colour],
        edgecolors="black" if is_best else "white",
        lw=1.2,
        zorder=5,
    )


def _scale(axes: Any, values: list[float]) -> None:
    low, high = min(values), max(values)
    # Curves begin far above where they end, and the ends are compared.
    if not wants_log(low, high, 3):
        axes.set_ylim(top=high + 0.06 * (high - low or max(abs(high), 1.0)))
        return
    room = (high / low) ** 0.06
    axes.set_yscale("log")
    axes.set_ylim(low / room, high * room)
    ticks = scale_ticks(low, high, log=True)
    axes.yaxis.set_ticks(ticks, [text_of(at) for at in ticks])
    axes.yaxis.set_ticks([], minor=True)


def _handles(result: SweepResult, best: Trial | None) -> list[Any]:
    fields, handles = searched_axes(result), []
    if best is not None:
        text = f"best: trial {best.number} ({settings_of(best, fields, most=3)})"
        handles.append(Line2D([], [], color="black", lw=4, label=text))
    if any(trial.number == 0 for trial in result.trials):
        handles.append(Line2D([], [], color=GREY, lw=2.4, ls="--", label="the recipe itself: trial 0"))
    with_curve = {trial.status for trial in result.trials if _points(trial)[0]}
    return handles + [mark_handle(status) for status in MARKS if status in with_curve]
