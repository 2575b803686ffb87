"""Population-based training: who goes on from whom and who waits for whom; Tune's turns by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from sweeps import Killed, MortalStore, Rig, report, spec

from ganlib.fakes.stores import MemoryStore
from ganlib.sweep.population import Population, exchanges
from ganlib.sweep.trial_report import TrialReport
from ganlib.training.checkpoints import CheckpointRecord, newest
from ganlib.training.spec import read_spec

OF = spec(scheduler="pbt", trials=4, total_kimg=4)


def all_improve(number: int, images: int) -> float:
    """Quickly: whoever has come further is better than all that have not. The recipe is the worst."""
    return 1000.0 - images / 10 + (20 if number == 0 else number)


@dataclass(eq=False)
class Member:
    """What a trial is to Tune."""

    config: dict[str, Any]
    status: str = "PENDING"

    @property
    def number(self) -> int:
        return int(self.config["member"]["number"])

    def is_finished(self) -> bool:
        return self.status in ("TERMINATED", "ERROR")

    def set_status(self, status: str) -> None:
        self.status = status

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


@dataclass
class Turns:
    """Tune's controller with room for two at a time: a run of it is as long as it is stepped."""

    rig: Rig
    store: MemoryStore
    members: list[Member] = field(init=False)

    def __post_init__(self) -> None:
        trials = iter(self.rig.sweep_run.next_trial, None)
        self.members = [Member({"member": self.rig.sweep_run.member(trial)}) for trial in trials]
        self.population: Any = Population(self.rig.sweep_run)
        for member in self.members:
            self.population.on_trial_add(self, member)

    def get_trials(self) -> list[Member]:
        return self.members

    def pause_trial(self, trial: Member, should_checkpoint: bool) -> None:
        assert trial.status == "RUNNING"
        assert not should_checkpoint
        trial.status = "PAUSED"

    def steps(self) -> Iterator[int]:
        """Take turns until all have ended; yields the number of each that reported."""
        while not all(member.is_finished() for member in self.members):
            running = [member for member in self.members if member.status == "RUNNING"]
            while len(running) < 2 and (chosen := self.population.choose_trial_to_run(self)):
                chosen.status = "RUNNING"
                self.rig.sweep_run.started(chosen.number)
                running.append(chosen)
            assert running, "everybody waits"
            self.step(running[0])
            yield running[0].number

    def step(self, member: Member) -> None:
        come = self.rig.ledger.images_seen(member.number)
        if come >= 4000:
            told = TrialReport(status="finished")
        else:
            told = self.trained(member.number, come // 1000 * 1000 + 1016)
        decision = self.population.on_trial_result(self, member, told.for_tune())
        if decision == TrialScheduler.STOP:
            member.status = "TERMINATED"
        assert (decision == TrialScheduler.NOOP) == (member.status == "PAUSED")

    def trained(self, number: int, images: int) -> TrialReport:
        run = self.rig.ledger.trials[number].run
        told = report(run, images, all_improve(number, images))
        assert told.checkpoint is not None
        adopted = self.rig.ledger.standings[number].adopted
        data = f"{run} {images}".encode()
        record = CheckpointRecord(
            run=run,
            config_digest="0" * 64,
            config={},
            sha256=hashlib.sha256(data).hexdigest(),
            counters={
                "images_seen": images,
                "critic_steps": images // 8,
                "generator_steps": images // 64,
                "seconds": 1.0,
            },
            origin=adopted.key if adopted else "",
            code_version="0",
            torch_version="0",
            workers=1,
        )
        self.store.put(f"{told.checkpoint.key}/state.safetensors", data)
        self.store.put(f"{told.checkpoint.key}/checkpoint.json", record.to_json().encode())
        return told


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def changes(rig: Rig) -> list[tuple[int, str]]:
    return [(trial.number, line.split(" with ")[0]) for trial in rig.ledger.trials for line in trial.changes]


def test_the_worst_quarter_may_copy_the_best_and_the_recipe_takes_nobodys_place() -> None:
    assert exchanges({0: 9.0, 1: 5.0, 2: 7.0, 3: 6.0}) == {2: [1]}
    assert exchanges({0: 1.0, 1: 5.0, 2: 7.0, 3: 6.0}) == {2: [0]}
    assert exchanges({number: float(number) for number in range(9)}) == {n: [0, 1, 2] for n in (8, 7, 6)}
    assert exchanges({0: 9.0, 1: 5.0}) == {}, "the recipe is never replaced"
    assert exchanges({0: 5.0, 1: 9.0}) == {1: [0]}
    assert exchanges({1: 5.0}) == exchanges({}) == {}


def test_members_are_compared_at_equal_pictures_however_fast_all_improve(
    store: MemoryStore, tmp_path: Path
) -> None:
    rig = Rig(store, OF, tmp_path)
    turns = Turns(rig, store)
    for _ in turns.steps():
        reached = [rig.ledger.images_seen(member.number) for member in turns.members]
        assert max(reached) - min(reached) <= 1016, "nobody runs ahead"
    assert {trial.status for trial in rig.ledger.trials} == {"finished"}
    # The least of 1 to 3 is the best of them, and the last one the worst, at every rung but the end.
    assert changes(rig) == [
        (3, f"at {images} images and {all_improve(3, images):.1f}: went on from trial 1 at {images} images")
        for images in (1016, 2016, 3016)
    ]
    changed = rig.ledger.trials[3]
    values = rig.ledger.standings[3].values
    assert turns.members[3].config["member"]["values"] == values != changed.values
    run = read_spec(store, changed.run)
    assert run.adopt is not None
    assert run.adopt.images_seen == 3016
    assert run.adopt.key.startswith(f"runs/{changed.run}/adopted/")
    assert run.config.objective.clip == values["objective.clip"]  # type: ignore[union-attr]
    last = newest(store, changed.run, run.adopt)
    assert last is not None
    assert last.images_seen == 4016, "it trained on from the copy"


@pytest.mark.parametrize("status", ["TERMINATED", "ERROR"])
def test_nobody_waits_for_a_member_that_is_gone(store: MemoryStore, tmp_path: Path, status: str) -> None:
    rig = Rig(store, OF, tmp_path)
    turns = Turns(rig, store)
    for _ in turns.steps():
        member = turns.members[3]
        if not member.is_finished() and rig.ledger.images_seen(2) == 2016:
            if status == "TERMINATED":
                assert rig.sweep_run.on_report(
                    3, TrialReport(status="diverged", reason="critic_loss became nan")
                )
            else:
                rig.sweep_run.on_death(3, "its process died")
            assert rig.ledger.images_seen(3) < 2000, "the others wait for it"
            member.status = status
    ended = [trial.status for trial in rig.ledger.trials]
    assert ended == ["finished"] * 3 + ["diverged" if status == "TERMINATED" else "waiting"]
    assert len(changes(rig)) == 3, "the others were judged at every rung"


def test_a_population_of_one_that_was_postponed_goes_on_alone(store: MemoryStore, tmp_path: Path) -> None:
    rig = Rig(store, OF, tmp_path)
    turns = Turns(rig, store)
    for number in turns.steps():
        if number == 2 and not turns.members[2].is_finished():
            rig.sweep_run.on_death(2, "its process died")
            turns.members[2].status = "ERROR"
    assert rig.sweep_run.take_up_postponed()
    again = Turns(rig, store)
    assert [member.number for member in again.members] == [2]
    assert set(again.steps()) == {2}
    assert {trial.status for trial in rig.ledger.trials} == {"finished"}


def test_a_sweep_that_is_killed_anywhere_judges_every_rung_once(store: MemoryStore, tmp_path: Path) -> None:
    whole = Turns(Rig(store, OF, tmp_path), store)
    reports = len(list(whole.steps()))
    assert reports == 4 * 5, "four evaluations and the end"
    for kill in range(1, reports):
        kept = MemoryStore()
        before = Turns(Rig(kept, OF, tmp_path), kept)
        for _, _number in zip(range(kill), before.steps(), strict=False):
            pass
        after = Turns(Rig(kept, OF, tmp_path), kept)
        list(after.steps())
        trials = after.rig.ledger.trials
        assert {trial.status for trial in trials} == {"finished"}, f"killed after {kill} reports"
        assert not trials[0].changes
        rungs = sorted(line.split()[1] for _, line in changes(after.rig))
        assert rungs == ["1016", "2016", "3016"], f"killed after {kill} reports"


def test_a_kill_at_any_write_while_a_rung_is_judged_changes_nothing(tmp_path: Path) -> None:
    for writes in count():
        store = MortalStore()
        before = Turns(Rig(store, OF, tmp_path), store)
        for _, number in zip(range(3), before.steps(), strict=False):
            assert number < 3
        (last,) = (member for member in before.members if member.status == "RUNNING")
        told = before.trained(last.number, 1016)
        store.left = writes
        with suppress(Killed):
            before.population.on_trial_result(before, last, told.for_tune())
        was_killed, store.left = store.left == 0, None
        after = Turns(Rig(store, OF, tmp_path), store)
        list(after.steps())
        ledger = after.rig.ledger
        rungs = [line.split()[1] for _, line in changes(after.rig)]
        assert rungs == ["1016", "2016", "3016"], f"killed after {writes} writes"
        for trial, standing in zip(ledger.trials, ledger.standings, strict=True):
            run = read_spec(store, trial.run)
            assert trial.status == "finished"
            assert run == OF.trial(trial.number, standing.values).model_copy(update={"adopt": run.adopt})
            assert run.adopt == standing.adopted
        if not was_killed:
            break
    assert writes > 6, "an evaluation, a copy, a change and a spec were written, and what it had deleted"


def test_a_member_whose_donor_has_nothing_to_copy_goes_on_as_it_is(
    store: MemoryStore, tmp_path: Path
) -> None:
    rig = Rig(store, OF, tmp_path)
    turns = Turns(rig, store)
    for number in turns.steps():
        run = rig.ledger.trials[1].run
        if number == 1 and rig.ledger.images_seen(1) == 1016:
            store.delete(f"runs/{run}/checkpoints/{1016:012d}/state.safetensors")
    assert any("could not go on from trial 1" in line and "no tensors" in line for line in rig.lines)
    assert [line.split(":")[0] for _, line in changes(rig)] == [
        f"at {images} images and {all_improve(3, images):.1f}" for images in (2016, 3016)
    ]
