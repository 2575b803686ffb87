"""One attempt at a sweep: answers Ray Tune's questions from the ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganlib.cluster.lines import Say, StageProgress
from ganlib.ports import ObjectStore, RunStatus, RunTracker
from ganlib.records import CurvePoint
from ganlib.settings import Settings
from ganlib.sweep.ledger import ENDED, Ledger
from ganlib.sweep.records import Scalar, SweepResult, Trial, TrialStatus
from ganlib.sweep.search import Source, open_source
from ganlib.sweep.spec import SweepSpec
from ganlib.sweep.stopping import Decisions
from ganlib.sweep.trial_report import TrialReport

TELL_SECONDS = 5.0
"""Shortest time between two reports of progress, in seconds."""

_TRACKED: dict[TrialStatus, RunStatus] = {
    "finished": "finished",
    "stopped": "finished",
    "diverged": "failed",
    "died": "failed",
}


@dataclass
class SweepRun:
    """One attempt at a sweep."""

    settings: Settings
    store: ObjectStore
    spec: SweepSpec
    ledger: Ledger
    tracker: RunTracker
    emit: Say
    clock: Callable[[], float] = time.monotonic
    report: Callable[[SweepResult], object] | None = None
    """Called with the sweep's state after every change; must return at once."""
    _decisions: Decisions = field(init=False)
    _source: Source | None = field(init=False, default=None)
    _told_at: float = field(init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._decisions = Decisions(self.spec.config, self.ledger.judged)
        self._began = self._told_at = self.clock()
        # An earlier job may have died between recording a verdict and acting on it.
        for trial in self.ledger.unfinished():
            if self.ledger.verdict(trial.number) == "stop":
                self._end(trial, "stopped", self._why(trial.curve[-1]))
        self._waiting = [trial.number for trial in self.ledger.unfinished()]
        self._postponed: list[int] = []
        self._deaths = Counter[int]()

    @property
    def left(self) -> int:
        """Number of trials that have not ended."""
        return self.spec.config.trial_count - sum(trial.status in ENDED for trial in self.ledger.trials)

    def take_up_postponed(self) -> bool:
        """Queue the trials that Tune gave up too early for its next run; return whether there are any."""
        taken, self._postponed = self._postponed, []
        self._waiting += taken
        return bool(taken)

    def next_trial(self) -> Trial | None:
        """Return the trial to start now: one that an earlier attempt left, else a new one, or ``None``."""
        if self._waiting:
            return self.ledger.trials[self._waiting.pop(0)]
        number = len(self.ledger.trials)
        if number >= self.spec.config.trial_count:
            return None
        if number == 0:
            return self.ledger.propose(self.spec.config.recipe_values())
        if self._source is None:
            self._source = open_source(self.spec.config, self.ledger.trials)
        return self.ledger.propose(self._source.propose(number))

    def member(self, trial: Trial) -> dict[str, Any]:
        """Return the parameters of a trial's process; its run is started in the tracker."""
        run = self.ledger.specify(trial.number)
        parent = self.ledger.result.tracking_run_id
        tracking_run_id = self.tracker.start(
            run.tracking(self.settings.s3_bucket, parent, self.spec.config.search)
        )
        self.ledger.introduce(trial.number, tracking_run_id)
        return {
            "number": trial.number,
            "run": trial.run,
            "tracking_run_id": tracking_run_id,
            "values": self.ledger.standings[trial.number].values,
        }

    def started(self, number: int) -> None:
        """Record that a trial's process started."""
        trial = self.ledger.trials[number]
        if trial.status == "running":
            return
        self.ledger.begin(number)
        again = f", which has come to {trial.curve[-1].images_seen} images" if trial.curve else ""
        self.emit(f"trial {number}{again}: {_named(number, self.ledger.standings[number].values)}")

    def on_report(self, number: int, report: TrialReport) -> bool:
        """Record a trial's report; return whether the trial is over."""
        trial = self.ledger.trials[number]
        if report.status != "running":
            self._end(trial, report.status, report.reason)
            return True
        if report.point is None or self.ledger.is_known(number, report):
            return self.ledger.verdict(number) == "stop"
        point = report.point
        verdict = self._decisions.judge(number, point.images_seen, point.distance)
        self.ledger.judge(number, report, verdict)
        self.emit(f"trial {number} at {point.images_seen} images: {point.distance:.1f}")
        if verdict == "stop":
            self._end(self.ledger.trials[number], "stopped", self._why(point))
        self.print_progress()
        self._report()
        return verdict == "stop"

    def on_restart(self, number: int, reason: str) -> None:
        """Record that a trial's process died and that a new one continues the trial."""
        self._deaths[number] += 1
        self.emit(f"trial {number}: {reason}; it goes on from its last checkpoint")

    def on_death(self, number: int, reason: str) -> None:
        """Record that a trial's process died and that Tune gives the trial up.

        Tune gives up at once when a process dies while it takes a trial over from another process.
        Such a trial is postponed to the next run of Tune.
        """
        self._deaths[number] += 1
        if self._deaths[number] > self.spec.config.base.compute.max_failures:
            self._end(self.ledger.trials[number], "died", reason)
            return
        self.ledger.postpone(number)
        self._postponed.append(number)
        self.emit(f"trial {number}: {reason}; it is taken up again after the others")

    def print_progress(self) -> None:
        """Print how far the sweep is, unless that was printed just now."""
        now = self.clock()
        if now - self._told_at < TELL_SECONDS:
            return
        self._told_at = now
        trials, count = self.ledger.trials, self.spec.config.trial_count
        running = [trial for trial in trials if trial.status == "running"]
        done = sum(trial.status in ENDED for trial in trials)
        note = f"{done} of {count} trials ended"
        best = min((trial for trial in trials if trial.curve), key=lambda trial: trial.distance, default=None)
        if best is not None:
            note += f" · best {best.distance:.1f}, trial {best.number}"
        left = self._seconds_left(len(running))
        self.emit(
            StageProgress(
                stage="sweep",
                share=min((done + sum(map(self._share_of, running))) / count, 1.0),
                seconds_left=None if left is None else round(left),
                note=note,
            )
        )

    def _share_of(self, trial: Trial) -> float:
        """Share of its budget that a running trial had seen at its last evaluation."""
        seen = trial.curve[-1].images_seen if trial.curve else 0
        return min(seen / (1000 * self.spec.config.total_kimg), 1.0)

    def _seconds_left(self, running: int) -> float | None:
        """Time that is left if the other trials take as long as those that have ended; else ``None``."""
        ended = [trial.seconds for trial in self.ledger.trials if trial.status in ENDED]
        if not ended or not running:
            return None
        going = sum(trial.seconds for trial in self.ledger.trials if trial.status == "running")
        return max(0.0, self.left * sum(ended) / len(ended) - going) / running

    def _why(self, point: CurvePoint) -> str:
        """Why the scheduler stopped a trial there."""
        scheduler = self.spec.config.scheduler
        return f"{scheduler} stopped it at {point.images_seen} images with {point.distance:.1f}"

    def _end(self, trial: Trial, status: TrialStatus, reason: str) -> None:
        # The tracker first: a job killed in between repeats both. In the other order it would never end the
        # tracker's run.
        if trial.tracking_run_id:
            self.tracker.finish(trial.tracking_run_id, _TRACKED[status])
        ended = self.ledger.end(trial.number, status, reason)
        if self._source is not None:
            self._source.ended(ended)
        best = f", best {ended.distance:.1f}" if ended.curve else ""
        why = f": {reason}" if reason else ""
        self.emit(f"trial {trial.number} {status} after {ended.seconds:.0f} s{best}{why}")
        self._report()

    def _report(self) -> None:
        if self.report is not None:
            self.report(self.ledger.result)


def _named(number: int, values: Mapping[str, Scalar]) -> str:
    """Return a trial's values as text, for a person."""
    named = ", ".join(f"{field} = {value}" for field, value in values.items())
    return f"the recipe itself, {named}" if number == 0 else named
