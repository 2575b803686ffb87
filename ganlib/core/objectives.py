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
from torch.nn import functional

Score = Callable[[Tensor], Tensor]
"""Pictures [batch, channels, height, width] in [−1, 1] → scores [batch]; of a conditional critic, given
the labels of the step, which real and generated pictures share."""


Mix = Callable[[], Tensor]
"""Nothing → numbers in [0, 1), [batch]; the same ones at every call of a step."""


class CriticLoss(NamedTuple):
    """What a critic step yields."""

    loss: Tensor
    """Scalar to minimize."""
    wasserstein: Tensor
    """Scalar without gradient: E f(real) − E f(fake), the estimate of the Wasserstein distance up to
    the critic's Lipschitz constant (arXiv:1701.07875, section 3)."""


class Objective(Protocol):
    """The three things the steps ask for."""

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """The critic's loss.

        Args:
            score: The critic.
            real: Real pictures [batch, c, h, w] in [−1, 1].
            fake: As many generated ones.
            mix: Draws numbers from the uniform distribution on [0, 1), [batch], for objectives that
                look between real and generated pictures.
        """
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

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
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


@dataclass(frozen=True)
class WassersteinGradientPenalty:
    """WGAN-GP: Algorithm 1 of Gulrajani et al. 2017, arXiv:1704.00028.

    The penalty belongs to each picture by itself, so the critic must not have batch norm.

    Args:
        penalty: Weight λ > 0 of (‖∇f‖ − 1)², taken between each real picture and a generated one.
    """

    penalty: float = 10.0

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """E f(fake) − E f(real) + λ E (‖∇f(x̂)‖ − 1)², with x̂ = ε · real + (1 − ε) · fake and ε = mix()."""
        wasserstein = mean_score(score(real)) - mean_score(score(fake))
        share = mix().to(real.dtype)[:, None, None, None]
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        (slopes,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
        norms = slopes.flatten(1).to(wasserstein.dtype).norm(dim=1)
        loss = -wasserstein + self.penalty * (norms - 1).square().mean()
        return CriticLoss(loss, wasserstein.detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """−E f(fake)."""
        return -mean_score(score(fake))

    def constrain(self, critic: nn.Module) -> None:
        """Nothing: the penalty does it."""


@dataclass(frozen=True)
class NonSaturating:
    """The non-saturating loss of Goodfellow et al. 2014, arXiv:1406.2661, section 3.

    Scores are logits of "this picture is real". The Wasserstein estimate is their difference too,
    so that runs of all objectives have that curve; here it estimates no distance.

    Args:
        real_label: What real pictures are to be called, in (0.5, 1]: below 1 it is one-sided label
            smoothing (Salimans et al. 2016, arXiv:1606.03498, section 3.4).
    """

    real_label: float = 0.9

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """Binary cross-entropy: real pictures against ``real_label``, plus generated ones against 0."""
        on_real, on_fake = score(real), score(fake)
        loss = _cross_entropy(on_real, self.real_label) + _cross_entropy(on_fake, 0.0)
        return CriticLoss(loss, (mean_score(on_real) - mean_score(on_fake)).detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """Binary cross-entropy of generated pictures against 1."""
        return _cross_entropy(score(fake), 1.0)

    def constrain(self, critic: nn.Module) -> None:
        """Nothing."""


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.binary_cross_entropy_with_logits(wide, torch.full_like(wide, label))
