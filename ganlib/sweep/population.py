"""Population-based training: Ray Tune places and perturbs, ganlib's checkpoints are copied.

Members are compared at equal pictures. Each is trained to the next multiple of ``grace_kimg`` and waits
there until the others have come as far; then the worst quarter goes on as changed copies of the best one
(arXiv:1711.09846 with a truncation of 25 %). Tune's asynchronous rule compares a member with whatever the
others have reached, which favours the one that reports last as long as all of them improve; its synchronous
one asks only when a member reports, so that the others wait for ever for one that died. Tune would also carry
a member's state through its own storage; here its run takes over the newest checkpoint that the other one
has in ganlib's object store.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from ganlib.errors import CheckpointRefused, DataError
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.course import SweepRun
from ganlib.sweep.records import Scalar
from ganlib.sweep.search import domain, fitted
from ganlib.sweep.space import Choice
from ganlib.sweep.stopping import RECIPE
from ganlib.sweep.trial_report import METRIC, TIME, TrialReport
from ganlib.training.checkpoints import clone, newest, retire

QUANTILE = 0.25
"""Share of the members that are replaced at a rung by copies of the best; at least one is."""


class Population(PopulationBasedTraining):
    """Population-based training on the ledger of a sweep, with Tune's perturbation."""

    def __init__(self, sweep_run: SweepRun) -> None:
        config = sweep_run.spec.config
        # Tune draws from the process-wide random generators.
        seed = config.seed + 1000 * len(sweep_run.ledger.judged)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        self._every = config.grace_kimg * 1000
        super().__init__(
            time_attr=TIME,
            metric=METRIC,
            mode="min",
            perturbation_interval=self._every,
            hyperparam_mutations={"member": {"values": mutations(config)}},
            log_config=False,
        )
        self._sweep_run = sweep_run
        self._total_images = round(config.total_kimg * 1000)
        # The first rung that not all members have passed, or that all passed and nobody judged.
        come = [sweep_run.ledger.images_seen(trial.number) for trial in sweep_run.ledger.unfinished()]
        self._rung = max(1, math.floor(min(come, default=0) / self._every)) * self._every
        self._size = len(come)

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Add a member; it waits at once if it was waiting in an earlier attempt."""
        if self._rung <= self._come(trial) < self._total_images:
            trial.set_status(TuneTrial.PAUSED)

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Let a member continue, wait for the others, or continue as a changed copy."""
        known = len(self._sweep_run.ledger.judged)
        if self._sweep_run.on_report(_number(trial), TrialReport.of_tune(result)):
            return TrialScheduler.STOP
        # A member at the end of its budget, or a report seen before, changes nothing.
        if len(self._sweep_run.ledger.judged) == known or result[TIME] >= self._total_images:
            return TrialScheduler.CONTINUE
        self._judge_rungs(tune_controller, here=trial)
        if trial.status == TuneTrial.PAUSED:
            return TrialScheduler.NOOP
        if result[TIME] < self._rung:
            return TrialScheduler.CONTINUE
        # Without a checkpoint in Tune's storage: the trial has its own.
        tune_controller.pause_trial(trial, should_checkpoint=False)
        return TrialScheduler.NOOP

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Return the member furthest behind among those that need not wait.

        Tune asks at each of its turns. So the others do not wait for a member that ended or died.
        """
        self._judge_rungs(tune_controller)
        able = [
            trial
            for trial in tune_controller.get_trials()
            if trial.status == TuneTrial.PENDING
            or (trial.status == TuneTrial.PAUSED and self._come(trial) < self._rung)
        ]
        return min(able, key=self._come, default=None)

    def _come(self, trial: TuneTrial) -> int:
        return self._sweep_run.ledger.images_seen(_number(trial))

    def _judge_rungs(self, tune_controller: Any, here: TuneTrial | None = None) -> None:
        """Judge each rung that all members have reached; ``here`` is the last to reach it."""
        trials = tune_controller.get_trials()
        if len(trials) < self._size:
            return  # Tune is still adding them
        members = [trial for trial in trials if not trial.is_finished()]
        waiting = [trial for trial in members if trial is here or trial.status == TuneTrial.PAUSED]
        while (
            members
            and len(waiting) == len(members)
            and self._rung < self._total_images
            and all(self._come(trial) >= self._rung for trial in members)
        ):
            self._judge(tune_controller, {_number(trial): trial for trial in members})
            self._rung += self._every

    def _judge(self, tune_controller: Any, members: Mapping[int, TuneTrial]) -> None:
        ledger = self._sweep_run.ledger
        if any(ledger.changed_at(number) >= self._rung for number in members):
            return  # an earlier attempt did
        reached = {
            number: distance
            for number in members
            if (distance := ledger.distance_at(number, self._rung + self._every / 2)) is not None
        }
        for number, others in exchanges(reached).items():
            self._replace(tune_controller, members[number], members[random.choice(others)])  # noqa: S311

    def _replace(self, tune_controller: Any, trial: TuneTrial, donor: TuneTrial) -> None:
        """Continue a bad member as a changed copy of a good one."""
        sweep_run, ledger, number = self._sweep_run, self._sweep_run.ledger, _number(trial)
        other, this = ledger.trials[_number(donor)], ledger.trials[number]
        try:
            source = newest(sweep_run.store, other.run, ledger.standings[other.number].adopted)
            if source is None:
                return
            adopted = clone(sweep_run.store, source, this.run)
        except (DataError, CheckpointRefused) as error:
            sweep_run.emit(f"trial {number} could not go on from trial {other.number}: {error}")
            return
        explored, _ = self._get_new_config(trial, donor)
        values = clamped(sweep_run.spec.config, explored["member"]["values"])
        before = this.curve[-1]
        line = (
            f"at {before.images_seen} images and {before.distance:.1f}: went on from trial {other.number} at "
            f"{adopted.images_seen} images with "
            + ", ".join(f"{field} = {value}" for field, value in values.items())
        )
        ledger.change(number, values, adopted, line)
        retire(sweep_run.store, this.run, {adopted.key} | ({this.best.key} if this.best else set()))
        sweep_run.emit(f"trial {number} {line}")
        if trial.status != TuneTrial.PAUSED:
            tune_controller.pause_trial(trial, should_checkpoint=False)
        trial.set_config({**trial.config, "member": {**trial.config["member"], "values": values}})


def exchanges(distances: Mapping[int, float]) -> dict[int, list[int]]:
    """Decide which members are replaced by copies of which others.

    Args:
        distances: Of each member, by its number, at equal pictures.

    Returns:
        The members that are replaced, the worst first, each with the good ones that it may copy. The recipe
        is never replaced and takes nobody's place among the worst; it may be copied.
    """
    ranked = sorted(distances, key=lambda number: distances[number])
    if len(ranked) < 2:
        return {}
    count = min(math.ceil(len(ranked) * QUANTILE), len(ranked) // 2)
    good = ranked[:count]
    bad = [number for number in reversed(ranked) if number != RECIPE and number not in good]
    return dict.fromkeys(bad[:count], good)


def mutations(config: SweepConfig) -> dict[str, Any]:
    """Return how Tune may change each field: to neighbours in a list, or to values around its own."""
    found: dict[str, Any] = {}
    for field, search in config.search.items():
        if isinstance(search, Choice):
            found[field] = list(search.values)
        elif search.scale == "integers":
            # A list: Tune goes to a neighbour in it, where a factor of 1.2 would not change a small number.
            found[field] = list(range(int(search.low), int(search.high) + 1))
        else:
            found[field] = domain(search)
    return found


def clamped(config: SweepConfig, values: dict[str, Any]) -> dict[str, Scalar]:
    """Return explored values, clamped to the searched ranges."""
    return {field: fitted(config.search[field], value) for field, value in values.items()}


def _number(trial: TuneTrial) -> int:
    return int(trial.config["member"]["number"])
