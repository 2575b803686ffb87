"""Population-based training: Ray Tune's scheduler decides who copies whom, ganlib's checkpoints are copied.

Tune would carry a member's state through its own storage; here a bad member's run takes over the newest
checkpoint that a good one has in ganlib's object store, and goes on with values near the good one's.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from ganlib.errors import CheckpointRefused, DataError
from ganlib.jobs.checkpoints import clone, newest, retire
from ganlib.jobs.sweep_course import Course
from ganlib.jobs.sweep_decisions import RECIPE
from ganlib.jobs.sweep_search import domain, fitted
from ganlib.jobs.trial_report import METRIC, TIME, TrialReport
from ganlib.sweep_config import SweepConfig
from ganlib.sweep_records import Scalar
from ganlib.sweep_space import Choice


class Population(PopulationBasedTraining):
    """Tune's population-based training on the ledger of a sweep."""

    def __init__(self, course: Course) -> None:
        config = course.spec.config
        # Tune draws from the process's own generators.
        seed = config.seed + 1000 * len(course.ledger.judged)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        super().__init__(
            time_attr=TIME,
            metric=METRIC,
            mode="min",
            perturbation_interval=config.grace_kimg * 1000,
            hyperparam_mutations={"member": {"values": mutations(config)}},
            log_config=False,
        )
        self._course = course
        self._total_images = round(config.total_kimg * 1000)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """A member, with what is on record of it."""
        super().on_trial_add(tune_controller, trial)
        curve = self._course.ledger.trials[_number(trial)].curve
        if curve:
            state = self._trial_state[trial]
            state.last_score = -curve[-1].distance
            state.last_perturbation_time = state.last_train_time = curve[-1].images_seen

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Let it go on, wait, or go on as another."""
        known = len(self._course.ledger.judged)
        if self._course.heard(_number(trial), TrialReport.of_tune(result)):
            return TrialScheduler.STOP
        # At the end of its budget nothing is left to change; what was known before was acted upon before.
        if len(self._course.ledger.judged) == known or result[TIME] >= self._total_images:
            return TrialScheduler.CONTINUE
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.PAUSE:
            # As Tune would, but without a checkpoint in Tune's storage: the trial has its own.
            tune_controller.pause_trial(trial, should_checkpoint=False)
            return TrialScheduler.NOOP
        return str(decision)

    def _checkpoint_or_exploit(
        self,
        trial: TuneTrial,
        tune_controller: Any,
        upper_quantile: list[TuneTrial],
        lower_quantile: list[TuneTrial],
    ) -> None:
        """Have a bad member go on as a changed copy of a good one. Replaces Tune's, which copies files."""
        number = _number(trial)
        if trial not in lower_quantile or number == RECIPE:
            return
        donor = random.choice(upper_quantile)  # noqa: S311  # no secret
        course, ledger = self._course, self._course.ledger
        other, this = ledger.trials[_number(donor)], ledger.trials[number]
        try:
            source = newest(course.store, other.run, ledger.standings[other.number].adopted)
            if source is None:
                return
            adopted = clone(course.store, source, this.run)
        except (DataError, CheckpointRefused) as error:
            # The donor trains on and drops old checkpoints; this member's turn comes again.
            course.emit(f"trial {number} could not go on from trial {other.number}: {error}")
            return
        explored, _ = self._get_new_config(trial, donor)
        values = within(course.spec.config, explored["member"]["values"])
        before = this.curve[-1]
        line = (
            f"at {before.images_seen} images and {before.distance:.1f}: went on from trial {other.number} at "
            f"{adopted.images_seen} images with "
            + ", ".join(f"{field} = {value}" for field, value in values.items())
        )
        ledger.change(number, values, adopted, line)
        retire(course.store, this.run, {adopted.key} | ({this.best.key} if this.best else set()))
        course.emit(f"trial {number} {line}")
        tune_controller.pause_trial(trial, should_checkpoint=False)
        trial.set_config({**trial.config, "member": {**trial.config["member"], "values": values}})
        state = self._trial_state[trial]
        state.last_perturbation_time = state.last_train_time = adopted.images_seen


def mutations(config: SweepConfig) -> dict[str, Any]:
    """What Tune may make of each field: neighbours in a list, or values around the one it has."""
    found: dict[str, Any] = {}
    for field, search in config.search.items():
        if isinstance(search, Choice):
            found[field] = list(search.values)
        elif search.scale == "integers":
            # As a list it goes to a neighbour: a factor of 1.2 would leave small numbers where they are.
            found[field] = list(range(int(search.low), int(search.high) + 1))
        else:
            found[field] = domain(search)
    return found


def within(config: SweepConfig, values: dict[str, Any]) -> dict[str, Scalar]:
    """Explored values, kept in the ranges that are searched."""
    return {field: fitted(config.search[field], value) for field, value in values.items()}


def _number(trial: TuneTrial) -> int:
    return int(trial.config["member"]["number"])
