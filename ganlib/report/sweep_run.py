"""A sweep's report in its parent run: pictures, tables, and its state as metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, get_args

from ganlib.errors import CheckpointRefused
from ganlib.ports import ObjectStore, RunTracker
from ganlib.records import CheckpointRef
from ganlib.sweep.records import SweepResult, Trial, TrialStatus
from ganlib.training.spec import read_spec

if TYPE_CHECKING:
    from ganlib.report.samples import TrialSamples

# Torch and Matplotlib are imported by the thread that makes the first report, so that they do not delay
# the first trials.

EVERY_SECONDS = 30.0
"""Shortest time between two reports of a running sweep, in seconds."""
SHARE = 0.05
"""Largest share of one core that reporting may take."""
GRID_SAMPLES = 64
STATUSES: tuple[TrialStatus, ...] = get_args(TrialStatus)

Top = Callable[[SweepResult], "Sequence[TrialSamples]"]
"""Returns the samples of a sweep's best trials, the best first."""


def report_sweep(tracker: RunTracker, result: SweepResult, top: Sequence[TrialSamples] = ()) -> None:
    """Log a sweep's pictures, tables and metrics to its parent run; later calls supersede earlier ones.

    Files go under ``sweep/``, where the newest replace those before. Pictures go to the run's images
    as well, as ``sweep_heat_map`` and so on, at the step that :func:`clock` tells.
    """
    from ganlib.report.sweep import files, pictures

    run, step = result.tracking_run_id, clock(result)
    tracker.metrics(run, step, metrics(result))
    drawn = pictures(result, top)
    for name, picture in drawn.items():
        tracker.image(run, f"sweep_{name}", step, picture)
    for name, data in files(result, drawn).items():
        tracker.artifact(run, f"sweep/{name}", data)


def clock(result: SweepResult) -> int:
    """Images that all trials have seen, and one more for each trial evaluated again and for the end.

    It moves whenever the report would show something new of a sweep that goes on.
    """
    seen = sum(max((point.images_seen for point in trial.curve), default=0) for trial in result.trials)
    final = sum(trial.evaluation is not None for trial in result.trials)
    return seen + final + (result.status != "running")


def metrics(result: SweepResult) -> dict[str, float]:
    """Return a sweep's state as metrics: trials by status, and the best distances so far.

    ``trials_<status>`` for every status; ``best_distance`` on the curves and ``recipe_distance``, trial
    0's; ``best_final_distance`` and ``recipe_final_distance`` with fresh latents. What is not known yet
    is left out.
    """
    from ganlib.report.axes import best_distance, best_trial

    values = {f"trials_{s}": float(sum(t.status == s for t in result.trials)) for s in STATUSES}
    distances = [d for trial in result.trials if (d := best_distance(trial)) is not None]
    if distances:
        values["best_distance"] = min(distances)
    best, recipe = best_trial(result), next((t for t in result.trials if t.number == 0), None)
    if recipe is not None and (distance := best_distance(recipe)) is not None:
        values["recipe_distance"] = distance
    for name, trial in (("best", best), ("recipe", recipe)):
        if trial is not None and trial.evaluation is not None:
            values[f"{name}_final_distance"] = trial.evaluation.value
    return values


class SampleMaker:
    """Samples of a sweep's best trials: what their best checkpoints make of the same latents.

    A checkpoint whose samples were made is not loaded again.

    Args:
        store: Where trials have their specs and checkpoints.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._made: dict[tuple[int, str], TrialSamples] = {}

    def __call__(self, result: SweepResult) -> list[TrialSamples]:
        """Samples of the best trials that have a checkpoint, at most five, the best first.

        Raises:
            CheckpointRefused: The checkpoint of a trial that has ended is damaged or gone.
        """
        from ganlib.report.axes import ranked
        from ganlib.report.samples import MOST

        with_checkpoint = [(t, best) for t in ranked(result.trials) if (best := _checkpoint(t)) is not None]
        found: dict[tuple[int, str], TrialSamples] = {}
        for trial, checkpoint in with_checkpoint[:MOST]:
            key = (trial.number, checkpoint.sha256)
            try:
                found[key] = self._made.get(key) or self._make(result, trial, checkpoint)
            except CheckpointRefused:
                if trial.status != "running":
                    raise
                # A better checkpoint has just replaced it; the next report shows that one.
        self._made = found
        return list(found.values())

    def _make(self, result: SweepResult, trial: Trial, checkpoint: CheckpointRef) -> TrialSamples:
        from ganlib.core.sampling import generate, labels_in_turn, latents
        from ganlib.data.versions import load_version
        from ganlib.quality.generated import to_uint8
        from ganlib.report.samples import TrialSamples
        from ganlib.training.generator import trained_generator
        from ganlib.training.spec import count_classes

        spec = read_spec(self._store, trial.run)
        version = load_version(self._store, spec.dataset_name, spec.dataset_digest)
        generator = trained_generator(self._store, spec, checkpoint, version)
        # The recipe's seed, even where the trials' seeds differ.
        seed = read_spec(self._store, result.trials[0].run).config.seed
        noise = latents(seed, "grid", 0, GRID_SAMPLES, spec.config.network.latent_dim)
        labels = labels_in_turn(count_classes(spec.config, version), GRID_SAMPLES)
        return TrialSamples(trial.number, to_uint8(generate(generator, noise, labels)))


def _checkpoint(trial: Trial) -> CheckpointRef | None:
    return trial.best if trial.evaluation is None else trial.evaluation.checkpoint


class SweepReport:
    """Keeps a sweep's parent run up to date from a thread, so that trials do not wait for pictures.

    Args:
        tracker: Where the parent run is; a :class:`~ganlib.tracking.spool.SpooledTracker` outlives an
            MLflow server that is away for a while.
        top: Gives the samples of the best trials: a :class:`SampleMaker`.
    """

    def __init__(self, tracker: RunTracker, top: Top) -> None:
        self._report = partial(self._timed, tracker, top)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sweep-report")
        self._last: Future[None] | None = None
        self._due = 0.0

    def update(self, result: SweepResult) -> bool:
        """Report a sweep that goes on, unless one is under way or the last was a short while ago.

        Returns:
            Whether it is reported.

        Raises:
            GanlibError: What the report before this one failed with.
        """
        if self._last is not None:
            if not self._last.done():
                return False
            self._last.result()
        if time.monotonic() < self._due:
            return False
        self._last = self._thread.submit(self._report, result)
        return True

    def finish(self, result: SweepResult) -> None:
        """Report a sweep that has ended, after what is under way.

        Raises:
            GanlibError: What this report failed with.
        """
        with self._thread:
            self._thread.submit(self._report, result).result()

    def _timed(self, tracker: RunTracker, top: Top, result: SweepResult) -> None:
        began = time.monotonic()
        report_sweep(tracker, result, top(result))
        now = time.monotonic()
        self._due = now + max(EVERY_SECONDS, (now - began) / SHARE)
