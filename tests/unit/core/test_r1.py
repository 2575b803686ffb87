"""The R1 penalty against gradients written out by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest
import torch
from test_loop import dense_state, make_plan, pictures
from torch import Tensor, nn

from ganlib.core.checkpoint import dump_state, restore_state
from ganlib.core.loop import train
from ganlib.core.objectives import R1, NonSaturating


class LinearCritic(nn.Module):
    """f(x) = w · x, whose gradient is w at every picture."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(12, generator=generator, dtype=torch.float64))

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.flatten(1) @ self.weight


def test_on_a_linear_critic_the_penalty_is_the_squared_norm_of_its_weight() -> None:
    critic, real = LinearCritic(), torch.rand(5, 3, 2, 2, dtype=torch.float64)
    penalty = R1(gamma=6, every=4).penalty(critic, real)
    torch.testing.assert_close(penalty, 6 / 2 * 4 * critic.weight.square().sum())
    penalty.backward()
    torch.testing.assert_close(critic.weight.grad, 6 * 4 * critic.weight.detach())
    assert not real.requires_grad


def test_on_a_curved_critic_the_penalty_is_the_mean_over_the_pictures() -> None:
    """f(x) = (w · x)² has the gradient 2 (w · x) w."""
    critic, real = LinearCritic(), torch.rand(5, 3, 2, 2, dtype=torch.float64)
    penalty = R1(gamma=2, every=1).penalty(lambda shown: critic(shown).square(), real)
    expected = (4 * critic(real).square() * critic.weight.square().sum()).mean()
    torch.testing.assert_close(penalty, expected)


@pytest.mark.parametrize(("gamma", "steps"), [(0.0, []), (1.0, [0, 3, 6])])
def test_it_is_due_at_every_kth_critic_step(gamma: float, steps: list[int]) -> None:
    assert [step for step in range(9) if R1(gamma, every=3).due(step)] == steps


def test_a_run_with_it_resumes_to_the_bit_between_two_penalties() -> None:
    plan = replace(make_plan(6, n_critic=2), objective=NonSaturating(), r1=R1(0.5, every=3))
    whole, first, second, without = dense_state(0), dense_state(0), dense_state(99), dense_state(0)
    losses = [float(p.critic_loss) for p in train(whole, pictures, plan)]
    before = [float(p.critic_loss) for p in islice(train(first, pictures, plan), 2)]
    restore_state(second, *dump_state(first))
    assert [*before, *(float(p.critic_loss) for p in train(second, pictures, plan))] == losses
    assert dump_state(second)[0] == dump_state(whole)[0]
    plain = [float(p.critic_loss) for p in train(without, pictures, replace(plan, r1=R1()))]
    assert plain != losses
