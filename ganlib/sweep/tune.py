"""Ray Tune as a sweep uses it: it places trials, reuses their processes and restarts those that died.

What is tried and what is stopped it asks of the :class:`~ganlib.sweep.course.SweepRun`. Its own search
algorithms and schedulers work behind that; its own records, which cannot be resumed from without losing
rungs, are thrown away.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from ganlib.sweep.course import SweepRun
from ganlib.sweep.population import Population
from ganlib.sweep.records import SweepPlan
from ganlib.sweep.trial import TrialActor, train_trial
from ganlib.sweep.trial_report import TrialReport


def run_trials(sweep_run: SweepRun, plan: SweepPlan) -> None:
    """Train every trial that is left, at most ``plan.at_once`` at a time, to its end or its stop."""
    config = sweep_run.spec.config
    shared = {
        "sweep": sweep_run.spec.sweep,
        "cuda": plan.device == "cuda",
        "cpus": config.cpus,
        "gpus": config.gpus,
    }
    several = config.workers > 1
    population = config.scheduler == "pbt"
    if population:
        members = list(iter(sweep_run.next_trial, None))
        shared["member"] = tune.grid_search([sweep_run.member(trial) for trial in members])
    with _experiment(sweep_run) as folder:
        # tune.run instead of Tuner, which would pickle scheduler and search first.
        tune.run(
            tune.with_resources(train_trial if several else TrialActor, _resources(plan, several=several)),
            config=shared,
            search_alg=None if population else Proposals(sweep_run),
            scheduler=Population(sweep_run) if population else Judge(sweep_run),
            num_samples=1 if population else sweep_run.left,
            # Trials that wait for room hold some of it (ray#54305); members of a population take turns.
            max_concurrent_trials=None if population else plan.at_once,
            reuse_actors=not several,
            max_failures=config.base.compute.max_failures,
            raise_on_failed_trial=False,
            trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[Watcher(sweep_run)],
            verbose=0,
        )


def _resources(plan: SweepPlan, *, several: bool) -> PlacementGroupFactory:
    if several:
        # The trial's workers ask for their own; this one only waits for them, and Tune wants a request.
        return PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    return PlacementGroupFactory(
        [{"CPU": plan.cpus_each} | ({"GPU": plan.gpus_each} if plan.gpus_each else {})]
    )


@contextmanager
def _experiment(sweep_run: SweepRun) -> Iterator[Path]:
    """A folder for Tune's records of this attempt; gone afterwards."""
    job = ray.get_runtime_context().get_job_id()
    folder = sweep_run.settings.home / "ray-tune" / f"{sweep_run.spec.sweep}-{job}"
    os.environ.update(
        {
            "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
            "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
            "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
            # Tune's new output prints every failed trial at any verbosity.
            "RAY_AIR_NEW_OUTPUT": "0",
            # No snapshots while the sweep runs: they are pickles that nobody reads.
            "TUNE_GLOBAL_CHECKPOINT_S": str(10 * 86_400),
        }
    )
    # Leftovers of killed attempts; only one attempt runs at a time.
    for left in folder.parent.glob(f"{sweep_run.spec.sweep}-{'[0-9a-f]' * 8}"):
        shutil.rmtree(left, ignore_errors=True)
    # At its end Tune looks for files of its loggers, which are off.
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Proposals(Searcher):
    """Gives Tune the next trial."""

    def __init__(self, sweep_run: SweepRun) -> None:
        super().__init__()
        self._sweep_run = sweep_run

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Return the parameters of the next trial's process, or that there is none."""
        trial = self._sweep_run.next_trial()
        return Searcher.FINISHED if trial is None else {"member": self._sweep_run.member(trial)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: :class:`SweepRun` has recorded it already."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger has the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: each attempt begins with a new object."""


class Judge(FIFOScheduler):
    """Tells Tune whether a trial continues."""

    def __init__(self, sweep_run: SweepRun) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sweep_run = sweep_run

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Return whether to stop the trial."""
        over = self._sweep_run.on_report(number_of(trial), TrialReport.of_tune(result))
        return TrialScheduler.STOP if over else TrialScheduler.CONTINUE

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the ledger has the state."""


class Watcher(Callback):
    """Tells the sweep when a trial's process started, restarted or died."""

    def __init__(self, sweep_run: SweepRun) -> None:
        self._sweep_run = sweep_run

    def on_trial_start(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial started."""
        self._sweep_run.started(number_of(trial))

    def on_trial_recover(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial's process died and is replaced."""
        self._sweep_run.on_restart(number_of(trial), _reason(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """A trial's process died too often."""
        self._sweep_run.on_death(number_of(trial), _reason(trial))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Called at every Tune step."""
        self._sweep_run.print_progress()


def number_of(trial: TuneTrial) -> int:
    """Return a trial's number in the sweep."""
    return int(trial.config["member"]["number"])


def _reason(trial: TuneTrial) -> str:
    """Return why a trial's process ended, in a line."""
    file = trial.error_file
    text = Path(file).read_text() if file and Path(file).is_file() else ""
    # One file has all of a trial's failures. Of a dead process it has Ray's message, or the traceback of
    # whoever waited for it.
    text = text.rpartition("Failure # ")[2]
    if not text or re.search(r"actor (is dead|died|is unavailable)|Actor(Died|Unavailable)Error", text):
        return "its process died"
    # The last line of a traceback; for our own errors without the class.
    last = [line.strip() for line in text.splitlines() if line.strip()][-1]
    return re.sub(r"^ganlib\.errors\.\w+: ", "", last)
