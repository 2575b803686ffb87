"""The sweep job: trials under Ray Tune, then a final among the best.

``python -m ganlib.jobs.sweep SWEEP`` on the cluster. It leaves ``sweeps/SWEEP/result.json``, rewritten after
each change, and a run for each trial. Started again, it goes on: finished trials stay, running ones resume,
and the scheduler remembers what it has seen.
"""

from __future__ import annotations

from typing import Literal

from ganlib.cluster.lines import StageProgress
from ganlib.cluster.program import connect, emit, run_main
from ganlib.data.versions import load_version
from ganlib.data.windows import way_in_words
from ganlib.errors import GanlibError, TrainingError
from ganlib.jobs.evaluate import evaluate_checkpoint
from ganlib.ports import ObjectStore, RunStatus
from ganlib.report.sweep_run import SampleMaker, SweepReport
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.course import SweepRun
from ganlib.sweep.final import hold_final, winner, winner_summary
from ganlib.sweep.ledger import Ledger
from ganlib.sweep.plan import cluster_nodes, make_plan, plan_summary, room_for
from ganlib.sweep.spec import SweepSpec, read_sweep_spec, sweep_plan_key
from ganlib.sweep.tune import run_trials
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.tracking.spool import SpooledTracker
from ganlib.training.spec import require_same_code

CLOSE_TRACKER_SECONDS = 30.0


def main(sweep: str) -> None:
    """Run a sweep, or go on with it, on the cluster that this process is a job of.

    Raises:
        ConfigError: The cluster has no room for a trial; nothing was started.
        TrainingError: No trial came to a checkpoint.
    """
    settings = load_settings()
    store = open_store(settings)
    spec = read_sweep_spec(store, sweep)
    require_same_code(f"sweep {sweep}", spec.code_version)
    connect()
    room_for(spec.config, cluster_nodes())
    version = load_version(store, spec.dataset_name, spec.dataset_digest)
    emit(way_in_words(version, settings.cache_bytes, spec.window_shards))
    tracker = SpooledTracker(MlflowTracker(settings), settings.home / "spool" / sweep)
    try:
        tracking_run_id = tracker.start(spec.tracking(settings.s3_bucket))
        report = SweepReport(tracker, SampleMaker(store))
        ledger = open_ledger(store, spec, tracking_run_id)
        try:
            sweep_run = SweepRun(settings, store, spec, ledger, tracker, emit, report=report.update)
            run(sweep_run)
        except BaseException as error:
            tracker.finish(tracking_run_id, "failed" if isinstance(error, GanlibError) else "killed")
            raise
        conclude(sweep_run, report)
    finally:
        tracker.close(CLOSE_TRACKER_SECONDS)


def open_ledger(store: ObjectStore, spec: SweepSpec, tracking_run_id: str) -> Ledger:
    """The sweep's ledger, with what earlier attempts left in it."""
    return Ledger(store, spec, tracking_run_id, f"{spec.config.base.evaluation.metric}_curve")


def run(sweep_run: SweepRun) -> None:
    """Train what is left and hold the final."""
    spec, ledger = sweep_run.spec, sweep_run.ledger
    plan = make_plan(spec, sweep_run.left)
    sweep_run.store.put(sweep_plan_key(spec.sweep), plan.to_json().encode())
    emit(plan_summary(plan))
    if plan.trials:
        run_trials(sweep_run, plan)
        while sweep_run.take_up_postponed():
            run_trials(sweep_run, plan)
    emit(StageProgress(stage="sweep", note="the final among the best"))
    hold_final(sweep_run.store, spec, ledger, sweep_run.tracker, emit, plan.at_once, evaluate_checkpoint)


def conclude(sweep_run: SweepRun, report: SweepReport) -> None:
    """Name the winner and report; then the sweep has ended.

    Raises:
        TrainingError: There is no winner.
        GanlibError: The report failed; the sweep has ended all the same.
    """
    ledger = sweep_run.ledger
    best = winner(ledger.trials)
    status: Literal["finished", "failed"] = "failed" if best is None else "finished"
    tracked: RunStatus = "failed"
    try:
        report.finish(ledger.result.model_copy(update={"status": status, "best": best}))
        tracked = status
    finally:
        sweep_run.tracker.finish(ledger.result.tracking_run_id, tracked)
        # Written last: finished sweeps are never resumed, so a job killed before this is.
        ledger.finish(status, best)
    if best is None:
        raise TrainingError(
            f"no trial of {sweep_run.spec.sweep} came to a checkpoint; their reasons are above"
        )
    sweep_run.emit(winner_summary(ledger.trials, best))


if __name__ == "__main__":
    run_main(main)
