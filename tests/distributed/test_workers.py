"""Runs over one, two and three gloo processes on this machine give equal results."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from ganlib.core.augmentation import Adaptive, DiffAugment
from ganlib.core.average import Averaging
from ganlib.core.cadence import Cadence
from ganlib.core.checkpoint import dump_state
from ganlib.core.dense import DenseCritic, DenseGenerator
from ganlib.core.hardware import Acceleration
from ganlib.core.loop import Plan, train
from ganlib.core.networks import Critic, Generator
from ganlib.core.objectives import (
    R1,
    Hinge,
    NonSaturating,
    Objective,
    Wasserstein,
    WassersteinGradientPenalty,
)
from ganlib.core.residual import ResidualCritic, ResidualGenerator
from ganlib.core.state import TrainState
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import gather_bytes, gather_rows, mean_over_workers, share_of
from ganlib.data.batches import TrainingBatches
from ganlib.data.pictures import Pictures

BATCH = 12


def make_state(norm: str, dtype: torch.dtype) -> TrainState:
    torch.manual_seed(0)
    if norm == "dense":
        dense = (
            DenseGenerator(size=28, channels=1, latent_dim=6, widths=(8, 16), classes=3),
            DenseCritic(size=28, channels=1, widths=(16, 8), dropout=0.3, classes=3),
        )
        adam = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999), foreach=True)
        return TrainState.fresh(dense[0].to(dtype), dense[1].to(dtype), adam, adam)
    if norm == "residual":
        residual = (
            ResidualGenerator(size=28, channels=1, latent_dim=6, width=4),
            ResidualCritic(size=28, channels=1, width=4, norm="spectral"),
        )
        rmsprop = partial(torch.optim.RMSprop, lr=1e-3, foreach=True)
        return TrainState.fresh(residual[0].to(dtype), residual[1].to(dtype), rmsprop, rmsprop)
    generator_norm = "layer" if norm == "spectral" else norm
    generator = Generator(size=28, channels=1, latent_dim=6, width=4, norm=generator_norm).to(dtype)  # type: ignore[arg-type]
    critic = Critic(size=28, channels=1, width=4, norm=norm).to(dtype)  # type: ignore[arg-type]
    optimizer = partial(torch.optim.RMSprop, lr=1e-3, foreach=True)
    return TrainState.fresh(generator, critic, optimizer, optimizer)


def make_plan(generator_steps: int, objective: str = "wasserstein") -> Plan:
    objectives: dict[str, Objective] = {
        "wasserstein": Wasserstein(0.1),
        "wasserstein-gp": WassersteinGradientPenalty(10),
        "non-saturating": NonSaturating(0.9),
        "hinge": Hinge(),
    }
    return Plan(
        objective=objectives[objective],
        cadence=Cadence(2),
        averaging=Averaging(half_life_images=200),
        batch_size=BATCH,
        total_images=generator_steps * 2 * BATCH,
        latent_dim=6,
        seed=5,
        r1=R1(gamma=1, every=3) if objective == "hinge" else R1(),
        augmentation=DiffAugment(adaptive=Adaptive(target=0.1, ramp_images=100))
        if objective == "hinge"
        else None,
    )


def make_batches(place: WorkerPlace) -> TrainingBatches:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (50, 1, 28, 28), dtype=torch.uint8, generator=generator)
    pictures = Pictures([images], torch.arange(50) % 3)
    return TrainingBatches(
        pictures, seed=5, batch_size=BATCH, rank=place.rank, world_size=place.workers, device=place.device
    )


def checksum(state: TrainState) -> str:
    digest = hashlib.sha256()
    for network in (state.generator, state.critic, state.average):
        for parameter in network.parameters():
            digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def train_worker(rank: int, workers: int, norm: str, objective: str, steps: int, folder: Path) -> None:
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    place = WorkerPlace(rank, workers)
    state = make_state(norm, torch.float64)
    batches = make_batches(place)
    checksums = [checksum(state) for _ in train(state, batches, make_plan(steps, objective), place)]
    (folder / f"checksums-{rank}").write_text("\n".join(checksums))
    (folder / f"state-{rank}").write_bytes(dump_state(state)[0])
    if workers > 1:
        # A worker that leaves while others still use its connections may take them down with it.
        dist.barrier()
        dist.destroy_process_group()


def run(
    workers: int, norm: str, folder: Path, steps: int = 20, objective: str = "wasserstein"
) -> dict[str, Tensor]:
    folder.mkdir()
    if workers == 1:
        train_worker(0, 1, norm, objective, steps, folder)
    else:
        spawn(train_worker, (workers, norm, objective, steps, folder), nprocs=workers)
    return load_file(folder / "state-0")


def trained(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if "running_" not in k and "num_batches" not in k}


@pytest.mark.parametrize(
    ("norm", "objective"),
    [
        ("layer", "wasserstein"),
        ("group", "wasserstein-gp"),
        ("dense", "non-saturating"),
        ("spectral", "hinge"),
    ],
)
def test_any_number_of_workers_trains_the_same_parameters(norm: str, objective: str, tmp_path: Path) -> None:
    """Without batch norm, 1, 2 and 3 workers agree to 1e-8 in float64 after 20 generator steps.

    The fully connected pair is conditional, with dropout and Adam. The hinge loss comes with the R1 penalty
    and an adaptive augmentation, whose probability is part of the state.
    """
    alone = run(1, norm, tmp_path / "1", objective=objective)
    for workers in (2, 3):
        together = run(workers, norm, tmp_path / str(workers), objective=objective)
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=0, atol=1e-8, msg=f"{workers}: {name}")


def test_with_batch_norm_parameters_agree_between_ranks_and_running_statistics_differ(tmp_path: Path) -> None:
    """Each worker normalizes its own share of the batch."""
    run(2, "batch", tmp_path / "2", steps=5)
    first, second = ((tmp_path / "2" / f"checksums-{rank}").read_text().split() for rank in (0, 1))
    assert len(first) == 5
    assert first == second, "parameters differ between ranks"
    states = [load_file(tmp_path / "2" / f"state-{rank}") for rank in (0, 1)]
    parameters = [trained(state) for state in states]
    assert all(torch.equal(parameters[0][name], parameters[1][name]) for name in parameters[0])
    running = [name for name in states[0] if name.endswith("running_mean")]
    assert any(not torch.equal(states[0][name], states[1][name]) for name in running)


def warned_worker(rank: int, workers: int, norm: str, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    place, acceleration = WorkerPlace(rank, workers), Acceleration(layout="channels_last")
    state = make_state(norm, torch.float32)
    for network in (state.generator, state.critic):
        acceleration.prepare(network)
    plan = replace(make_plan(2), acceleration=acceleration)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in train(state, make_batches(place), plan, place):
            pass
    dist.destroy_process_group()


@pytest.mark.parametrize("norm", ["batch", "spectral", "residual"])
def test_with_channels_last_gradients_have_the_strides_that_data_parallel_expects(
    norm: str, tmp_path: Path
) -> None:
    """torch warns of gradients that have others, and copies them in every step."""
    spawn(warned_worker, (2, norm, tmp_path), nprocs=2)


def collective_worker(rank: int, workers: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    place = WorkerPlace(rank, workers)
    rows = torch.arange(21.0).reshape(7, 3)
    assert gather_bytes(b"\0ab" * rank, place) == [b"\0ab" * other for other in range(workers)]
    assert gather_bytes(b"", place) == [b""] * workers
    save_file(
        {
            "gathered": gather_rows(rows[share_of(7, place)], 7, place),
            "mean": mean_over_workers(torch.tensor([float(rank), 1.0])),
            "poisoned": mean_over_workers(torch.tensor([float("nan") if rank == 1 else 1.0])),
        },
        folder / f"out-{rank}",
    )
    dist.destroy_process_group()


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_gather_uneven_shares_and_a_nan_reaches_all_of_them(workers: int, tmp_path: Path) -> None:
    spawn(collective_worker, (workers, tmp_path), nprocs=workers)
    for rank in range(workers):
        out = load_file(tmp_path / f"out-{rank}")
        assert torch.equal(out["gathered"], torch.arange(21.0).reshape(7, 3))
        assert out["mean"].tolist() == [pytest.approx((workers - 1) / 2), 1.0]
        assert bool(out["poisoned"].isnan())
