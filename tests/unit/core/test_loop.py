from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from oracle import algorithm_1
from torch import Tensor

from ganlib.core.average import Averaging
from ganlib.core.cadence import Cadence
from ganlib.core.checkpoint import dump_state, restore_network, restore_state
from ganlib.core.dense import DenseCritic, DenseGenerator
from ganlib.core.hardware import Acceleration
from ganlib.core.learning_rates import Schedule
from ganlib.core.loop import Batch, Plan, train
from ganlib.core.networks import Critic, Generator
from ganlib.core.objectives import NonSaturating, Wasserstein
from ganlib.core.sampling import latents
from ganlib.core.state import TrainState
from ganlib.core.steps import to_float
from ganlib.errors import CheckpointRefused

BATCH, LATENT, SEED, CLIP = 8, 6, 3, 0.05


def pictures(step: int) -> Batch:
    generator = torch.Generator().manual_seed(step)
    images = torch.randint(0, 256, (BATCH, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return Batch(images, torch.arange(BATCH) % 3)


def make_state(dtype: torch.dtype = torch.float32, seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    generator = Generator(size=28, channels=1, latent_dim=LATENT, width=4).to(dtype)
    critic = Critic(size=28, channels=1, width=4).to(dtype)
    optimizer = partial(torch.optim.RMSprop, lr=1e-3, foreach=True)
    return TrainState.fresh(generator, critic, optimizer, optimizer)


def make_plan(steps: int, n_critic: int = 5, *, bursts: bool = False) -> Plan:
    return Plan(
        objective=Wasserstein(CLIP),
        cadence=Cadence(n_critic, bursts=bursts, burst_first=2, burst_every=4, burst_length=7),
        averaging=Averaging(half_life_images=100),
        batch_size=BATCH,
        total_images=steps * n_critic * BATCH,
        latent_dim=LATENT,
        seed=SEED,
    )


def parameters(state: TrainState) -> list[Tensor]:
    return [*state.generator.parameters(), *state.critic.parameters()]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 2e-4)])
def test_the_loop_is_algorithm_1(dtype: torch.dtype, tolerance: float) -> None:
    """15 generator steps of 5 critic steps each, from equal weights, pictures and noise."""
    state = make_state(dtype)
    generator, critic = copy.deepcopy(state.generator), copy.deepcopy(state.critic)
    curve = []
    for progress in train(state, pictures, make_plan(15)):
        curve.append(float(progress.wasserstein))
    expected = algorithm_1(
        generator,
        critic,
        real=lambda step: to_float(pictures(step).images, torch.device("cpu"), dtype),
        critic_noise=lambda step: latents(SEED, "critic", step, BATCH, LATENT).to(dtype),
        generator_noise=lambda step: latents(SEED, "generator", step, BATCH, LATENT).to(dtype),
        learning_rate=1e-3,
        clip=CLIP,
        n_critic=5,
        generator_steps=15,
    )
    assert state.generator_steps == 15
    torch.testing.assert_close(curve, expected[4::5], rtol=0, atol=tolerance)
    for ours, theirs in zip(parameters(state), [*generator.parameters(), *critic.parameters()], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)


def test_every_critic_parameter_is_clipped_after_every_step() -> None:
    state = make_state()
    assert max(float(p.detach().abs().max()) for p in state.critic.parameters()) > CLIP
    for _ in train(state, pictures, make_plan(3, n_critic=1)):
        assert all(bool((p.detach().abs() <= CLIP).all()) for p in state.critic.parameters())


def test_the_critic_learns_to_tell_real_from_generated() -> None:
    state = make_state()
    curve = [float(p.wasserstein) for p in train(state, lambda _: pictures(0), make_plan(30, n_critic=3))]
    assert max(curve) > 4 * abs(curve[0])


def dense_state(seed: int) -> TrainState:
    torch.manual_seed(seed)
    generator = DenseGenerator(size=28, channels=1, latent_dim=LATENT, widths=(8, 16), classes=3)
    critic = DenseCritic(size=28, channels=1, widths=(16, 8), dropout=0.3, classes=3)
    adam = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999), foreach=True)
    return TrainState.fresh(generator, critic, adam, adam)


@pytest.mark.parametrize("stop_after", [1, 4])
def test_a_resumed_run_with_dropout_adam_labels_and_decay_gives_the_same_bits(stop_after: int) -> None:
    plan = replace(
        make_plan(6, n_critic=2),
        objective=NonSaturating(),
        schedule=Schedule(decay_from_images=2 * BATCH, decay_to_images=12 * BATCH),
    )
    whole, first, second = dense_state(0), dense_state(0), dense_state(99)
    losses = [float(p.critic_loss) for p in train(whole, pictures, plan)]
    before = [float(p.critic_loss) for p in islice(train(first, pictures, plan), stop_after)]
    restore_state(second, *dump_state(first))
    after = [float(p.critic_loss) for p in train(second, pictures, plan)]
    assert [*before, *after] == losses
    assert dump_state(second)[0] == dump_state(whole)[0]


def test_learning_rates_decay_linearly_to_zero() -> None:
    state = make_state()
    schedule = Schedule(decay_from_images=2 * BATCH, decay_to_images=6 * BATCH)
    rates = []
    for _ in train(state, pictures, replace(make_plan(6, n_critic=1), schedule=schedule)):
        rates.append(state.critic_optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert [schedule.factor(n * BATCH) for n in (6, 7)] == [0, 0]
    assert Schedule().factor(10**12) == 1


def curve(acceleration: Acceleration) -> list[float]:
    state, plan = make_state(), replace(make_plan(4, n_critic=2), acceleration=acceleration)
    for network in (state.generator, state.critic):
        acceleration.prepare(network)
    return [float(p.wasserstein) for p in train(state, pictures, plan)]


def test_the_memory_layout_changes_only_rounding() -> None:
    expected = curve(Acceleration())
    assert curve(Acceleration(layout="channels_last")) == pytest.approx(expected, abs=1e-5)


def test_bf16_changes_only_rounding() -> None:
    assert curve(Acceleration("bf16")) == pytest.approx(curve(Acceleration()), abs=5e-3)


@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_a_resumed_run_gives_the_same_bits(stop_after: int) -> None:
    plan = make_plan(12, n_critic=2, bursts=True)
    whole = make_state()
    for _ in train(whole, pictures, plan):
        pass
    first = make_state()
    for done, _ in enumerate(train(first, pictures, plan), 1):
        if done == stop_after:
            break
    second = make_state(seed=99)
    restore_state(second, *dump_state(first))
    for _ in train(second, pictures, plan):
        pass
    expected, counters = dump_state(whole)
    data, resumed_counters = dump_state(second)
    assert data == expected
    assert {**resumed_counters, "seconds": 0} == {**counters, "seconds": 0}


def test_the_clock_counts_images_and_the_budget_ends_the_run() -> None:
    state = make_state()
    clock = [p.images_seen for p in train(state, pictures, make_plan(3, n_critic=2))]
    assert clock == [2 * BATCH, 4 * BATCH, 6 * BATCH]
    assert list(train(state, pictures, make_plan(3, n_critic=2))) == []


def test_the_average_follows_the_generator_and_has_no_gradients() -> None:
    state = make_state()
    for _ in train(state, pictures, make_plan(20, n_critic=1)):
        pass
    raw = torch.cat([p.detach().flatten() for p in state.generator.parameters()])
    average = torch.cat([p.flatten() for p in state.average.parameters()])
    assert not any(p.requires_grad for p in state.average.parameters())
    assert 0 < float((raw - average).abs().max()) < float((raw - torch.zeros_like(raw)).abs().max())


def test_a_truncated_checkpoint_is_refused_and_changes_nothing() -> None:
    state = make_state()
    before, counters = dump_state(state)
    with pytest.raises(CheckpointRefused):
        restore_state(state, before[: len(before) // 2], counters)
    assert dump_state(state)[0] == before


def test_a_checkpoint_of_other_networks_is_refused_naming_the_parameter() -> None:
    state = make_state()
    torch.manual_seed(0)
    other = Generator(size=28, channels=1, latent_dim=LATENT, width=8)
    optimizer = partial(torch.optim.RMSprop, lr=1e-3)
    wider = TrainState.fresh(other, state.critic, optimizer, optimizer)
    before = dump_state(state)[0]
    with pytest.raises(CheckpointRefused, match=r"another generator.*layers\.0\.weight"):
        restore_state(state, *dump_state(wider))
    assert dump_state(state)[0] == before


def test_a_single_network_is_restored_from_a_checkpoint() -> None:
    state = make_state()
    for _ in train(state, pictures, make_plan(2, n_critic=1)):
        pass
    data, _ = dump_state(state)
    alone = make_state(seed=99).generator
    restore_network(alone, "average", data)
    for name, value in state.average.state_dict().items():
        assert torch.equal(alone.state_dict()[name], value), name
    with pytest.raises(CheckpointRefused, match="another critic"):
        restore_network(alone, "critic", data)
    assert torch.equal(alone.state_dict()["layers.0.weight"], state.average.state_dict()["layers.0.weight"])
