"""Figures of one width, and their rendering as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

if TYPE_CHECKING:
    from ganlib.quality.grids import Picture
    from ganlib.report.axes import Axis
    from ganlib.sweep.records import TrialStatus

WIDTH = 1200
"""Width of a figure in pixels."""
DPI = 100
TEXT = 11
"""Size of ordinary text, points."""
SMALL = 9.5

# Okabe and Ito's colours, which colour-blind people can tell apart.
ALARM, ACCENT, GREY, PALE = "#d55e00", "#e69f00", "#767676", "#d9d9d9"

COLOURS = LinearSegmentedColormap.from_list("distance", colormaps["viridis"](np.linspace(0, 0.93, 256)))
"""Colours from dark for a small distance to light, without viridis' last yellow, invisible on white."""


class Mark(NamedTuple):
    """Drawing style of the trials of one status."""

    marker: str
    text: str
    """Text in the legend."""


MARKS: dict[TrialStatus, Mark] = {
    "finished": Mark("o", "finished"),
    "stopped": Mark("s", "stopped at a rung"),
    "diverged": Mark("X", "diverged"),
    "died": Mark("P", "died"),
    "running": Mark("D", "running"),
    "waiting": Mark("D", "waiting"),
}

FAILED: tuple[TrialStatus, ...] = ("diverged", "died")


def figure(height: int) -> Figure:
    """Return an empty figure of :data:`WIDTH` × ``height`` pixels with automatic layout."""
    return Figure(
        figsize=(WIDTH / DPI, height / DPI),
        dpi=DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12),
        facecolor="white",
    )


def render(made: Figure) -> Picture:
    """The figure as a picture: uint8 [height, width, 3]."""
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    picture: Picture = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
    return picture


def title(axes: Any, text: str, below: str = "") -> None:
    """A heading, and a smaller line under it."""
    axes.set_title(
        text, loc="left", fontsize=TEXT + 2, fontweight="bold", color="black", pad=24 if below else 10
    )
    if below:
        axes.annotate(
            below,
            (0, 1),
            xytext=(0, 7),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=SMALL,
            color=GREY,
        )


def distance_norm(distances: Sequence[float]) -> Normalize:
    """Colours for these distances, which are finite: even, or even in the logarithm when they lie far apart.

    The scale ends where the worst quarter begins to lie far from the others, which would all look alike
    if it went on to there; what is beyond has its last colour.
    """
    if not distances:
        return Normalize(0, 1)
    low, most, high = (float(q) for q in np.quantile(distances, (0, 0.75, 1)))
    high = min(high, low + 2 * (most - low)) if most > low else high
    if wants_log(low, high):
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + max(abs(low), 1.0) * 0.01)


def wants_log(low: float, high: float, factor: float = 10) -> bool:
    """Whether values from ``low`` to ``high`` need a logarithmic scale to be told apart."""
    return low > 0 and high / low >= factor


def colour_bar(made: Figure, axes: Any, norm: Normalize, label: str, distances: Sequence[float]) -> None:
    """The scale of distances, at the right; with a point at its end when some distances lie beyond."""
    beyond = any(norm(distance) > 1 for distance in distances)
    bar = made.colorbar(
        ScalarMappable(norm, COLOURS), ax=axes, pad=0.02, aspect=30, extend="max" if beyond else "neither"
    )
    bar.set_label(label, fontsize=TEXT)
    bar.ax.tick_params(labelsize=SMALL)


def name_axes(axes: Any, up: Axis | None, right: Axis) -> None:
    """Scales, ticks and names for one or two searched fields, and a faint grid."""
    set_scale(axes, "x", right)
    axes.set_xlabel(right.field, fontsize=TEXT)
    if sum(len(text) for _, text in right.ticks()) > 110:
        axes.tick_params(axis="x", labelrotation=30)
    if up is not None:
        set_scale(axes, "y", up)
        axes.set_ylabel(up.field, fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)
    if up is None or not up.kind == right.kind == "category":
        axes.grid(color=PALE, lw=0.7)
        axes.set_axisbelow(True)


def set_scale(axes: Any, side: Literal["x", "y"], axis: Axis, room: float = 0.06) -> None:
    """Limits, scale and ticks of one side, with some room beyond the outermost values."""
    set_limits, drawn = getattr(axes, f"set_{side}lim"), getattr(axes, f"{side}axis")
    low, high = axis.limits
    if axis.kind == "category":
        set_limits(low - 0.5, high + 0.5)
    elif axis.kind == "log":
        # The scale first: setting it resets the ticks.
        getattr(axes, f"set_{side}scale")("log")
        set_limits(low / (high / low) ** room, high * (high / low) ** room)
    else:
        beyond = room * (high - low) or max(abs(low), 1.0) * 0.1
        set_limits(low - beyond, high + beyond)
    drawn.set_ticks([at for at, _ in axis.ticks()], [text for _, text in axis.ticks()])
    drawn.set_ticks([], minor=True)


def legend(made: Figure, handles: list[Any]) -> None:
    """Draw the legend below everything, in as many rows as it needs."""
    if handles:
        made.legend(
            handles=handles,
            loc="outside lower left",
            ncols=min(len(handles), 5),
            fontsize=SMALL,
            frameon=False,
        )


def mark_handle(status: TrialStatus, *, line: bool = False) -> Any:
    """A status for the legend."""
    failed, open_ = status in FAILED, status in ("running", "waiting")
    return Line2D(
        [],
        [],
        marker=MARKS[status].marker,
        linestyle="-" if line else "none",
        color=ALARM if failed else GREY,
        markerfacecolor="none" if open_ else ALARM if failed else GREY,
        markersize=8,
        label=MARKS[status].text,
    )
