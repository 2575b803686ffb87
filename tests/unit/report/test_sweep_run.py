from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch

from ganlib.config.run import RunConfig, load_config
from ganlib.errors import CheckpointRefused, ServiceError
from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.ports import RunStart
from ganlib.records import CheckpointRef, CurvePoint, DatasetVersion, Evaluation, Measures, Shard
from ganlib.report import sweep_run
from ganlib.report.samples import TrialSamples
from ganlib.report.sweep_run import SampleMaker, SweepReport, clock, metrics, report_sweep
from ganlib.sweep.records import SweepResult, Trial, TrialStatus
from ganlib.training.build import fresh_state
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.spec import RunSpec, write_spec

SHARDS = (
    Shard(path="shards/a.safetensors", split="train", images=8, bytes=1, sha256="0" * 64),
    Shard(path="shards/b.safetensors", split="held_out", images=8, bytes=1, sha256="0" * 64),
)
VERSION = DatasetVersion(
    name="digits",
    digest=DatasetVersion.digest_for((1, 28, 28), (), SHARDS),
    image_shape=(1, 28, 28),
    classes=(),
    shards=SHARDS,
)


def config(**changes: object) -> RunConfig:
    small = {"network.generator_width": 4, "network.critic_width": 4, "network.latent_dim": 8}
    return load_config("digits-wgan", {**small, **changes})


def trial(number: int, *distances: float, status: TrialStatus = "finished") -> Trial:
    points = (CurvePoint(images_seen=1000 * n, distance=d, seconds=1.0) for n, d in enumerate(distances))
    return Trial(
        number=number, run=f"run-{number}", values={"seed": number}, status=status, curve=tuple(points)
    )


def sweep_of(*trials: Trial, run: str = "r", status: str = "running") -> SweepResult:
    return SweepResult(
        sweep="a-sweep",
        recipe="digits-wgan",
        tracking_run_id=run,
        dataset_name="digits",
        dataset_digest=VERSION.digest,
        metric="fd_efficientnet_lite0_curve",
        status=status,  # type: ignore[arg-type]
        trials=trials,
    )


def evaluated(of: Trial, value: float) -> Trial:
    best = of.best or CheckpointRef(
        run=of.run, key="runs/r/checkpoints/1", images_seen=1, generator_steps=1, sha256="0" * 64
    )
    found = Evaluation(
        run=of.run,
        checkpoint=best,
        dataset_digest=VERSION.digest,
        measures=Measures(metric="fd_efficientnet_lite0", samples=2000, value=value),
        draw=2,
        value_untrained=850.0,
        seconds=1.0,
    )
    return of.model_copy(update={"evaluation": found})


def started(tracker: MemoryTracker) -> str:
    return tracker.start(RunStart("digits-wgan", "a-sweep", {}, {}, "digits", "0" * 64, "s3://b/k"))


def test_later_reports_supersede_earlier_ones() -> None:
    tracker = MemoryTracker()
    run = started(tracker)
    first = sweep_of(trial(0, 850.0, 400.0), trial(1, 850.0, status="running"), run=run)
    report_sweep(tracker, first)
    second = sweep_of(trial(0, 850.0, 400.0), trial(1, 850.0, 300.0), run=run)
    report_sweep(tracker, second)
    kept = tracker.runs[run]
    assert sorted(kept.images) == sorted(
        (f"sweep_{name}", step)
        for name in ("heat_map", "parallel_coordinates", "curves")
        for step in (1000, 2000)
    )
    assert kept.metrics["best_distance"] == [(1000, 400.0), (2000, 300.0)]
    assert kept.metrics["recipe_distance"] == [(1000, 400.0), (2000, 400.0)]
    assert kept.metrics["trials_running"] == [(1000, 1.0), (2000, 0.0)]
    assert b"300" in kept.artifacts["sweep/trials.md"]
    assert kept.artifacts["sweep/heat_map.png"].startswith(b"\x89PNG")
    assert sorted(kept.artifacts) == [
        f"sweep/{name}"
        for name in (
            "curves.png",
            "heat_map.png",
            "parallel_coordinates.png",
            "trials.csv",
            "trials.json",
            "trials.md",
        )
    ]


def test_the_clock_moves_with_the_final_and_the_end() -> None:
    running = sweep_of(trial(0, 850.0, 400.0), trial(1, 850.0, 300.0))
    final = running.model_copy(update={"trials": (running.trials[0], evaluated(running.trials[1], 310.0))})
    ended = final.model_copy(update={"status": "finished", "best": 1})
    assert clock(running) < clock(final) < clock(ended)


def test_distances_with_fresh_latents_are_metrics_of_their_own() -> None:
    recipe, other = evaluated(trial(0, 400.0), 410.0), evaluated(trial(1, 300.0), 330.0)
    values = metrics(sweep_of(recipe, other, trial(2, status="died")).model_copy(update={"best": 1}))
    assert values["best_distance"] == 300.0
    assert values["best_final_distance"] == 330.0
    assert values["recipe_final_distance"] == 410.0
    assert (values["trials_finished"], values["trials_died"]) == (2.0, 1.0)
    assert metrics(sweep_of()) == {f"trials_{s}": 0.0 for s in sweep_run.STATUSES}


@pytest.fixture
def store() -> MemoryStore:
    """Six trained trials with a checkpoint each, whose seeds differ."""
    store = MemoryStore()
    store.put(f"{VERSION.prefix}/manifest.json", VERSION.to_json().encode())
    for number in range(6):
        spec = RunSpec(
            run=f"run-{number}",
            config=config(seed=number),
            dataset_name=VERSION.name,
            dataset_digest=VERSION.digest,
            code_version="0",
        )
        write_spec(store, spec)
        state = fresh_state(spec.config, VERSION, torch.device("cpu"))
        state.images_seen = 1000
        with Checkpoints(store, spec.run, spec.config, ("0", "0")) as checkpoints:
            checkpoints.save(state, 1, 300.0 - number)
    return store


def trained(store: MemoryStore, number: int, status: TrialStatus = "finished") -> Trial:
    with Checkpoints(store, f"run-{number}", config(seed=number), ("0", "0")) as checkpoints:
        checkpoints.resume(fresh_state(config(seed=number), VERSION, torch.device("cpu")))
        best = checkpoints.best()
    return trial(number, 850.0, 300.0 - number, status=status).model_copy(update={"best": best})


def test_the_best_five_make_pictures_of_the_same_latents(store: MemoryStore) -> None:
    result = sweep_of(*(trained(store, number) for number in range(6)))
    make = SampleMaker(store)
    top = make(result)
    assert [one.number for one in top] == [5, 4, 3, 2, 1]
    assert all(one.pictures.shape == (64, 1, 28, 28) for one in top)
    assert all(one.pictures.dtype == torch.uint8 for one in top)
    assert not torch.equal(top[0].pictures, top[1].pictures)
    again = make(result)
    assert all(one is other for one, other in zip(top, again, strict=True)), "nothing is made twice"
    # The same weights in a run of another seed: the same latents, and so the same pictures but for the batch
    # norm statistics, which are measured with the run's own.
    twin = result.trials[5].model_copy(update={"number": 6, "run": "run-4"})
    [alone] = SampleMaker(store)(sweep_of(result.trials[0], twin))[:1]
    assert (alone.pictures.float() - top[0].pictures.float()).abs().mean() < 3
    assert (alone.pictures.float() - top[1].pictures.float()).abs().mean() > 6


def test_a_checkpoint_that_was_replaced_is_left_out_while_its_trial_runs(store: MemoryStore) -> None:
    gone, there = trained(store, 1, "running"), trained(store, 0)
    assert gone.best is not None
    store.delete(f"{gone.best.key}/state.safetensors")
    assert [one.number for one in SampleMaker(store)(sweep_of(there, gone))] == [0]
    with pytest.raises(CheckpointRefused):
        SampleMaker(store)(sweep_of(there, gone.model_copy(update={"status": "stopped"})))


def test_reports_are_made_beside_the_sweep_and_not_too_often() -> None:
    tracker, may_go_on, began = MemoryTracker(), threading.Event(), threading.Event()
    result = sweep_of(trial(0, 850.0, 400.0), run=started(tracker))

    def top(_: SweepResult) -> Sequence[TrialSamples]:
        began.set()
        assert may_go_on.wait(60)
        return ()

    report = SweepReport(tracker, top)
    assert report.update(result)
    assert began.wait(60)
    assert not report.update(result), "one is under way"
    may_go_on.set()
    report.finish(result.model_copy(update={"status": "finished"}))
    assert [step for step, _ in tracker.runs[result.tracking_run_id].metrics["best_distance"]] == [1000, 1001]


def test_a_report_that_failed_is_told_by_the_next_call() -> None:
    def refuse(_: SweepResult) -> Sequence[TrialSamples]:
        raise ServiceError("s3", "http://x", "GANLIB_S3_ENDPOINT_URL", "gone")

    report, result = SweepReport(MemoryTracker(), refuse), sweep_of(trial(0, 400.0))
    report.update(result)
    with pytest.raises(ServiceError, match="gone"):
        report.finish(result)
