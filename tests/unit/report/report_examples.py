"""Sweeps to draw."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ganlib.records import CheckpointRef, CurvePoint, Evaluation, Measures
from ganlib.sweep.records import Scalar, SweepResult, Trial, TrialStatus

METRIC = "fd_efficientnet_lite0_curve"
PAIR = ("cadence.n_critic", "objective.clip")


def curve(*distances: float) -> tuple[CurvePoint, ...]:
    """An evaluation at 0, 10, 20 … kimg."""
    return tuple(
        CurvePoint(images_seen=10_000 * n, distance=d, seconds=float(n)) for n, d in enumerate(distances)
    )


def checkpoint(run: str) -> CheckpointRef:
    return CheckpointRef(
        run=run, key=f"runs/{run}/checkpoints/1", images_seen=1, generator_steps=1, sha256="0" * 64
    )


def evaluated(trial: Trial, value: float) -> Trial:
    """The trial as it comes out of the final."""
    found = Evaluation(
        run=trial.run,
        checkpoint=checkpoint(trial.run),
        dataset_digest="0" * 64,
        measures=Measures(metric="fd_efficientnet_lite0", samples=2000, value=value),
        draw=2,
        value_untrained=850.0,
        seconds=1.0,
    )
    return trial.model_copy(update={"evaluation": found})


def sweep_of(
    values: Sequence[Mapping[str, Scalar]],
    statuses: Mapping[int, TrialStatus] | None = None,
    curves: Mapping[int, tuple[CurvePoint, ...]] | None = None,
    **fields: Any,
) -> SweepResult:
    """A sweep whose trials end at 300, 301, … unless ``curves`` says otherwise."""
    trials = tuple(
        Trial(
            number=number,
            run=f"run-{number}",
            values=dict(own),
            status=(statuses or {}).get(number, "finished"),
            curve=(curves or {}).get(number, curve(850.0, 500.0, 300.0 + number)),
        )
        for number, own in enumerate(values)
    )
    given: dict[str, Any] = {"status": "running", "trials": trials, **fields}
    return SweepResult(
        sweep="a-sweep",
        recipe="fashion-mnist-wgan",
        tracking_run_id="r",
        dataset_name="fashion-mnist",
        dataset_digest="0" * 64,
        metric=METRIC,
        **given,
    )


def grid(
    critics: Sequence[int] = (1, 2, 3, 5), clips: Sequence[float] = (0.03, 0.1, 0.3)
) -> list[dict[str, Scalar]]:
    """Every pair."""
    return [dict(zip(PAIR, (n, clip), strict=True)) for n in critics for clip in clips]


def twelve() -> SweepResult:
    """Twelve trials of which some were stopped, two diverged and one died without any distance."""
    return sweep_of(
        grid(),
        {3: "stopped", 5: "stopped", 7: "diverged", 8: "diverged", 11: "died"},
        {3: curve(850.0, 620.0), 5: curve(850.0), 7: curve(850.0, math.nan), 8: curve(math.inf), 11: ()},
    )
