"""The state of a sweep, stored after every change, so that its job may end at any moment.

Nothing here depends on Ray. What Tune proposes, trains and decides is written to the ledger before it takes
effect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import Field, model_validator

from ganlib.errors import ObjectMissing
from ganlib.names import Count
from ganlib.ports import ObjectStore
from ganlib.records import CheckpointRef, Evaluation, Record, TrainResult
from ganlib.sweep.records import Scalar, SweepResult, Trial, TrialStatus, trial_run_name
from ganlib.sweep.spec import SweepSpec, require_own_trials, sweep_result_key, sweep_state_key
from ganlib.sweep.trial_report import TrialReport
from ganlib.training.spec import RunSpec, result_key, write_spec

Verdict = Literal["continue", "stop"]

ENDED: tuple[TrialStatus, ...] = ("finished", "stopped", "diverged", "died")
"""Statuses of trials that are not trained again."""


class RungDecision(Record):
    """The scheduler's verdict on a report."""

    number: int = Field(ge=0)
    """Number of the trial."""
    images_seen: Count
    distance: float
    verdict: Verdict


class TrialState(Record):
    """State of a trial that only the sweep's job needs, beside :class:`~ganlib.sweep.records.Trial`."""

    values: dict[str, Scalar]
    """Values that it trains with now; population-based training changes them."""
    adopted: CheckpointRef | None = None
    """Checkpoint that it continues from after such a change."""
    since: Count = 0
    """Points on its curve before the change."""
    last: CheckpointRef | None = None
    """Checkpoint of its last report."""


class SweepState(Record):
    """Kept at ``sweeps/SWEEP/state.json``."""

    result: SweepResult
    standings: tuple[TrialState, ...] = ()
    """One for each trial of the result."""
    judged: tuple[RungDecision, ...] = ()
    """Every report, in the order in which they came in."""

    @model_validator(mode="after")
    def _go_together(self) -> SweepState:
        trials = self.result.trials
        if len(self.standings) != len(trials):
            raise ValueError(f"{len(self.standings)} standings for {len(trials)} trials")
        for state, trial in zip(self.standings, trials, strict=True):
            if state.since > len(trial.curve):
                raise ValueError(f"trial {trial.number} was changed after more points than its curve has")
        if any(decision.number >= len(trials) for decision in self.judged):
            raise ValueError("a decision is on a trial that does not exist")
        return self


class Ledger:
    """The state of one sweep; every change is in the store when the call returns.

    Args:
        store: Where it is kept.
        spec: The sweep.
        tracking_run_id: The parent's.
        metric: Of the curves.
        clock: Seconds, from any beginning.
    """

    def __init__(
        self,
        store: ObjectStore,
        spec: SweepSpec,
        tracking_run_id: str,
        metric: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._spec, self._clock = store, spec, clock
        self._began, self._trial_began = clock(), dict[int, float]()
        before = _read(store, spec.sweep)
        if before is None:
            empty = SweepResult(
                sweep=spec.sweep,
                recipe=spec.config.base.recipe,
                tracking_run_id=tracking_run_id,
                dataset_name=spec.dataset_name,
                dataset_digest=spec.dataset_digest,
                metric=metric,
                status="running",
                trials=(),
            )
            before = SweepState(result=empty)
        # Trials that were running when the earlier job ended wait for their turn again.
        trials = tuple(
            trial.model_copy(update={"status": "waiting"}) if trial.status == "running" else trial
            for trial in before.result.trials
        )
        update = {"trials": trials, "status": "running", "tracking_run_id": tracking_run_id}
        self.result = before.result.model_copy(update=update)
        self.standings, self.judged = before.standings, before.judged
        self._before = {trial.number: trial.seconds for trial in trials}
        self._seconds_before = before.result.seconds
        self._write()

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials so far, by number."""
        return self.result.trials

    def unfinished(self) -> list[Trial]:
        """Return the trials that have not ended."""
        return [trial for trial in self.trials if trial.status not in ENDED]

    def propose(self, values: Mapping[str, Scalar]) -> Trial:
        """Record a new trial."""
        number = len(self.trials)
        trial = Trial(number=number, run=trial_run_name(self._spec.sweep, number), values=dict(values))
        self.standings = (*self.standings, TrialState(values=dict(values)))
        self.result = self.result.model_copy(update={"trials": (*self.trials, trial)})
        self._write()
        return trial

    def specify(self, number: int) -> RunSpec:
        """Write the spec of a trial's run as it stands, which its process reads when it takes it up."""
        standing = self.standings[number]
        spec = self._spec.trial(number, standing.values).model_copy(update={"adopt": standing.adopted})
        write_spec(self._store, spec)
        return spec

    def introduce(self, number: int, tracking_run_id: str) -> None:
        """Record the tracker's id of a trial's run."""
        self._update(number, tracking_run_id=tracking_run_id)

    def begin(self, number: int) -> None:
        """Record that a trial starts or continues."""
        self._trial_began.setdefault(number, self._clock())
        self._update(number, status="running")

    def postpone(self, number: int) -> None:
        """Record that a trial waits for its turn again."""
        self._before[number] = self._update(number, status="waiting").seconds
        self._trial_began.pop(number, None)

    def is_known(self, number: int, report: TrialReport) -> bool:
        """Whether an earlier attempt, killed since, already reported this evaluation."""
        # A changed population member passes the same image counts again, with other values.
        curve = self.trials[number].curve[self.standings[number].since :]
        return report.point is None or any(point.images_seen == report.point.images_seen for point in curve)

    def judge(self, number: int, report: TrialReport, verdict: Verdict) -> None:
        """Record a new evaluation with the scheduler's verdict."""
        trial, point = self.trials[number], report.point
        assert point is not None
        if report.checkpoint is not None:
            self._stand(number, last=report.checkpoint)
        better = point.distance < trial.distance and report.checkpoint is not None
        best = {"best": report.checkpoint, "best_values": self.standings[number].values} if better else {}
        judged = RungDecision(
            number=number, images_seen=point.images_seen, distance=point.distance, verdict=verdict
        )
        self.judged = (*self.judged, judged)
        self._update(number, curve=(*trial.curve, point), **best)

    def images_seen(self, number: int) -> int:
        """Return the images where a trial continues: its last evaluation's, or the adopted checkpoint's."""
        curve, standing = self.trials[number].curve, self.standings[number]
        if standing.adopted is not None and standing.since == len(curve):
            return standing.adopted.images_seen
        return curve[-1].images_seen if curve else 0

    def distance_at(self, number: int, images_seen: float) -> float | None:
        """Return a trial's last distance up to a number of images, since its last change, or ``None``."""
        curve = reversed(self.trials[number].curve[self.standings[number].since :])
        return next((point.distance for point in curve if point.images_seen <= images_seen), None)

    def changed_at(self, number: int) -> int:
        """Return the images of a trial's last evaluation before its last change; 0 when it never changed."""
        since = self.standings[number].since
        return self.trials[number].curve[since - 1].images_seen if since else 0

    def verdict(self, number: int) -> Verdict:
        """Return the last verdict on a trial."""
        return next((one.verdict for one in reversed(self.judged) if one.number == number), "continue")

    def end(self, number: int, status: TrialStatus, reason: str = "") -> Trial:
        """Record a trial's end, and write its run's result if it has none."""
        trial = self.trials[number]
        # Written first: a trial that is recorded as ended is never taken up again.
        if status in ("stopped", "died"):
            last = trial.curve[-1] if trial.curve else None
            result = TrainResult(
                run=trial.run,
                tracking_run_id=trial.tracking_run_id,
                status="finished" if status == "stopped" else "failed",
                reason="" if status == "stopped" else reason,
                best=trial.best,
                last=self.standings[number].last,
                images_seen=last.images_seen if last else 0,
                seconds=last.seconds if last else 0.0,
            )
            self._store.put(result_key(trial.run), result.to_json().encode())
        trial = self._update(number, status=status, reason=reason)
        self._trial_began.pop(number, None)  # the final is not part of the trial's own time
        return trial

    def change(self, number: int, values: Mapping[str, Scalar], adopted: CheckpointRef, line: str) -> None:
        """Record that a population member continues as a changed copy of another, also in its run's spec."""
        trial = self.trials[number]
        self._stand(number, values=dict(values), adopted=adopted, since=len(trial.curve))
        self._update(number, changes=(*trial.changes, line))
        self.specify(number)

    def judge_finalist(self, number: int, evaluation: Evaluation) -> None:
        """Record a trial's evaluation in the final."""
        self._update(number, evaluation=evaluation)

    def finish(self, status: Literal["finished", "failed"], best: int | None = None) -> SweepResult:
        """Record the sweep's end."""
        self.result = self.result.model_copy(update={"status": status, "best": best})
        self._write()
        return self.result

    def _stand(self, number: int, **changes: object) -> None:
        standings = list(self.standings)
        standings[number] = standings[number].model_copy(update=changes)
        self.standings = tuple(standings)

    def _update(self, number: int, **changes: object) -> Trial:
        trials = list(self.trials)
        if number in self._trial_began:
            passed = self._clock() - self._trial_began[number]
            changes["seconds"] = self._before.get(number, 0.0) + passed
        trials[number] = trials[number].model_copy(update=changes)
        self.result = self.result.model_copy(update={"trials": tuple(trials)})
        self._write()
        return trials[number]

    def _write(self) -> None:
        seconds = self._seconds_before + self._clock() - self._began
        self.result = self.result.model_copy(update={"seconds": seconds})
        state = SweepState(result=self.result, standings=self.standings, judged=self.judged)
        # The state first: the result is for readers and may lag behind.
        self._store.put(sweep_state_key(self._spec.sweep), state.to_json().encode())
        self._store.put(sweep_result_key(self._spec.sweep), self.result.to_json().encode())


def _read(store: ObjectStore, sweep: str) -> SweepState | None:
    key = sweep_state_key(sweep)
    try:
        state = SweepState.from_json(store.get(key), source=key)
    except ObjectMissing:
        return None
    require_own_trials(state.result, sweep, key)
    return state
