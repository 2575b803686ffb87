"""The final of a sweep: the best trials are evaluated again, so that one lucky evaluation does not win.

The curves of a sweep are drawn from few samples, always of the same latents, and the smallest of many
distances is small by luck, too. The finalists get fresh latents and more of them; trial 0, the recipe
itself, is always among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ganlib.ports import ObjectStore, RunTracker
from ganlib.records import CheckpointRef, Evaluation
from ganlib.sweep.ledger import Ledger
from ganlib.sweep.records import Trial, TrialStatus
from ganlib.sweep.spec import SweepSpec
from ganlib.sweep.stopping import RECIPE
from ganlib.training.spec import RunSpec, read_spec

DRAW = 2
"""Number of the final's draw of latents; curves use 0, a finished run's own evaluation
:func:`~ganlib.training.spec.run_draw`."""


class EvaluateCheckpoint(Protocol):
    """Evaluates a checkpoint of a run with latents of draw ``draw``."""

    def __call__(
        self, spec: RunSpec, checkpoint: CheckpointRef, *, samples: int, draw: int, untrained: bool
    ) -> Evaluation:
        """The evaluation of ``samples`` generated pictures."""
        ...


_SOUND: tuple[TrialStatus, ...] = ("finished", "stopped")


def finalists(trials: Sequence[Trial], count: int) -> list[Trial]:
    """Return the best trials by their curves among those that ended well, and trial 0."""
    able = [trial for trial in trials if trial.best is not None and trial.status in _SOUND]
    best = sorted(able, key=lambda trial: trial.distance)[:count]
    recipe = [trial for trial in able if trial.number == RECIPE and trial not in best]
    return best + recipe


def hold_final(
    store: ObjectStore,
    spec: SweepSpec,
    ledger: Ledger,
    tracker: RunTracker,
    emit: Callable[[str], None],
    at_once: int,
    evaluate: EvaluateCheckpoint,
) -> None:
    """Evaluate the finalists that have no evaluation yet; each is recorded as soon as it is done.

    Args:
        store: Holds the trials' specifications.
        spec: The sweep.
        ledger: Takes each finalist's evaluation.
        tracker: Takes each finalist's distance, under its own run.
        emit: Takes lines for the job's log.
        at_once: Evaluations that the cluster has room for at a time.
        evaluate: Evaluates a checkpoint on the cluster.
    """
    config = spec.config
    chosen = [trial for trial in finalists(ledger.trials, config.finalists) if trial.evaluation is None]
    if not chosen:
        return
    names = ", ".join(str(trial.number) for trial in chosen)
    emit(f"final: trials {names} are evaluated again, {config.final_samples} fresh samples each")

    def evaluate_best(trial: Trial) -> Evaluation:
        assert trial.best is not None
        run = read_spec(store, trial.run)
        return evaluate(run, trial.best, samples=config.final_samples, draw=DRAW, untrained=False)

    with ThreadPoolExecutor(at_once) as pool:
        for trial, evaluation in zip(chosen, pool.map(evaluate_best, chosen), strict=True):
            ledger.judge_finalist(trial.number, evaluation)
            values = {f"{evaluation.metric}_final": evaluation.value}
            tracker.metrics(trial.tracking_run_id, evaluation.checkpoint.images_seen, values)
            emit(
                f"final: trial {trial.number} has {evaluation.metric} = {evaluation.value:.1f}, "
                f"{trial.distance:.1f} on its curve"
            )


def winner(trials: Sequence[Trial]) -> int | None:
    """Return the number of the finalist with the smallest distance, the earlier of two, or ``None``."""
    judged = [(trial.evaluation.value, trial.number) for trial in trials if trial.evaluation is not None]
    return min(judged)[1] if judged else None


def winner_summary(trials: Sequence[Trial], best: int) -> str:
    """Return the sweep's outcome in a line."""
    chosen, recipe = trials[best].evaluation, trials[RECIPE].evaluation
    assert chosen is not None
    if best == RECIPE:
        return f"no trial was better than the recipe itself, which has {chosen.metric} = {chosen.value:.1f}"
    named = ", ".join(f"{field} = {value}" for field, value in trials[best].settings.items())
    against = (
        f"the recipe itself has {recipe.value:.1f} at the same budget"
        if recipe is not None
        else "the recipe itself came to no checkpoint"
    )
    return f"trial {best} wins with {chosen.metric} = {chosen.value:.1f} ({named}); {against}"
