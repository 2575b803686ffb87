"""Spectral normalization against torch's singular values and torch's own implementation."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from test_loop import BATCH, LATENT, make_plan, pictures
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganlib.core.checkpoint import dump_state, restore_state
from ganlib.core.dense import DenseCritic
from ganlib.core.hardware import Acceleration
from ganlib.core.loop import train
from ganlib.core.networks import Critic, Generator
from ganlib.core.objectives import Hinge
from ganlib.core.spectral import iterate_spectral_norms, normalize_weights, spectral_norms
from ganlib.core.state import TrainState


def make_critic(classes: int = 0) -> Critic:
    return Critic(size=28, channels=1, width=4, norm="spectral", extra_layers=1, classes=classes)


def make_state(seed: int = 0) -> TrainState:
    torch.manual_seed(seed)
    generator = Generator(size=28, channels=1, latent_dim=LATENT, width=4, classes=3)
    adam = partial(torch.optim.Adam, lr=1e-3, betas=(0.0, 0.9), fused=True)
    return TrainState.fresh(generator, make_critic(classes=3), adam, adam)


def singular_values(critic: nn.Module) -> list[float]:
    """The largest one of each weight that the critic computes with."""
    weights = [m.weight for m in critic.modules() if isinstance(m, (nn.Conv2d, nn.Linear, nn.Embedding))]
    return [float(torch.linalg.svdvals(weight.detach().flatten(1))[0]) for weight in weights]


def vectors(critic: nn.Module) -> list[Tensor]:
    return [vector.clone() for norm, _ in spectral_norms(critic) for vector in (norm.u, norm.v)]


def test_power_iterations_bring_the_largest_singular_value_of_every_weight_to_one() -> None:
    torch.manual_seed(0)
    critic = make_critic(classes=3)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    assert max(singular_values(critic)) > 2, "the vectors belong to the weights of before"
    for _ in range(200):
        iterate_spectral_norms(critic)
    found = singular_values(critic)
    assert len(found) == 5, "2 strided, an extra one, the score's, the labels'"
    assert found == pytest.approx([1] * 5, rel=1e-5)


def test_value_and_gradient_equal_torchs_own_implementation() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 5, 4).double()
    ours, theirs = copy.deepcopy(plain), spectral_norm(copy.deepcopy(plain)).eval()
    normalize_weights(ours)
    (norm, weight), torchs = next(spectral_norms(ours)), theirs.parametrizations.weight
    norm.u.copy_(torchs[0]._u)
    norm.v.copy_(torchs[0]._v)
    given = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(given), theirs(given))
    for layer in (ours, theirs):
        layer(given).square().sum().backward()
    torch.testing.assert_close(weight.grad, torchs.original.grad)


def test_a_critic_step_makes_one_iteration_and_a_generator_step_none(monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_state()
    counted = [0]
    first = next(norm for norm, _ in spectral_norms(state.critic))
    iterate = first.iterate
    monkeypatch.setattr(first, "iterate", lambda weight: (counted.append(0), iterate(weight)))
    plan = replace(make_plan(4, n_critic=3), objective=Hinge())
    seen = [len(counted) - 1 for _ in train(state, pictures, plan)]
    assert seen == [3, 6, 9, 12]
    before = vectors(state.critic)
    state.critic.train()(torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]))
    assert all(torch.equal(one, other) for one, other in zip(before, vectors(state.critic), strict=True))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_a_run_keeps_the_norms_near_one_and_resumes_to_the_bit(layout: str) -> None:
    acceleration = Acceleration(layout=layout)  # type: ignore[arg-type]
    plan = replace(make_plan(6, n_critic=2), objective=Hinge(), acceleration=acceleration)
    whole, first, second = make_state(0), make_state(0), make_state(99)
    for state in (whole, first, second):
        acceleration.prepare(state.critic)
    losses = [float(p.critic_loss) for p in train(whole, pictures, plan)]
    before = [float(p.critic_loss) for p in islice(train(first, pictures, plan), 2)]
    restore_state(second, *dump_state(first))
    assert [*before, *(float(p.critic_loss) for p in train(second, pictures, plan))] == losses
    assert dump_state(second)[0] == dump_state(whole)[0]
    assert all(0.9 < value < 1.1 for value in singular_values(whole.critic))
    assert max(float(p.detach().abs().max()) for p in whole.critic.parameters()) > 0.02, "it trained"


def test_the_fully_connected_critic_can_be_normalized_too() -> None:
    torch.manual_seed(0)
    critic = DenseCritic(size=28, channels=1, widths=(16, 8))
    normalize_weights(critic)
    for _ in range(100):
        iterate_spectral_norms(critic)
    one, other = torch.randn(BATCH, 1, 28, 28), torch.randn(BATCH, 1, 28, 28)
    slopes = (critic(one) - critic(other)).abs() / (one - other).flatten(1).norm(dim=1)
    assert float(slopes.detach().max()) <= 1, "no score changes faster than the picture"


def test_bf16_leaves_the_norm_exact() -> None:
    torch.manual_seed(0)
    critic = make_critic()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = critic.score.weight.detach()
    assert inside.dtype == torch.float32
    assert torch.equal(inside, critic.score.weight.detach())
