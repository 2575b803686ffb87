"""Report of a trial to the sweep's job: a few numbers for Tune, and JSON for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from ganlib.records import CheckpointRef, CurvePoint, Record, TrainResult
from ganlib.training.checkpoints import Checkpoints

TIME, METRIC = "images_seen", "distance"
"""Tune's names for a trial's clock and for the value to minimize."""


class TrialReport(Record):
    """An evaluation of a trial, or its end."""

    point: CurvePoint | None = None
    """``None`` at the end: it was reported before."""
    checkpoint: CheckpointRef | None = None
    """Checkpoint of the evaluated state; stored before this is reported."""
    status: Literal["running", "finished", "diverged"] = "running"
    reason: str = ""

    def for_tune(self) -> dict[str, Any]:
        """Return the report as a result of a Tune trial."""
        return {
            TIME: self.point.images_seen if self.point else 0,
            METRIC: self.point.distance if self.point else math.inf,
            "report": self.model_dump_json(),
        }

    @classmethod
    def of_tune(cls, result: Mapping[str, Any]) -> TrialReport:
        """Return the report that :meth:`for_tune` encoded."""
        return cls.from_json(result["report"], source="a trial's report")


def report_of(step: CurvePoint | TrainResult, checkpoints: Checkpoints) -> TrialReport:
    """The report of an evaluation, once its checkpoint is in the store, or of a result."""
    if isinstance(step, TrainResult):
        status: Literal["finished", "diverged"] = "finished" if step.status == "finished" else "diverged"
        return TrialReport(status=status, reason=step.reason)
    # The receiver of the report may use the checkpoint at once.
    checkpoints.wait()
    return TrialReport(point=step, checkpoint=checkpoints.last())
