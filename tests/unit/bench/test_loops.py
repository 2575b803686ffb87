"""The two sides of the comparison do the same work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ganlib.bench import batches, benchmark_data, fixed_cost, plain, quality, rates
from ganlib.bench.loop import peak
from ganlib.core.loop import train
from ganlib.core.sampling import latents
from ganlib.core.steps import WorkerPlace, to_float
from ganlib.data.batches import TrainingBatches
from ganlib.data.cache import LocalDataset
from ganlib.settings import Settings
from ganlib.training.build import build_plan, fresh_state

COUNT = 160


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def dataset(settings: Settings) -> LocalDataset:
    return benchmark_data.pictures(settings, COUNT)


def sides(state_generator: nn.Module, state_critic: nn.Module, made: plain.Plain) -> None:
    """Give the plain networks the weights of ours."""
    for ours, theirs in ((state_generator, made.generator), (state_critic, made.critic)):
        for source, target in zip(ours.parameters(), theirs.parameters(), strict=True):
            target.data.copy_(source.data)


@pytest.mark.slow
def test_a_generator_step_of_both_loops_gives_the_same_parameters(dataset: LocalDataset) -> None:
    """Five critic steps and one of the generator, on the same pictures and noise, in float64.

    In fp32, RMSprop's first steps are as long for a gradient that is but rounding as for any other.
    """
    run = rates.config(width=8)
    plainly = {"precision": "fp32", "layout": "contiguous"}
    run = run.model_copy(update={"compute": run.compute.model_copy(update=plainly)})
    device, place = torch.device("cpu"), WorkerPlace()
    state, plan = fresh_state(run, dataset.version, device), build_plan(run, device)
    made = plain.Plain.fresh(width=8)
    sides(state.generator, state.critic, made)
    for network in (state.generator, state.critic, state.average, made.generator, made.critic):
        network.double()
    before = [parameter.detach().clone() for parameter in made.generator.parameters()]
    given = TrainingBatches(
        dataset.load("train"), seed=run.seed, batch_size=64, rank=0, world_size=1, device=device
    )

    def noise(stream: str, step: int) -> Tensor:
        drawn = latents(run.seed, stream, step, 64, plain.LATENT)  # type: ignore[arg-type]
        return drawn[:, :, None, None].double()

    next(train(state, given, plan, place))
    for step in range(plain.N_CRITIC):
        made.critic_step(to_float(given(step).images, device, torch.float64), noise("critic", step))
    made.generator_step(noise("generator", 0))

    assert state.critic_steps == plain.N_CRITIC
    pairs = [(state.generator, made.generator), (state.critic, made.critic)]
    for ours, theirs in pairs:
        for mine, his in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, his, rtol=0, atol=1e-8)
        for mine, his in zip(ours.buffers(), theirs.buffers(), strict=True):
            torch.testing.assert_close(mine, his, rtol=1e-8, atol=1e-8)
    moved = [
        (new - old).detach().abs().max() for new, old in zip(made.generator.parameters(), before, strict=True)
    ]
    assert min(moved) > 1e-5, "the step is larger than what is tolerated"
    assert max(float(p.detach().abs().max()) for p in made.critic.parameters()) <= plain.CLIP
    assert all(p.requires_grad for p in made.critic.parameters())


def test_both_sides_have_the_same_networks(dataset: LocalDataset) -> None:
    state = fresh_state(rates.config(), dataset.version, torch.device("cpu"))
    for ours, theirs in ((state.generator, plain.generator()), (state.critic, plain.critic())):
        assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


def test_both_sides_see_the_same_pictures(settings: Settings, dataset: LocalDataset) -> None:
    folder = benchmark_data.folder_of(settings, COUNT)
    theirs = plain.loader(folder).dataset
    count = dataset.version.count("train")
    assert len(theirs) == count  # type: ignore[arg-type]
    assert count + dataset.version.count("held_out") == COUNT
    ours = to_float(dataset.load("train").images, torch.device("cpu"))
    mine = sorted(float(picture.double().sum()) for picture in ours)
    his = sorted(float(theirs[index][0].double().sum()) for index in range(count))
    assert mine == pytest.approx(his, abs=0.01)


def test_pictures_are_made_once_and_alike(settings: Settings, dataset: LocalDataset, tmp_path: Path) -> None:
    folder = benchmark_data.folder_of(settings, COUNT)
    paths = sorted(path.relative_to(folder) for path in folder.glob("*/*"))
    assert len(paths) == COUNT
    benchmark_data.draw(tmp_path / "again", COUNT)
    assert all((folder / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in paths)
    written = [path.stat().st_mtime_ns for path in folder.glob("*/*")]
    assert benchmark_data.pictures(settings, COUNT).version == dataset.version
    assert [path.stat().st_mtime_ns for path in folder.glob("*/*")] == written


def test_a_cache_that_was_emptied_is_filled_again(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    made = benchmark_data.pictures(settings, 20)
    for shard in made.version.shards:
        (made.folder / shard.path).unlink()
    assert len(benchmark_data.pictures(settings, 20).load("train")) == made.version.count("train") > 0


def test_batches_of_both_kinds_are_alike(settings: Settings, dataset: LocalDataset) -> None:
    (ours,) = islice(batches.from_shards(dataset), 1)
    assert ours.shape == (64, 3, 64, 64)
    assert ours.dtype == torch.float32
    assert -1 <= float(ours.min()) < float(ours.max()) <= 1


def test_a_rate_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 101.0, 102.0, 104.0])
    monkeypatch.setattr("ganlib.bench.rates.time.perf_counter", lambda: next(now))
    progress = iter([320, 640, 960, 1280, 1600, 1920])
    assert rates.stretch(progress, 3.0) == (960, 4.0, 0.0)


def test_a_loop_that_ends_too_soon_is_no_measurement() -> None:
    with pytest.raises(RuntimeError, match="before the time was over"):
        rates.stretch(iter([64, 128, 192]), 1000.0)


def test_waiting_is_measured(dataset: LocalDataset) -> None:
    rate = rates.measure(rates.config(width=4), dataset, WorkerPlace(), 0.01)
    assert rate.images_per_second > 0
    assert 0 < rate.waiting_share < 1


def test_arithmetic_is_counted_as_on_paper() -> None:
    """Multiplications and additions of all convolutions, by hand, for width 8.

    A critic step passes the generator forward once, the critic forward and back twice; a back pass
    costs two forward ones, but for the first layer, whose pictures need no gradient. A generator
    step passes the critic forward and back for the pictures' sake alone.
    """

    def layer(wide: int, deep: int, side: int) -> int:
        return 2 * wide * deep * 16 * side * side

    first = layer(3, 8, 32)
    critic = first + layer(8, 16, 16) + layer(16, 32, 8) + layer(32, 64, 4) + layer(64, 1, 1)
    start = layer(100, 64, 1)
    generator = start + layer(64, 32, 4) + layer(32, 16, 8) + layer(16, 8, 16) + layer(8, 3, 32)
    critic_step = generator + 2 * (3 * critic - first)
    generator_step = 3 * generator - start + 2 * critic
    assert plain.flop_per_image(8) == pytest.approx(critic_step + generator_step / 5, rel=0.01)


def test_the_peak_is_a_rate() -> None:
    measured = peak(0.01, side=64)
    assert measured.value > 1e6


def test_the_fixed_cost_is_of_a_run_without_a_step(dataset: LocalDataset) -> None:
    run = fixed_cost.config()
    assert build_plan(run, torch.device("cpu")).total_images == 0
    assert run.compute.workers == fixed_cost.WORKERS


def test_quality_differs_in_settings_and_not_in_time() -> None:
    recipe, reference = quality.config("recipe", 5.0), quality.config("reference", 5.0)
    assert recipe.budget.max_seconds == reference.budget.max_seconds == 5.0
    assert recipe.compute == reference.compute
    assert recipe.dataset == reference.dataset
    assert recipe.evaluation == reference.evaluation
    assert reference.objective.clip == 0.01  # type: ignore[union-attr]
    assert reference.cadence.bursts


@pytest.fixture(autouse=True)
def _same_denormals() -> Iterator[None]:
    """What a worker sets for its process must not outlive a test."""
    yield
    torch.set_flush_denormal(False)
