"""Sample grids of a sweep's best trials, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from ganlib.quality.grids import grid
from ganlib.report.axes import best_distance, searched_axes, text_of
from ganlib.report.canvas import DPI, SMALL, TEXT, WIDTH, figure
from ganlib.sweep.records import SweepResult, Trial

if TYPE_CHECKING:
    from torch import Tensor

MOST = 5
"""Trials whose samples are shown."""

_GAP, _HEAD, _LINE = 16, 44, 18  # pixels of a figure that is WIDTH wide
_VALUES, _CHARACTERS = 6, 32


@dataclass(frozen=True)
class TrialSamples:
    """Samples of a trial's generator, from the same latents for every trial."""

    number: int
    """Number of the trial."""
    pictures: Tensor
    """Pictures, uint8 [n, 1 or 3, h, w]."""


def sample_grids(result: SweepResult, top: Sequence[TrialSamples]) -> Figure:
    """The grids beside one another, each under its trial's number, values and distances.

    Pixels of the grids are pixels of the figure, or whole multiples: it is as wide as five of them
    need, and at least about as wide as the other figures.

    Args:
        result: The sweep.
        top: Samples of one to five of its trials, the best first.
    """
    if not 1 <= len(top) <= MOST:
        raise ValueError(f"samples of 1 to {MOST} trials are drawn side by side, got {len(top)}")
    trials = {trial.number: trial for trial in result.trials}
    grids = [grid(one.pictures, columns=math.ceil(math.sqrt(len(one.pictures)))) for one in top]
    texts = [_text(trials[one.number], result) for one in top]
    zoom = max(1, (WIDTH // MOST - _GAP) // max(picture.shape[1] for picture in grids))
    wide = zoom * max(picture.shape[1] for picture in grids)
    high = zoom * max(picture.shape[0] for picture in grids)
    # A wider figure is shown smaller, so text and gaps grow with its width.
    scale = max(1.0, MOST * wide / (WIDTH - (MOST + 1) * _GAP))
    gap, above = round(_GAP * scale), round((_HEAD + _LINE * max(map(len, texts))) * scale)
    width, height = max(MOST * wide + (MOST + 1) * gap, WIDTH), above + high + gap
    made = figure(height=100)
    made.set_layout_engine("none")
    made.set_dpi(DPI * scale)
    made.set_size_inches(width / made.dpi, height / made.dpi)
    for position, (picture, text) in enumerate(zip(grids, texts, strict=True)):
        left = gap + position * (wide + gap)
        own_high, own_wide = zoom * picture.shape[0], zoom * picture.shape[1]
        place = (left / width, (gap + high - own_high) / height, own_wide / width, own_high / height)
        axes = made.add_axes(place)
        rgb = picture if picture.ndim == 3 else picture[:, :, None].repeat(3, axis=2)
        axes.imshow(rgb, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        made.text(
            left / width,
            1 - _HEAD * scale / height,
            "\n".join(text),
            va="top",
            fontsize=SMALL,
            linespacing=1.3,
        )
    what = "what the best trials make of the same latents" if len(top) > 1 else "what the best trial makes"
    head: dict[str, Any] = {"va": "top", "fontsize": TEXT + 2, "fontweight": "bold"}
    made.text(gap / width, 1 - 14 * scale / height, f"{result.recipe}: {what} ({result.metric})", **head)
    return made


def _text(trial: Trial, result: SweepResult) -> list[str]:
    """Return the lines of text above a trial's grid."""
    name = f"trial {trial.number}"
    if trial.number == 0:
        name += ", the recipe"
    if trial.number == result.best:
        name += ", the best"
    values = [
        f"{axis.label} {text_of(trial.settings[axis.field])}"
        for axis in searched_axes(result)
        if axis.field in trial.settings
    ]
    distance = best_distance(trial)
    curve = "no distance" if distance is None else f"{text_of(distance, 4)} on its curve"
    final = [] if trial.evaluation is None else [f"{text_of(trial.evaluation.value, 4)} with fresh latents"]
    shown = [*values[:_VALUES], "…"] if len(values) > _VALUES else values
    return [
        line if len(line) <= _CHARACTERS else line[: _CHARACTERS - 1] + "…"
        for line in [name, *shown, curve, *final]
    ]
