"""An evaluation as metrics and a picture in its tracking run, and as a line for a person; without torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ganlib.ports import RunTracker
from ganlib.records import Evaluation

if TYPE_CHECKING:
    from ganlib.quality.grids import Picture


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    """An evaluation's numbers as trackers know them; those that are not finite are left out."""
    measures = evaluation.measures
    extractor = measures.metric.removeprefix("fd_").replace("fid", "inception")
    values = {
        measures.metric: measures.value,
        f"kd_{extractor}": measures.kernel_distance,
        f"kd_{extractor}_error": measures.kernel_distance_error,
        "precision": measures.precision,
        "recall": measures.recall,
        "copying_ratio": math.nan if evaluation.copying is None else evaluation.copying.ratio,
    }
    return {name: value for name, value in values.items() if math.isfinite(value)}


def log_evaluation(tracker: RunTracker, run_id: str, evaluation: Evaluation, strip: Picture) -> None:
    """Log an evaluation to its run, at the checkpoint's images, and the untrained value at 0."""
    step = evaluation.checkpoint.images_seen
    if math.isfinite(evaluation.value_untrained):
        tracker.metrics(run_id, 0, {evaluation.metric: evaluation.value_untrained})
    tracker.metrics(run_id, step, metrics_of(evaluation))
    tracker.image(run_id, "copying", step, strip)


def summary(evaluation: Evaluation) -> str:
    """An evaluation as a line for a person."""
    numbers = metrics_of(evaluation)
    first = f"evaluated in full: {evaluation.metric} = {evaluation.value:.1f}"
    if math.isfinite(evaluation.value_untrained):
        first += f" (untrained {evaluation.value_untrained:.1f})"
    rest = (f"{name} {value:.3g}" for name, value in numbers.items() if name != evaluation.metric)
    line = ", ".join([first, *rest])
    copying = evaluation.copying
    if copying is not None and copying.training_sample:
        line += f"; copies were looked for among a sample of {copying.training_sample:,} training pictures"
    return line
