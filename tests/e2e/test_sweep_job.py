"""The sweep job on a real stack: killed and resumed, population training, trials of several workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import pytest
from e2e_commands import TINY, processes
from mlflow import MlflowClient

from ganlib.cluster.launch import run_job
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.errors import JobFailed
from ganlib.records import TrainResult
from ganlib.settings import Settings
from ganlib.storage import S3Store
from ganlib.sweep.ledger import ENDED, SweepState
from ganlib.sweep.load import load_sweep
from ganlib.sweep.records import SweepPlan, Trial
from ganlib.sweep.space import parse_search
from ganlib.sweep.spec import (
    SweepSpec,
    read_sweep_result,
    sweep_name,
    sweep_plan_key,
    sweep_state_key,
    write_sweep_spec,
)
from ganlib.sweep.stopping import Decisions
from ganlib.training.spec import read_spec, result_key

# The limits are generous for busy machines: they only end a test that hangs.
pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]

JOBS = 4
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""

SMALL = {
    **{field: value for field, value in TINY.items() if not field.startswith(("budget", "evaluation.every"))},
    "batch_size": 8,
    "checkpoint.every_kimg": 100,
}


class Sweep:
    """A sweep whose job a test starts and may kill."""

    def __init__(
        self, settings: Settings, store: S3Store, request: str, search: list[str], **options: Any
    ) -> None:
        self.settings, self.store = settings, store
        overrides = {**SMALL, **options.pop("overrides", {})}
        config = load_sweep("digits-wgan", overrides, parse_search(search), final_samples=16, **options)
        dataset = prepare(store, "digits", Preparation(size=28, channels=1), scratch=settings.scratch)
        self.name = sweep_name(config, dataset.digest, request)
        self.spec = SweepSpec(
            sweep=self.name,
            config=config,
            dataset_name=dataset.name,
            dataset_digest=dataset.digest,
            code_version=version("ganlib"),
        )
        write_sweep_spec(store, self.spec)
        self.lines: list[str] = []

    def run(self) -> None:
        run_job(self.settings, f"{self.name}-sweep", ["ganlib.jobs.sweep", self.name], self.lines.append)

    @property
    def state(self) -> SweepState:
        return SweepState.from_json(self.store.get(sweep_state_key(self.name)))

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, seen: Callable[[SweepState], bool], job: Future[None]) -> SweepState:
        deadline = time.monotonic() + 600
        while True:
            found = list(self.store.list(sweep_state_key(self.name)))
            if found and seen(state := self.state):
                return state
            assert not job.done(), self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)


def under_way(trial: Trial) -> bool:
    """Whether a trial is running and has an evaluation to resume from."""
    return trial.status == "running" and bool(trial.curve)


def test_a_killed_sweep_resumes_where_it_was(
    stack_settings: Settings, store: S3Store, digits: str, mlflow: MlflowClient
) -> None:
    rates = "optimizer.critic_learning_rate=1e-5,1e-3,2e-3,3e-3,1.0"
    sweep = Sweep(
        stack_settings,
        store,
        "killed",
        [rates, "cadence.n_critic=1"],
        overrides={
            "cadence.n_critic": 1,
            "optimizer.critic_learning_rate": 1e-5,
            # At the first evaluation the last rate has at least three quarters of the weights at the bounds,
            # the others never have half of them there; bf16 and fp32 differ by a tenth.
            "watch.critic_at_bounds": "stop",
            "watch.critic_at_bounds_share": 0.6,
        },
        algorithm="grid",
        total_kimg=2.4,
        grace_kimg=0.3,
        max_seconds=600,
        finalists=1,
    )
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(sweep.run)
        before = sweep.wait_for(
            lambda state: (
                any(map(under_way, state.result.trials))
                and any(t.status in ENDED for t in state.result.trials)
            ),
            job,
        )
        for process in processes(stack_settings, "ganlib.jobs.sweep", sweep.name):
            process.kill()
        with pytest.raises(JobFailed):
            job.result(600)
        before = sweep.state
        assert any(map(under_way, before.result.trials))
        sweep.lines.clear()
        job = pool.submit(sweep.run)
        sweep.wait_for(lambda state: len(state.judged) > len(before.judged), job)
        # Kill a trial's process: another one resumes the trial. The process has the title of Tune's wrapper
        # while it trains, and of the actor's class otherwise.
        busy = processes(stack_settings, "ray::ResourceTrainable")
        [*busy, *processes(stack_settings, "ray::TrialActor")][0].kill()
        job.result(900)

    after, trials = sweep.state, sweep.state.result.trials
    assert len(trials) == 5
    assert {trial.status for trial in trials} <= {"finished", "stopped", "diverged"}, sweep.said
    assert trials[4].status == "diverged"
    assert "clip bounds" in trials[4].reason
    for was, now in zip(before.result.trials, trials, strict=False):
        if was.status in ENDED:
            assert now.model_copy(update={"evaluation": None}) == was, "it was trained again"
        assert now.curve[: len(was.curve)] == was.curve
    for trial in trials:
        assert all(one.images_seen < other.images_seen for one, other in pairwise(trial.curve))
    assert after.judged[: len(before.judged)] == before.judged
    decisions = Decisions(sweep.spec.config)
    assert [decisions.judge(r.number, r.images_seen, r.distance) for r in after.judged] == [
        report.verdict for report in after.judged
    ]
    assert "which has come to" in sweep.said, "the sweep did not resume"
    # The message depends on whether the killed process was training or between two trials.
    again = ("it goes on from its last checkpoint", "it is taken up again after the others")
    assert any(f"its process died; {what}" in sweep.said for what in again), sweep.said

    result = read_sweep_result(store, sweep.name)
    assert result.status == "finished"
    assert result.best is not None
    assert trials[0].status == "finished", "the recipe itself is never stopped"
    recipe, best = trials[0].evaluation, trials[result.best].evaluation
    assert recipe is not None
    assert best is not None
    assert best.value <= recipe.value
    assert best.draw == 2
    parent = mlflow.get_run(result.tracking_run_id)
    assert parent.info.status == "FINISHED"
    children = mlflow.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{result.tracking_run_id}'"
    )
    ends = {run.info.run_name: run.info.status for run in children}
    assert ends == {t.run: "FAILED" if t.status == "diverged" else "FINISHED" for t in trials}
    assert SweepPlan.from_json(store.get(sweep_plan_key(sweep.name))).at_once == 2
    for trial in trials[:4]:
        left = TrainResult.from_json(store.get(result_key(trial.run)))
        assert left.best == trial.best
    assert not list((stack_settings.home / "ray-tune").iterdir()), "Tune's own records were kept"


def test_a_population_copies_good_members_with_changed_values(
    stack_settings: Settings, store: S3Store, digits: str
) -> None:
    sweep = Sweep(
        stack_settings,
        store,
        "population",
        ["objective.clip=log:0.01:0.3", "optimizer.critic_learning_rate=log:1e-4:1e-2"],
        scheduler="pbt",
        trials=4,
        total_kimg=1.2,
        grace_kimg=0.3,
        max_seconds=600,
        finalists=1,
    )
    sweep.run()
    trials = read_sweep_result(store, sweep.name).trials
    assert [trial.status for trial in trials] == ["finished"] * 4
    changed = [trial for trial in trials if trial.changes]
    moments = sorted(int(line.split()[1]) for trial in changed for line in trial.changes)
    assert moments == [304, 608, 912], sweep.said  # one of four members at every rung
    assert not trials[0].changes, "the recipe's own trial was changed"
    for trial in changed:
        run = read_spec(store, trial.run)
        assert run.adopt is not None
        assert run.adopt.key.startswith(f"runs/{trial.run}/adopted/")
        assert run.config.objective.clip != trial.values["objective.clip"]  # type: ignore[union-attr]
        last = TrainResult.from_json(store.get(result_key(trial.run))).last
        assert last is not None
        assert last.images_seen >= 1200
        assert trial.best is not None
        assert any(o.key == f"{trial.best.key}/checkpoint.json" for o in store.list(trial.best.key))


def test_a_trial_of_two_workers_trains_on_both(stack_settings: Settings, store: S3Store, digits: str) -> None:
    sweep = Sweep(
        stack_settings,
        store,
        "two-workers",
        ["cadence.n_critic=1,2"],
        algorithm="grid",
        workers=2,
        total_kimg=0.6,
        grace_kimg=0.3,
        max_seconds=600,
        finalists=1,
    )
    sweep.run()
    result = read_sweep_result(store, sweep.name)
    assert result.trials[0].status == "finished"
    assert len(result.trials) == 2
    for trial in result.trials:
        assert trial.curve
        assert read_spec(store, trial.run).config.compute.workers == 2
    assert "training on 2 × cpu" in sweep.said
    assert SweepPlan.from_json(store.get(sweep_plan_key(sweep.name))).at_once == 1
