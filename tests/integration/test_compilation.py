"""The loop with networks that torch's compiler has compiled, which takes it half a minute."""

from __future__ import annotations

import shutil
from functools import partial

import pytest
import torch

from ganlib.core.average import Averaging
from ganlib.core.cadence import Cadence
from ganlib.core.hardware import Acceleration
from ganlib.core.loop import Batch, Plan, train
from ganlib.core.networks import Critic, Generator
from ganlib.core.objectives import Wasserstein
from ganlib.core.state import TrainState


def pictures(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.zeros(8, dtype=torch.int64))


def curve(acceleration: Acceleration) -> list[float]:
    torch.manual_seed(0)
    optimizer = partial(torch.optim.RMSprop, lr=1e-3)
    networks = Generator(size=28, channels=1, latent_dim=6, width=4), Critic(size=28, channels=1, width=4)
    state = TrainState.fresh(*networks, optimizer, optimizer)
    for network in networks:
        acceleration.prepare(network)
    plan = Plan(Wasserstein(0.05), Cadence(2), Averaging(100), 8, 64, 6, 0, acceleration)
    return [float(progress.wasserstein) for progress in train(state, pictures, plan)]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs g++ on a CPU")
def test_compiled_networks_train_the_same() -> None:
    assert curve(Acceleration(compilation="default")) == pytest.approx(curve(Acceleration()), abs=1e-5)
