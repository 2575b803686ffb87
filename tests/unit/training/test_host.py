"""The host of the loop in one process: real networks and checkpoints, fakes at the edges."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganlib.cluster.lines import Say, StageProgress
from ganlib.cluster.metrics import FRECHET_DISTANCE, IMAGES_LOST, IMAGES_SEEN, METRICS
from ganlib.config.run import RunConfig, load_config
from ganlib.core.loop import Progress, train
from ganlib.core.sampling import calibrate_batch_norm, generate
from ganlib.core.state import TrainState
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset, pull
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.errors import DeadEnd, NonFiniteLoss
from ganlib.fakes.stores import MemoryMetrics, MemoryStore, MemoryTracker
from ganlib.ports import RunStart
from ganlib.quality.features import Extractor
from ganlib.quality.reference import reference_over_workers
from ganlib.records import CurvePoint, TrainResult
from ganlib.training.build import fresh_state
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.frames import find_frames
from ganlib.training.host import Every, Host

TINY: dict[str, Any] = {
    "network.generator_width": 4,
    "network.critic_width": 4,
    "network.latent_dim": 4,
    "batch_size": 8,
    "cadence.n_critic": 3,
    "budget.total_kimg": 0.4,
    "budget.max_seconds": None,
    "evaluation.every_kimg": 0.2,
    "evaluation.curve_samples": 16,
    "evaluation.reference_images": 16,
    "checkpoint.every_kimg": 0.1,
    "compute.workers": 1,
}


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def dataset(store: MemoryStore, tmp_path_factory: pytest.TempPathFactory) -> LocalDataset:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index in range(200):
        Image.fromarray(random.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / f"{index}.png")
    scratch = tmp_path_factory.mktemp("scratch")
    add_dataset(store, "noise", str(folder), open_store=lambda _: store, scratch=scratch)
    version = prepare(store, "noise", Preparation(size=28, channels=1), scratch=scratch)
    return pull(store, version, tmp_path_factory.mktemp("cache"))


class Projection:
    """Features of eight numbers, in no time: what is tested here is the host, not the distance."""

    name = "projection"
    metric = "fd_projection"
    dimensions = 8
    weights_sha256 = "0" * 64
    resizing = "none"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(28 * 28, self.dimensions, generator=generator) / 28

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1).float() @ self.weights / 255


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Projection()


class Runner:
    """Runs a host against one store, again and again."""

    def __init__(self, store: MemoryStore, dataset: LocalDataset, extractor: Extractor) -> None:
        self.store, self.dataset, self.extractor = store, dataset, extractor
        self.tracker = MemoryTracker()
        self.metrics = MemoryMetrics()
        self.lines: list[str] = []
        self.told: list[StageProgress] = []

    def say(self, said: str | StageProgress) -> None:
        if isinstance(said, StageProgress):
            self.told.append(said)
        else:
            self.lines.append(said)

    def run(self, name: str, config: RunConfig, stop_at: int | None = None) -> TrainResult:
        def emit(said: str | StageProgress) -> None:
            self.say(said)
            if stop_at is not None and str(said).startswith(f"evaluated at {stop_at} images"):
                raise KeyboardInterrupt

        with Checkpoints(self.store, name, config, ("0", "0")) as checkpoints:
            return self.host(name, config, checkpoints, emit).train()

    def host(self, name: str, config: RunConfig, checkpoints: Checkpoints, emit: Say) -> Host:
        place = WorkerPlace()
        return Host(
            run=name,
            tracking_run_id=self.tracker.start(
                RunStart("noise", name, {}, {}, "noise", "0" * 64, "s3://b/k")
            ),
            config=config,
            dataset=self.dataset,
            reference=reference_over_workers(self.store, self.dataset, self.extractor, 16, place).statistics,
            extractor=self.extractor,
            checkpoints=checkpoints,
            tracker=self.tracker,
            metrics=self.metrics,
            place=place,
            emit=emit,
        )

    def rounds(self, name: str, config: RunConfig, upto: int | None = None) -> list[CurvePoint]:
        """A run's evaluations; ended between two after ``upto`` of them, as a scheduler does it."""
        with Checkpoints(self.store, name, config, ("0", "0")) as checkpoints:
            host = self.host(name, config, checkpoints, self.say)
            host.look_at_untrained = False
            return list(islice(host.rounds(), upto))


@pytest.fixture
def runner(store: MemoryStore, dataset: LocalDataset, extractor: Extractor) -> Runner:
    return Runner(store, dataset, extractor)


def test_a_run_can_be_ended_between_two_evaluations_and_taken_up_there(runner: Runner) -> None:
    settings = config(**{"evaluation.every_kimg": 0.1, "checkpoint.every_kimg": 100})
    whole = runner.rounds("rounds-whole", settings)
    assert [point.images_seen for point in whole] == [120, 216, 312, 408]
    first = runner.rounds("rounds-broken", settings, upto=2)
    rest = runner.rounds("rounds-broken", settings)
    # The evaluation that it is taken up from is told again: whoever asked before may not have heard it.
    assert [point.images_seen for point in rest] == [216, 312, 408]
    assert [point.distance for point in (*first, *rest[1:])] == [point.distance for point in whole]
    again = runner.rounds("rounds-broken", settings)
    assert [point.images_seen for point in again] == [408]


def config(**overrides: Any) -> RunConfig:
    return load_config("digits-wgan", {**TINY, **overrides})


def test_a_run_leaves_curves_pictures_and_its_best_checkpoint(runner: Runner) -> None:
    result = runner.run("whole", config())
    assert result.status == "finished"
    assert result.images_seen == 408, "the first generator step of 3 × 8 images at or after 400"
    assert result.last is not None
    assert result.best is not None
    assert result.last.images_seen == 408
    [run] = runner.tracker.runs.values()
    curve = run.metrics["fd_projection_curve"]
    assert [step for step, _ in curve] == [0, 216, 408]
    assert set(runner.metrics.told) == set(METRICS)
    assert runner.metrics.told[FRECHET_DISTANCE] == [value for _, value in curve]
    assert runner.metrics.told[IMAGES_SEEN] == [0, 24, 408], "at the start, the first step, and the end"
    assert result.best.images_seen == min((value, step) for step, value in curve if step)[1]
    assert [step for key, step in sorted(run.images) if key == "training"] == [0, 216, 408]
    assert list(find_frames(runner.store, "whole")) == [0, 216, 408]
    assert min(result.evaluating_seconds, result.saving_seconds) > 0
    whole = result.seconds + result.evaluating_seconds + result.saving_seconds
    shares = {name: run.metrics[f"{name}_share"] for name in ("evaluating", "saving")}
    assert shares["evaluating"] == [(408, pytest.approx(result.evaluating_seconds / whole))]
    assert shares["saving"] == [(408, pytest.approx(result.saving_seconds / whole))]
    ended = r"saw 408 of 400 images; \d+ s in the loop, and of the whole time \d+\.\d % evaluating, "
    assert re.match(ended, runner.lines[-1])


KINDS: dict[str, dict[str, Any]] = {
    "gp": {"objective.kind": "wasserstein-gp", "network.critic_norm": "layer", "optimizer.kind": "adam"},
    "hinge": {
        "objective.kind": "hinge",
        "network.critic_norm": "spectral",
        "optimizer.kind": "adam",
        "r1.gamma": 1,
        "r1.every": 4,
        "augmentation.kind": "diffaugment",
        "augmentation.adaptive": True,
        "augmentation.ramp_kimg": 0.5,
    },
    "vanilla": {"objective.kind": "non-saturating", "network.kind": "dense", "network.dropout": 0.3},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_runs_of_every_kind_resume_to_the_bit(kind: str, runner: Runner, store: MemoryStore) -> None:
    tiny = {name: value for name, value in TINY.items() if kind != "vanilla" or not name.endswith("_width")}
    settings = load_config("digits-wgan", {**tiny, **KINDS[kind], "evaluation.every_kimg": 0.1})
    whole = runner.run(f"{kind}-whole", settings)
    with pytest.raises(KeyboardInterrupt):
        runner.run(f"{kind}-broken", settings, stop_at=216)
    result = runner.run(f"{kind}-broken", settings)
    assert result.last is not None
    assert whole.last is not None
    assert result.last.sha256 == whole.last.sha256
    curves = [run.metrics.get("augmentation_probability", []) for run in runner.tracker.runs.values()]
    assert [bool(curve) for curve in curves] == [kind == "hinge"] * len(curves)
    assert all(0 <= value <= 1 for curve in curves for _, value in curve)


@pytest.mark.slow
def test_a_conditional_run_learns_what_its_labels_mean(
    store: MemoryStore, extractor: Extractor, tmp_path: Path
) -> None:
    """Black and white squares by name: asked for one class, it makes that one."""
    for name, shade in (("black", 0), ("white", 255)):
        (tmp_path / "raw" / name).mkdir(parents=True)
        for index in range(40):
            picture = np.full((28, 28), abs(shade - index), np.uint8)
            Image.fromarray(picture).save(tmp_path / "raw" / name / f"{index}.png")
    add_dataset(store, "shades", str(tmp_path / "raw"), open_store=lambda _: store, scratch=tmp_path / "s")
    version = prepare(store, "shades", Preparation(size=28, channels=1), scratch=tmp_path / "s")
    assert version.classes == ("black", "white")
    settings = config(
        **{
            "network.conditional": True,
            "network.critic_norm": "none",
            "budget.total_kimg": 12,
            "evaluation.every_kimg": 100,
            "checkpoint.every_kimg": 100,
        }
    )
    runner = Runner(store, pull(store, version, tmp_path / "cache"), extractor)
    result = runner.run("shades", settings)
    assert result.last is not None
    state = fresh_state(settings, version, torch.device("cpu"))
    with Checkpoints(store, "shades", settings, ("0", "0")) as checkpoints:
        assert checkpoints.resume(state) is not None
    calibrate_batch_norm(state.average, 0)
    noise = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    black, white = (float(generate(state.average, noise, torch.full((16,), n)).mean()) for n in (0, 1))
    assert black < -0.3 < 0.3 < white


def test_an_interrupted_run_ends_with_the_bytes_of_one_that_was_not(
    runner: Runner, store: MemoryStore
) -> None:
    settings = config(**{"evaluation.every_kimg": 0.1})
    runner.run("unbroken", settings)
    with pytest.raises(KeyboardInterrupt):
        runner.run("broken", settings, stop_at=312)
    result = runner.run("broken", settings)
    assert result.last is not None
    tensors = f"{result.last.key}/state.safetensors"
    assert store.get(tensors) == store.get(tensors.replace("broken", "unbroken"))
    assert sum(line.startswith("evaluated at 0 images") for line in runner.lines) == 2, "once for each run"


def test_a_finished_run_that_is_run_again_trains_nothing(runner: Runner) -> None:
    first = runner.run("twice", config())
    runner.lines.clear()
    again = runner.run("twice", config())
    assert (again.best, again.last) == (first.best, first.last)
    assert [line.split()[0] for line in runner.lines] == ["resumed"]


@pytest.mark.parametrize("network", ["critic", "generator"])
def test_a_weight_that_is_no_number_stops_the_run_and_keeps_the_last_good_checkpoint(
    network: str, runner: Runner, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(state: TrainState, *arguments: Any) -> Iterator[Progress]:
        for progress in train(state, *arguments):
            if state.generator_steps == 13:
                next(getattr(state, network).parameters()).data.fill_(math.nan)
            yield progress

    name = f"poisoned-{network}"
    monkeypatch.setattr("ganlib.training.host.train", faulty)
    with pytest.raises(NonFiniteLoss, match="became nan after 312 images.*last good checkpoint kept"):
        runner.run(name, config())
    kept = [o.key for o in store.list(f"runs/{name}/checkpoints/") if o.key.endswith(".json")]
    assert max(kept) == f"runs/{name}/checkpoints/000000000216/checkpoint.json"


def watched(**rules: Any) -> RunConfig:
    """A critic of which much sits at its bounds at once: steps of 1 in a room of ±0.1."""
    return config(
        **{"objective.clip": 0.1, "optimizer.critic_learning_rate": 1.0},
        **{f"watch.{rule}": value for rule, value in rules.items()},
    )


def test_a_critic_at_its_bounds_stops_the_run_before_that_state_is_saved(
    runner: Runner, store: MemoryStore
) -> None:
    with pytest.raises(DeadEnd, match=r"after 120 images .* sit at the clip bounds ±0.1 .*objective\.clip"):
        runner.run("stuck", watched(critic_at_bounds="stop", critic_at_bounds_share=0.6))
    assert not [o.key for o in store.list("runs/stuck/checkpoints/")]


def test_a_warning_is_in_the_log_and_in_the_run_and_ends_nothing(runner: Runner) -> None:
    result = runner.run("warned", watched(critic_at_bounds="warn", critic_at_bounds_share=0.6))
    assert result.status == "finished"
    assert any(line.startswith("warning: after 120 images") for line in runner.lines)
    [run] = runner.tracker.runs.values()
    assert "warnings/000000000120-watch.critic_at_bounds.txt" in run.artifacts


def test_an_interrupted_run_says_what_was_lost(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganlib.training.host.REPORT_SECONDS", 0.0)
    settings = config(**{"evaluation.every_kimg": 0.3, "checkpoint.every_kimg": 0.2})
    with pytest.raises(KeyboardInterrupt):
        # Between the checkpoint at 216 images and the evaluation at 312: nothing after it is saved.
        runner.run("lost", settings, stop_at=312)
    runner.lines.clear()
    result = runner.run("lost", settings)
    assert runner.lines[0] == "resumed runs/lost/checkpoints/000000000216 at 216 images, 96 were lost"
    assert result.images_lost == 96
    assert runner.metrics.told[IMAGES_LOST] == [0, 96]


def test_seconds_end_a_run_too(runner: Runner) -> None:
    result = runner.run("timed", config(**{"budget.total_kimg": 1000, "budget.max_seconds": 0.3}))
    assert 0.3 <= result.seconds < 30
    assert result.images_seen < 1_000_000
    assert result.last is not None
    assert result.last.images_seen == result.images_seen


def test_progress_is_told_with_the_budget_and_the_last_distance(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganlib.training.host.REPORT_SECONDS", 0.0)
    runner.run("lines", config())
    told = runner.told
    assert [progress.images for progress in told] == list(range(24, 409, 24))
    assert {progress.total_images for progress in told} == {400}
    assert [progress.share for progress in told][-1] == 1
    assert told[0].distance is not None
    assert told[0].distance > 0


def test_every_counts_multiples_once() -> None:
    every = Every(0.1, images_seen=250)
    assert [every.due(images) for images in (280, 300, 310, 399, 520, 560, 600)] == [
        False, True, False, False, True, False, True,
    ]  # fmt: skip


def test_a_budget_that_will_be_exceeded_is_told_at_the_start_and_the_result_says_by_how_much(
    runner: Runner,
) -> None:
    many = {**TINY, "cadence.n_critic": 100, "budget.total_kimg": 0.5}
    result = runner.run("many", load_config("digits-wgan", many))
    assert (result.images_seen, result.images_asked) == (800, 500)
    [told] = [line for line in runner.lines if "budget.total_kimg" in line]
    assert told.startswith("warning: the run can see up to 0.8 kimg, 60% above budget.total_kimg = 0.5")
    assert "100 critic steps of 8 pictures" in told
    assert "lower cadence.n_critic" in told
    runner.lines.clear()
    assert runner.run("few", load_config("digits-wgan", TINY)).images_seen == 408
    assert not any("budget.total_kimg" in line for line in runner.lines), "two percent are not worth a line"


def test_bursts_are_named_as_what_exceeds_the_budget(runner: Runner) -> None:
    bursts = load_config("digits-wgan", {**TINY, "cadence.bursts": True})
    assert runner.run("bursts", bursts).images_seen == 800
    assert "turn cadence.bursts off" in next(line for line in runner.lines if line.startswith("warning: the"))
