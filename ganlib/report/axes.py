"""Values that the pictures of a sweep show: searched fields as axes, distances, names."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from matplotlib.ticker import LogLocator, MaxNLocator

from ganlib.report.canvas import FAILED, wants_log
from ganlib.sweep.records import Scalar, SweepResult, Trial

MOST_CATEGORIES = 12
"""Most values that are drawn as categories; more numbers than these get a scale."""


@dataclass(frozen=True)
class Axis:
    """One searched field."""

    field: str
    label: str
    """The field's shortest name that no other searched field has."""
    kind: Literal["category", "linear", "log"]
    values: tuple[Scalar, ...]
    """The values that occur, sorted, each once."""

    def position(self, trial: Trial) -> float | None:
        """Return a trial's position on this axis: an index of ``values``, a number, or ``None``."""
        value = trial.settings.get(self.field)
        if value is None or value not in self.values:
            return None
        return float(self.values.index(value)) if self.kind == "category" else float(value)

    @property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest position."""
        if self.kind == "category":
            return 0.0, float(max(len(self.values) - 1, 0))
        return float(self.values[0]), float(self.values[-1])

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, which could stand on a scale."""
        return not any(isinstance(value, bool | str) for value in self.values)

    def as_scale(self) -> Axis:
        """The same field with its numbers on a scale; words stay categories."""
        if self.kind != "category" or not self.numeric:
            return self
        return replace(self, kind=_scale_of(self.values))

    def ticks(self) -> list[tuple[float, str]]:
        """Positions with their texts, about five on a scale and all of the categories."""
        if self.kind == "category":
            return [(float(index), text_of(value)) for index, value in enumerate(self.values)]
        low, high = self.limits
        if low == high:
            return [(low, text_of(self.values[0]))]
        whole = all(isinstance(value, int) for value in self.values)
        return [(at, text_of(at)) for at in scale_ticks(low, high, log=self.kind == "log", whole=whole)]

    def share(self, position: float) -> float:
        """A position as a share of the way from the lower end to the upper one, in [0, 1]."""
        low, high = self.limits
        if low == high:
            return 0.5
        if self.kind == "log":
            return math.log(position / low) / math.log(high / low)
        return (position - low) / (high - low)


def scale_ticks(low: float, high: float, *, log: bool, whole: bool = False) -> list[float]:
    """Round numbers from ``low`` to ``high``; the two themselves when there are fewer than two."""
    even = MaxNLocator(5, integer=whole)
    logs = [LogLocator(numticks=6), LogLocator(subs=(1, 2, 5), numticks=6)] if log else []
    for locator in [*logs, even]:
        inside = [float(at) for at in locator.tick_values(low, high) if low * 0.999 <= at <= high * 1.001]
        if len(inside) >= 2 + log:
            return inside
    return [low, high]


def searched_axes(result: SweepResult) -> list[Axis]:
    """An axis for every searched field, in the order in which the trials name them.

    A field whose values are words, or few numbers that recur, becomes an axis of categories; other
    numbers get a scale, logarithmic when they span a factor of ten.
    """
    fields = list(dict.fromkeys(field for trial in result.trials for field in trial.settings))
    return [_axis(field, label, result.trials) for field, label in zip(fields, _labels(fields), strict=True)]


def _axis(field: str, label: str, trials: Sequence[Trial]) -> Axis:
    values = [trial.settings[field] for trial in trials if field in trial.settings]
    distinct = tuple(sorted(dict.fromkeys(values), key=_order))
    words = any(isinstance(value, bool | str) for value in distinct)
    recurring = len(distinct) <= MOST_CATEGORIES and len(values) >= 1.5 * len(distinct)
    if words or recurring:
        return Axis(field, label, "category", distinct)
    return Axis(field, label, _scale_of(distinct), distinct)


def _scale_of(values: Sequence[Scalar]) -> Literal["linear", "log"]:
    return "log" if wants_log(float(values[0]), float(values[-1])) else "linear"


def _order(value: Scalar) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")


def _labels(fields: Sequence[str]) -> list[str]:
    short = [field.rpartition(".")[2] for field in fields]
    count = Counter(short)
    return [field if count[name] > 1 else name for field, name in zip(fields, short, strict=True)]


def text_of(value: Scalar, digits: int = 3) -> str:
    """Return a value as text for an axis, escaped so that ``$`` begins no formula."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value).replace("$", r"\$")


def wrapped(label: str, width: int = 14) -> str:
    """A field's name over several lines, broken where its words end."""
    spaced = label.replace("_", "_ ").replace(".", ". ")
    lines = textwrap.wrap(spaced, width + 2, break_long_words=False)
    return "\n".join(line.replace("_ ", "_").replace(". ", ".") for line in lines)


def settings_of(trial: Trial, axes: Sequence[Axis], *, most: int = 6) -> str:
    """The searched values of a trial in words: ``n_critic 2, clip 0.1``."""
    words = [
        f"{axis.label} {text_of(trial.settings[axis.field])}" for axis in axes if axis.field in trial.settings
    ]
    return ", ".join(words[:most]) + (", …" if len(words) > most else "")


def best_distance(trial: Trial) -> float | None:
    """The smallest finite distance on a trial's curve; ``None`` when there is none."""
    return min((p.distance for p in trial.curve if math.isfinite(p.distance)), default=None)


def distances_of(trials: Sequence[Trial]) -> list[float]:
    """Return the best distances of the trials that did not fail, which the colours show."""
    found = [best_distance(trial) for trial in trials if trial.status not in FAILED]
    return [distance for distance in found if distance is not None]


def best_trial(result: SweepResult) -> Trial | None:
    """The winner of the final; before it, the trial with the smallest distance on its curve."""
    for trial in result.trials:
        if trial.number == result.best:
            return trial
    return next(iter(ranked(result.trials)), None)


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with a finite distance: those of the final first, the smallest distance first."""
    found = []
    for trial in trials:
        distance = best_distance(trial)
        final = trial.evaluation.value if trial.evaluation is not None else math.nan
        if math.isfinite(final):
            found.append((0, final, trial.number, trial))
        elif distance is not None:
            found.append((1, distance, trial.number, trial))
    return [trial for *_, trial in sorted(found, key=lambda row: row[:3])]
