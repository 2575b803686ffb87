"""All pictures and tables of a sweep, by the names under which they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganlib.quality.grids import png
from ganlib.report.canvas import render
from ganlib.report.curves import curves
from ganlib.report.landscape import landscape
from ganlib.report.parallel_coordinates import parallel_coordinates
from ganlib.report.samples import MOST, TrialSamples, sample_grids
from ganlib.report.table import as_csv, as_json, as_markdown
from ganlib.sweep.records import SweepResult

if TYPE_CHECKING:
    from ganlib.quality.grids import Picture


def pictures(result: SweepResult, top: Sequence[TrialSamples] = ()) -> dict[str, Picture]:
    """The sweep as pictures, uint8 [height, width, 3].

    Returns:
        ``heat_map``, ``parallel_coordinates``, ``curves``, and ``samples`` when there are some.
    """
    found = {
        "heat_map": render(landscape(result)),
        "parallel_coordinates": render(parallel_coordinates(result)),
        "curves": render(curves(result)),
    }
    if top:
        found["samples"] = render(sample_grids(result, top[:MOST]))
    return found


def files(result: SweepResult, drawn: dict[str, Picture]) -> dict[str, bytes]:
    """The pictures as PNG and the table as Markdown, CSV and JSON, by file name."""
    return {
        **{f"{name}.png": png(picture) for name, picture in drawn.items()},
        "trials.md": as_markdown(result).encode(),
        "trials.csv": as_csv(result).encode(),
        "trials.json": as_json(result).encode(),
    }
