"""What the two networks minimize. To try another objective, write another class here.

An objective sees the critic as a function from pictures to scores, so it may call it as often and
on whatever it needs. It holds numbers, no state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

Score = Callable[[Tensor], Tensor]
"""Pictures [batch, channels, height, width] in [−1, 1] → scores [batch]."""


class CriticLoss(NamedTuple):
    """What a critic step yields."""

    loss: Tensor
    """Scalar to minimize."""
    wasserstein: Tensor
    """Scalar without gradient: E f(real) − E f(fake), the estimate of the Wasserstein distance up to
    the critic's Lipschitz constant (arXiv:1701.07875, section 3)."""


class Objective(Protocol):
    """The three things the steps ask for."""

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor) -> CriticLoss:
        """The critic's loss on real and generated pictures, both [batch, c, h, w] in [−1, 1]."""
        ...

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """The generator's loss, a scalar, on its pictures [batch, c, h, w] in [−1, 1]."""
        ...

    def constrain(self, critic: nn.Module) -> None:
        """Bring the critic's parameters back into their set, in place, after its optimizer's step."""
        ...


def mean_score(scores: Tensor) -> Tensor:
    """The mean of scores [batch]: a scalar of at least float32, whatever format they come in."""
    return scores.mean(dtype=torch.promote_types(scores.dtype, torch.float32))


@dataclass(frozen=True)
class Wasserstein:
    """WGAN with weight clipping: Algorithm 1 of Arjovsky et al. 2017, arXiv:1701.07875.

    Args:
        clip: Bound c > 0; after every critic step each critic parameter, batch-norm scales and
            shifts among them, lies in [−c, c].
    """

    clip: float

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor) -> CriticLoss:
        """E f(fake) − E f(real): the critic ascends the difference, an optimizer descends."""
        # Two passes, not one over both: batch norm must see real and generated pictures apart.
        wasserstein = mean_score(score(real)) - mean_score(score(fake))
        return CriticLoss(-wasserstein, wasserstein.detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """−E f(fake)."""
        return -mean_score(score(fake))

    def constrain(self, critic: nn.Module) -> None:
        """Clip every parameter to [−clip, clip], all of them in two calls."""
        parameters = [p.detach() for p in critic.parameters()]
        torch._foreach_clamp_min_(parameters, -self.clip)
        torch._foreach_clamp_max_(parameters, self.clip)
