"""Losses equal their formulas, written out or computed by finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ganlib.core.layers import Dropout
from ganlib.core.networks import Critic
from ganlib.core.objectives import Hinge, NonSaturating, Wasserstein, WassersteinGradientPenalty


class TinyCritic(nn.Module):
    """A smooth critic, so that finite differences approximate its derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 3), nn.Linear(3, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        scores: Tensor = self.outer(torch.tanh(self.inner(pictures.flatten(1))))
        return scores.flatten()


def batch(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(5, 2, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture
def critic() -> TinyCritic:
    torch.manual_seed(0)
    return TinyCritic().double()


MIX = torch.tensor([0.0, 0.25, 0.5, 0.75, 0.999], dtype=torch.float64)


def numerical_penalty(critic: nn.Module, real: Tensor, fake: Tensor, step: float = 1e-5) -> float:
    """Mean (‖∇f‖ − 1)² at the interpolated points, with partial derivatives by central differences."""
    total = 0.0
    for share, one, other in zip(MIX, real, fake, strict=True):
        point = (share * one + (1 - share) * other).flatten()
        squares = 0.0
        for index in range(len(point)):
            up, down = point.clone(), point.clone()
            up[index] += step
            down[index] -= step
            with torch.no_grad():
                slope = (critic(up[None]) - critic(down[None])) / (2 * step)
            squares += float(slope) ** 2
        total += (math.sqrt(squares) - 1) ** 2
    return total / len(real)


def test_the_gradient_penalty_equals_finite_differences(critic: TinyCritic) -> None:
    real, fake = batch(1), batch(2)
    plain = Wasserstein(clip=1).critic_loss(critic, real, fake, lambda: MIX)
    found = WassersteinGradientPenalty(penalty=7).critic_loss(critic, real, fake, lambda: MIX)
    assert float(found.wasserstein) == float(plain.wasserstein)
    penalty = float(found.loss.detach() - plain.loss.detach()) / 7
    assert penalty == pytest.approx(numerical_penalty(critic, real, fake), rel=1e-6)


def test_the_gradient_of_the_gradient_penalty_equals_finite_differences(critic: TinyCritic) -> None:
    real, fake, weight = batch(1), batch(2), critic.inner.weight
    objective = WassersteinGradientPenalty(penalty=1)
    objective.critic_loss(critic, real, fake, lambda: MIX).loss.backward()
    assert weight.grad is not None
    step = 1e-5
    for row, column in ((0, 0), (1, 3), (2, 7)):
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[row, column] += sign * step
            losses.append(float(objective.critic_loss(critic, real, fake, lambda: MIX).loss.detach()))
            with torch.no_grad():
                weight[row, column] -= sign * step
        assert float(weight.grad[row, column]) == pytest.approx(
            (losses[0] - losses[1]) / (2 * step), rel=1e-5
        )


def test_only_real_pictures_have_smoothed_labels(critic: TinyCritic) -> None:
    """The loss is −[0.9 log σ(f(x)) + 0.1 log(1 − σ(f(x)))] − log(1 − σ(f(g)))."""
    real, fake = batch(1), batch(2)
    on_real, on_fake = torch.sigmoid(critic(real)), torch.sigmoid(critic(fake))
    expected = -(0.9 * on_real.log() + 0.1 * (1 - on_real).log()).mean() - (1 - on_fake).log().mean()
    loss = NonSaturating(real_label=0.9).critic_loss(critic, real, fake, lambda: MIX)
    torch.testing.assert_close(loss.loss, expected, rtol=1e-12, atol=0)
    assert float(loss.wasserstein) == pytest.approx(
        float((critic(real).mean() - critic(fake).mean()).detach())
    )
    generator_loss = NonSaturating(real_label=0.9).generator_loss(critic, fake)
    torch.testing.assert_close(generator_loss, -on_fake.log().mean(), rtol=1e-12, atol=0)


def test_the_hinge_counts_scores_within_the_margin_only(critic: TinyCritic) -> None:
    scores = {1.0: torch.tensor([-2.0, 0.5, 1.0, 3.0]), -1.0: torch.tensor([-3.0, -1.0, 0.0, 2.0])}
    real, fake = (torch.full((4, 1, 2, 2), value) for value in (1.0, -1.0))
    loss = Hinge().critic_loss(lambda pictures: scores[float(pictures[0, 0, 0, 0])], real, fake, lambda: MIX)
    assert float(loss.loss) == pytest.approx((3 + 0.5) / 4 + (1 + 3) / 4)
    assert float(loss.wasserstein) == pytest.approx((2.5 + 2) / 4)
    assert float(Hinge().generator_loss(lambda _: scores[-1.0], fake)) == pytest.approx(2 / 4)


def test_the_hinges_gradient_is_that_of_the_scores_within_the_margin(critic: TinyCritic) -> None:
    real, fake = batch(1), batch(2)
    with torch.no_grad():
        critic.outer.weight.mul_(20)  # so that some scores pass the margin
        within = [(critic(real) < 1).double(), (critic(fake) > -1).double()]
    assert 0 < sum(float(part.sum()) for part in within) < 10
    Hinge().critic_loss(critic, real, fake, lambda: MIX).loss.backward()
    found = critic.inner.weight.grad
    by_hand = (within[1] * critic(fake) - within[0] * critic(real)).sum() / 5
    (expected,) = torch.autograd.grad(by_hand, critic.inner.weight)
    torch.testing.assert_close(found, expected)


def test_a_logit_far_from_zero_gives_a_finite_loss() -> None:
    scores = torch.full((4,), -200.0)
    loss = NonSaturating().generator_loss(lambda _: scores, torch.zeros(4, 1, 2, 2))
    assert float(loss) == pytest.approx(200)


def test_a_conditional_critic_adds_the_projection_on_the_label() -> None:
    torch.manual_seed(0)
    critic = Critic(size=28, channels=1, width=4, norm="none", classes=3)
    pictures = torch.randn(4, 1, 28, 28)
    labels = torch.tensor([0, 1, 2, 1])
    features = critic.layers(pictures)
    assert critic.projection is not None
    weights = critic.projection.embedding.weight[labels]
    expected = critic.score(features).flatten() + torch.einsum("nc,nchw->n", weights, features)
    torch.testing.assert_close(critic(pictures, labels), expected)


def test_dropout_depends_only_on_seed_and_row_and_keeps_the_mean() -> None:
    layer, features = Dropout(0.25), torch.ones(400, 50)
    with pytest.raises(RuntimeError, match="seed"):
        layer(features)

    def masked(seed: int, share: slice, workers: int, rows: int) -> Tensor:
        layer.seed(seed, lambda mask: mask[share], workers)
        result: Tensor = layer(features[:rows])
        return result

    whole = masked(1, slice(None), 1, 400)
    assert torch.equal(
        torch.cat([masked(1, slice(0, 200), 2, 200), masked(1, slice(200, 400), 2, 200)]), whole
    )
    assert not torch.equal(masked(2, slice(None), 1, 400), whole)
    assert sorted(set(whole.flatten().tolist())) == pytest.approx([0, 1 / 0.75])
    assert float(whole.mean()) == pytest.approx(1, abs=0.02)
    assert torch.equal(layer.eval()(features), features)
