"""The values that the stages of a sweep hand to one another; see :mod:`ganlib.records`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ganlib.names import Count, DatasetName, RunName, Sha256, TrackingRunId
from ganlib.records import CheckpointRef, CurvePoint, Evaluation, Record

MAX_TRIALS = 10_000
"""Most trials of a sweep."""

Scalar = bool | int | float | str
"""The value of a configuration field that a sweep varies."""

Values = dict[Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,100}\z")], Scalar]
"""Configuration fields, dotted, with the values that a trial has."""

TrialStatus = Literal["waiting", "running", "finished", "stopped", "diverged", "died"]
"""``stopped``: by the scheduler, at a rung; ``diverged``: its numbers ended it; ``died``: its process did."""


def trial_run_name(sweep: str, number: int) -> str:
    """Run name of a trial; it stays the same when the trial's values change in mid-run."""
    return f"{sweep}-trial-{number:03d}"


class Trial(Record):
    """One configuration of a sweep and what became of it."""

    number: int = Field(ge=0, lt=MAX_TRIALS)
    """Position in the order in which trials were proposed; 0 is the recipe itself."""
    run: RunName
    tracking_run_id: TrackingRunId = ""
    values: dict[str, Scalar]
    """Values of the searched fields, by dotted name, at the trial's start."""
    status: TrialStatus = "waiting"
    reason: str = ""
    """Why it ended early; empty when it did not."""
    curve: Annotated[tuple[CurvePoint, ...], Field(max_length=1_000_000)] = ()
    best: CheckpointRef | None = None
    """The checkpoint with the smallest distance on its curve."""
    best_values: dict[str, Scalar] = Field(default_factory=dict)
    """The values that ``best`` was trained with; empty before there is one."""
    seconds: float = 0.0
    """Seconds from its start to its end, over all attempts."""
    changes: tuple[str, ...] = ()
    """Changes that population-based training made in mid-run, a line each, with the clock."""
    evaluation: Evaluation | None = None
    """Evaluation with fresh latents and a larger sample, for the trials that were in the final."""

    @property
    def distance(self) -> float:
        """The smallest distance on its curve; infinite before the first."""
        return min((point.distance for point in self.curve), default=math.inf)

    @property
    def settings(self) -> dict[str, Scalar]:
        """The searched fields that its distance belongs to."""
        return self.best_values or self.values


class SweepResult(Record):
    """The state of a sweep, and its result once it has finished."""

    sweep: RunName
    """Its name: recipe, dataset digest, digest of the sweep, request."""
    recipe: RunName
    tracking_run_id: TrackingRunId
    dataset_name: DatasetName
    dataset_digest: Sha256
    metric: str
    """Metric of the curves: ``fd_<extractor>_curve``."""
    status: Literal["running", "finished", "failed"]
    trials: tuple[Trial, ...] = Field(max_length=MAX_TRIALS)
    """All trials by number."""
    best: int | None = Field(default=None, ge=0)
    """Number of the trial that won the final: the smallest distance with fresh latents."""
    seconds: float = 0.0

    @model_validator(mode="after")
    def _best_is_a_trial(self) -> SweepResult:
        if self.best is not None and self.best >= len(self.trials):
            raise ValueError(f"best is trial {self.best} of {len(self.trials)}, counted from 0")
        return self


class SweepPlan(Record):
    """Resources of a sweep, as its job found them before it started any trial."""

    sweep: RunName
    trials: Count
    """Trials to train in this attempt."""
    device: Literal["cpu", "cuda"]
    cpus_each: float
    """CPUs that a trial needs."""
    gpus_each: float
    cluster_cpus: float
    cluster_gpus: float
    at_once: Count
    """Trials that run at a time."""
