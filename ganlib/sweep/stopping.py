"""Stopping of trials by Ray Tune's own rules, which first replay all recorded reports.

Tune cannot carry a sweep's rungs over from one process to the next (its ``Tuner.restore`` loses them), and
would pickle them. The rules are pure bookkeeping on reports, so here they are told every recorded report
again, in the order in which the reports came in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

from ganlib.sweep.config import SweepConfig
from ganlib.sweep.ledger import RungDecision, Verdict
from ganlib.sweep.trial_report import METRIC, TIME

RECIPE = 0
"""Number of the recipe's trial. Never stopped: it is the baseline."""


class _Stand(NamedTuple):
    """A trial in Tune's bookkeeping, with a name that is the same in every attempt."""

    trial_id: str


@dataclass
class Decisions:
    """The stopping rule of one sweep and the reports that it has seen.

    Args:
        config: The sweep.
        judged: What earlier attempts recorded.
    """

    config: SweepConfig
    judged: Iterable[RungDecision] = ()

    def __post_init__(self) -> None:
        self._rule = _rule(self.config)
        self._seen: set[int] = set()
        self._total_images = round(self.config.total_kimg * 1000)
        for report in self.judged:
            # The answer is on record already; the call makes the rule remember the report.
            self.judge(report.number, report.images_seen, report.distance)

    def judge(self, number: int, images_seen: int, distance: float) -> Verdict:
        """Return whether a trial continues after an evaluation."""
        if self._rule is None:
            return "continue"
        stand, result = _Stand(f"trial-{number}"), {TIME: images_seen, METRIC: distance}
        controller: Any = None  # only asked by features that are turned off below
        trial: Any = stand
        if number not in self._seen:
            self._seen.add(number)
            self._rule.on_trial_add(controller, trial)
        if number == RECIPE or images_seen >= self._total_images:
            # The recipe counts for the others and is never stopped itself.
            self._rule.on_trial_complete(controller, trial, result)
            self._seen.remove(number)
            return "continue"
        answer = self._rule.on_trial_result(controller, trial, result)
        return "continue" if answer == TrialScheduler.CONTINUE else "stop"


def _rule(config: SweepConfig) -> AsyncHyperBandScheduler | MedianStoppingRule | None:
    grace = config.grace_kimg * 1000
    if config.scheduler == "asha":
        return AsyncHyperBandScheduler(
            time_attr=TIME,
            metric=METRIC,
            mode="min",
            max_t=round(config.total_kimg * 1000),
            grace_period=round(grace),
            reduction_factor=config.reduction,
        )
    if config.scheduler == "median":
        return MedianStoppingRule(
            time_attr=TIME,
            metric=METRIC,
            mode="min",
            grace_period=grace,
            # A trial without others to compare with continues; otherwise Tune would pause it for them.
            min_time_slice=math.inf,  # type: ignore[arg-type]  # any number will do
        )
    return None
