"""The ledger and the course of a sweep that is ended at any moment and taken up again; no cluster."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from sweeps import SWEEP, Killed, MortalStore, Rig, evaluation, report, spec

from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.ports import RunStatus
from ganlib.records import TrainResult
from ganlib.sweep.final import finalists, winner, winner_summary
from ganlib.sweep.records import SweepResult
from ganlib.sweep.spec import read_sweep_result
from ganlib.sweep.trial_report import TrialReport
from ganlib.training.spec import read_spec, result_key


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def test_every_trial_is_a_run_of_its_own_below_the_sweep(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(), tmp_path)
    assert [rig.start() for _ in range(7)] == [0, 1, 2, 3, 4, 5, None]
    first, second = rig.ledger.trials[:2]
    assert first.values == {"cadence.n_critic": 2, "objective.clip": 0.1}, "the recipe itself"
    run = read_spec(store, second.run)
    assert run.config.cadence.n_critic == second.values["cadence.n_critic"]
    assert run.config.compute.workers == 1
    assert rig.tracker.runs[second.tracking_run_id].tags["mlflow.parentRunId"] == "parent"
    result = read_sweep_result(store, SWEEP)
    assert [trial.status for trial in result.trials] == ["running"] * 6


def test_a_trials_time_ends_with_the_trial_and_everybody_is_told(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(), tmp_path)
    told: list[SweepResult] = []
    rig.sweep_run.report = told.append
    rig.start()
    rig.on_report(0, 1000, 100.0)
    rig.finish(0)
    assert [(result.trials[0].status, result.trials[0].distance) for result in told] == [
        ("running", 100.0),
        ("finished", 100.0),
    ]
    trial = rig.ledger.trials[0]
    assert trial.best is not None
    rig.ledger.judge_finalist(0, evaluation(trial.best, 90.0))
    assert rig.ledger.trials[0].seconds == trial.seconds > 0


def test_a_sweep_that_was_killed_goes_on_where_it_was(store: MemoryStore, tmp_path: Path) -> None:
    of = spec()
    rig = Rig(store, of, tmp_path)
    for _ in range(3):
        rig.start()
    assert not rig.on_report(0, 1000, 100.0)
    assert not rig.on_report(1, 1000, 90.0)
    assert rig.on_report(2, 1000, 500.0), "asha stops it at the first rung"
    assert rig.start() == 3
    assert rig.finish(0)
    before = rig.ledger.result

    rig = Rig(store, of, tmp_path)
    assert [trial.status for trial in rig.ledger.trials] == ["finished", "waiting", "stopped", "waiting"]
    assert rig.sweep_run.left == 4
    assert [rig.start() for _ in range(5)] == [1, 3, 4, 5, None]
    for number in (1, 2, 3):
        assert rig.ledger.trials[number].values == before.trials[number].values
    # A process that was taken up reports first where it goes on: known of 1, new of 3.
    assert not rig.on_report(1, 1000, 90.0)
    assert len(rig.ledger.trials[1].curve) == 1
    assert rig.on_report(3, 1000, 300.0), "measured by what came before the kill"
    assert rig.ledger.result.seconds > before.seconds


def test_a_kill_between_a_verdict_and_the_stop_is_no_way_around_it(
    store: MemoryStore, tmp_path: Path
) -> None:
    of = spec()
    rig = Rig(store, of, tmp_path)
    rig.start()
    rig.start()
    rig.on_report(0, 1000, 100.0)
    rig.ledger.judge(1, report(rig.ledger.trials[1].run, 1000, 500.0), "stop")
    rig = Rig(store, of, tmp_path, rig.tracker)
    assert rig.ledger.trials[1].status == "stopped"
    assert rig.start() == 0
    assert rig.start() == 2


def test_a_kill_at_any_write_of_a_stop_loses_nothing(tmp_path: Path) -> None:
    of = spec()
    for writes in count():
        store = MortalStore()
        rig = Rig(store, of, tmp_path)
        rig.start()
        rig.start()
        rig.on_report(0, 1000, 100.0)
        store.left = writes
        with suppress(Killed):
            rig.on_report(1, 1000, 500.0)
        was_killed, store.left = store.left == 0, None
        rig = Rig(store, of, tmp_path, rig.tracker)
        if rig.ledger.trials[1].status != "stopped":
            assert [rig.start(), rig.start()] == [0, 1]
            assert rig.on_report(1, 1000, 500.0)
        trial = rig.ledger.trials[1]
        assert trial.status == "stopped"
        result = TrainResult.from_json(store.get(result_key(trial.run)))
        assert (result.status, result.best) == ("finished", trial.best), f"killed after {writes} writes"
        assert rig.tracker.runs[trial.tracking_run_id].status == "finished"
        if not was_killed:
            break
    assert writes > 4, "its evaluation, its result and its end were written"


def test_what_a_stopped_or_dead_trial_leaves_can_be_evaluated_as_any_run(
    store: MemoryStore, tmp_path: Path
) -> None:
    rig = Rig(store, spec(), tmp_path)
    for _ in range(3):
        rig.start()
    rig.on_report(0, 1000, 100.0)
    rig.on_report(1, 1000, 500.0)
    rig.die(2)
    stopped, died = (
        TrainResult.from_json(store.get(result_key(rig.ledger.trials[number].run))) for number in (1, 2)
    )
    assert (stopped.status, stopped.images_seen) == ("finished", 1000)
    assert stopped.best is not None
    assert stopped.best.images_seen == 1000
    assert (died.status, died.reason, died.best) == ("failed", "its process died", None)
    trial = rig.ledger.trials[1]
    assert trial.reason == "asha stopped it at 1000 images with 500.0"
    statuses = [rig.tracker.runs[trial.tracking_run_id].status for trial in rig.ledger.trials]
    assert statuses == [None, "finished", "failed"]


def test_a_trial_that_is_given_up_too_early_is_taken_up_again(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(trials=2), tmp_path)
    assert [rig.start(), rig.start(), rig.start()] == [0, 1, None]
    rig.on_report(1, 1000, 500.0)
    rig.sweep_run.on_death(1, "its process died")
    assert "trial 1: its process died; it is taken up again after the others" in rig.lines
    assert rig.ledger.trials[1].status == "waiting"
    assert rig.start() is None, "this run of Tune has asked for as many as it was to"
    rig.finish(0)
    assert rig.sweep_run.left == 1
    assert rig.sweep_run.take_up_postponed()
    assert rig.start() == 1
    assert rig.lines[-1].startswith("trial 1, which has come to 1000 images: ")
    for _ in range(rig.sweep_run.spec.config.base.compute.max_failures - 1):
        rig.sweep_run.on_restart(1, "its process died")
    rig.sweep_run.on_death(1, "its process died")
    assert rig.ledger.trials[1].status == "died"
    assert not rig.sweep_run.take_up_postponed()
    assert rig.sweep_run.left == 0


def test_a_kill_while_a_trial_ends_leaves_no_run_that_seems_to_go_on(
    store: MemoryStore, tmp_path: Path
) -> None:
    class Killed(MemoryTracker):
        def finish(self, run_id: str, status: RunStatus) -> None:
            raise KeyboardInterrupt

    rig = Rig(store, spec(), tmp_path, Killed())
    rig.start()
    with pytest.raises(KeyboardInterrupt):
        rig.finish(0)
    again = Rig(store, spec(), tmp_path)
    assert again.start() == 0, "it had not ended"
    again.finish(0)
    assert again.tracker.runs[again.ledger.trials[0].tracking_run_id].status == "finished"


def test_a_diverged_trial_is_marked_and_the_sweep_goes_on(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(), tmp_path)
    rig.start()
    assert rig.sweep_run.on_report(0, TrialReport(status="diverged", reason="critic_loss became nan"))
    assert rig.ledger.trials[0].status == "diverged"
    assert rig.ledger.trials[0].reason == "critic_loss became nan"
    assert rig.start() == 1


def test_the_best_checkpoint_is_that_of_the_smallest_distance(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(scheduler="none"), tmp_path)
    rig.start()
    for images, distance in ((1000, 300.0), (2000, 200.0), (3000, 250.0)):
        rig.on_report(0, images, distance)
    trial = rig.ledger.trials[0]
    assert trial.distance == 200
    assert trial.best is not None
    assert trial.best.images_seen == 2000


def test_a_changed_member_of_a_population_passes_the_same_moments_again(
    store: MemoryStore, tmp_path: Path
) -> None:
    of = spec(scheduler="pbt")
    rig = Rig(store, of, tmp_path)
    rig.start()
    rig.start()
    rig.on_report(1, 2000, 500.0)
    assert rig.ledger.trials[1].settings == rig.ledger.trials[1].values
    donor = report(rig.ledger.trials[0].run, 1000, 100.0).checkpoint
    assert donor is not None
    values = {"cadence.n_critic": 3, "objective.clip": 0.2}
    rig.ledger.change(1, values, donor, "at 2000 images: went on from trial 0")
    rig = Rig(store, of, tmp_path)
    assert rig.ledger.standings[1].values == values
    run = read_spec(store, rig.ledger.trials[1].run)
    assert run.adopt == donor
    assert run.config.cadence.n_critic == 3
    rig.on_report(1, 2000, 90.0)
    assert [point.distance for point in rig.ledger.trials[1].curve] == [500.0, 90.0]
    assert rig.start() == 0
    assert rig.start() == 1
    assert "2000 images: cadence.n_critic = 3, objective.clip = 0.2" in rig.lines[-1], "as it is now"
    trial = rig.ledger.trials[1]
    assert trial.values != values == trial.settings, "those of its best"
    assert trial.best is not None
    rig.ledger.judge_finalist(1, evaluation(trial.best, 95.0))
    assert "95.0 (cadence.n_critic = 3, objective.clip = 0.2)" in winner_summary(rig.ledger.trials, 1)
    rig.on_report(1, 2000, 90.0)
    assert len(rig.ledger.trials[1].curve) == 2


def test_the_final_chooses_not_the_curve_and_the_recipe_is_in_it(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(scheduler="none"), tmp_path)
    for number, distance in enumerate([400.0, 100.0, 110.0, 120.0, 50.0]):
        rig.start()
        rig.on_report(number, 9000, distance)
        if number != 4:
            rig.finish(number)
    rig.sweep_run.on_report(4, TrialReport(status="diverged", reason="a dead end"))
    chosen = finalists(rig.ledger.trials, 2)
    assert [trial.number for trial in chosen] == [1, 2, 0], "a trial that diverged wins nothing"
    for number, value in ((1, 140.0), (2, 130.0), (0, 380.0)):
        best = rig.ledger.trials[number].best
        assert best is not None
        rig.ledger.judge_finalist(number, evaluation(best, value))
    assert winner(rig.ledger.trials) == 2, "the lucky one of the curves is second"
    assert "the recipe itself has 380.0 at the same budget" in winner_summary(rig.ledger.trials, 2)
    assert winner_summary(rig.ledger.trials, 0).startswith("no trial was better than the recipe itself")
    assert rig.ledger.finish("finished", 2).best == 2


def test_a_sweep_without_a_sound_trial_has_no_winner(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(), tmp_path)
    rig.start()
    rig.die(0)
    assert finalists(rig.ledger.trials, 3) == []
    assert winner(rig.ledger.trials) is None


def test_now_and_then_a_line_tells_of_the_whole_sweep(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, spec(), tmp_path)
    rig.start()
    for _ in range(11):
        rig.sweep_run.print_progress()
    assert len(rig.told) == 2, "the clock goes a second at each look, and five lie between two reports"
    told = rig.told[-1]
    assert (told.stage, told.share, told.seconds_left) == ("sweep", 0.0, None)
    assert told.note == "0 of 6 trials ended"


def test_a_sweep_is_as_far_as_its_trials_were_at_their_last_evaluations(
    store: MemoryStore, tmp_path: Path
) -> None:
    rig = Rig(store, spec(), tmp_path)
    for number in range(2):
        rig.start()
        rig.on_report(number, 1000, 90.0 - number)
    rig.finish(0)
    for _ in range(6):
        rig.sweep_run.print_progress()
    total = 1000 * rig.sweep_run.spec.config.total_kimg
    assert rig.told[-1].share == pytest.approx((1 + 1000 / total) / 6)
    assert rig.told[-1].note == "1 of 6 trials ended · best 89.0, trial 1"
    assert rig.told[-1].seconds_left is not None
