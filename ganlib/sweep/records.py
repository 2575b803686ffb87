"""The values that the stages of a sweep hand to one another; see :mod:`ganlib.records`."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganlib.names import LongName, Name, Sha256, Text
from ganlib.records import CheckpointRef, CurvePoint, Evaluation, Metric, Record, TrackingId

Scalar = bool | int | float | str
"""The value of a configuration field that a sweep varies."""

Values = dict[Annotated[str, Field(pattern=r"^[a-z0-9_.]{1,100}\z")], Scalar]
"""Configuration fields, dotted, with the values that a trial has."""

TrialStatus = Literal["waiting", "running", "finished", "stopped", "diverged", "died"]
"""``stopped``: by the scheduler, at a rung; ``diverged``: its numbers ended it; ``died``: its process did."""


class Trial(Record):
    """One configuration of a sweep and what became of it."""

    number: Annotated[int, Field(ge=0, le=100_000)]
    """From 0, in the order in which they were proposed; 0 is the recipe itself."""
    run: LongName
    """Run name."""
    tracking_run_id: TrackingId = ""
    values: Values
    """The searched fields, dotted, as it began."""
    status: TrialStatus = "waiting"
    reason: Text = ""
    """Why it ended early; empty when it did not."""
    curve: Annotated[tuple[CurvePoint, ...], Field(max_length=1_000_000)] = ()
    best: CheckpointRef | None = None
    """The checkpoint with the smallest distance on its curve."""
    best_values: Values = Field(default_factory=dict)
    """As ``values``, when it came to ``best``; empty before."""
    seconds: float = 0.0
    """From its start to its end, all attempts."""
    changes: tuple[str, ...] = ()
    """What population-based training changed in mid-run, a line each, with the clock."""
    evaluation: Evaluation | None = None
    """With fresh latents and a larger sample, for the trials that were in the final."""

    @property
    def distance(self) -> float:
        """The smallest distance on its curve; infinite before the first."""
        return min((point.distance for point in self.curve), default=math.inf)

    @property
    def settings(self) -> dict[str, Scalar]:
        """The searched fields that its distance belongs to."""
        return self.best_values or self.values


class SweepResult(Record):
    """What a sweep leaves behind, and what it has so far."""

    sweep: LongName
    """Its name: recipe, dataset digest, digest of the sweep, request."""
    recipe: Name
    tracking_run_id: TrackingId
    dataset_name: Name
    dataset_digest: Sha256
    metric: Metric
    """Of the curves: ``fd_<extractor>_curve``."""
    status: Literal["running", "finished", "failed"]
    trials: Annotated[tuple[Trial, ...], Field(max_length=100_000)]
    best: int | None = None
    """Number of the trial that won the final: the smallest distance with fresh latents."""
    seconds: float = 0.0

    @model_validator(mode="after")
    def _trials_are_numbered(self) -> Self:
        if [trial.number for trial in self.trials] != list(range(len(self.trials))):
            raise ValueError("trials are not numbered from 0 in their order")
        if self.best is not None and not 0 <= self.best < len(self.trials):
            raise ValueError(f"best is {self.best}, and there are {len(self.trials)} trials")
        return self


class SweepPlan(Record):
    """What a sweep needs and how long it may take, as its job found before it started anything."""

    sweep: LongName
    trials: int
    """That are to be trained in this attempt."""
    device: Literal["cpu", "cuda"]
    cpus_each: float
    """CPUs that a trial needs."""
    gpus_each: float
    cluster_cpus: float
    cluster_gpus: float
    at_once: int
    """Trials that run at a time."""
    seconds_at_most: float
    """If every trial trained in full."""
    seconds_expected: float
    """With the trials that the scheduler is expected to stop taken off."""
    basis: str
    """Where the two come from, for a person."""
