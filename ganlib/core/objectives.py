"""The losses of the two networks. To try another objective, write another class here.

An objective gets the critic as a function from pictures to scores and may call it several times and
on pictures of its own, as the gradient penalty does. It has hyper-parameters but no state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

Score = Callable[[Tensor], Tensor]
"""Pictures [batch, channels, height, width] in [−1, 1] → scores [batch]. For a conditional critic the
labels of the step are filled in already; real and generated pictures share them."""


Mix = Callable[[], Tensor]
"""Returns draws [batch] from the uniform distribution on [0, 1), the same ones at every call of a step."""


class CriticLoss(NamedTuple):
    """The critic's loss and the Wasserstein estimate of one step."""

    loss: Tensor
    """Scalar for the critic's optimizer to minimize."""
    wasserstein: Tensor
    """Scalar without gradient: E f(real) − E f(fake), the estimate of the Wasserstein distance up to
    the critic's Lipschitz constant (arXiv:1701.07875, section 3)."""
    on_real: Tensor
    """Scores of the real pictures [batch], without gradient."""


class Objective(Protocol):
    """The losses of critic and generator, and the constraint on the critic."""

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """Return the critic's loss.

        Args:
            score: The critic.
            real: Real pictures [batch, c, h, w] in [−1, 1].
            fake: Generated pictures [batch, c, h, w] in [−1, 1].
            mix: Random numbers for objectives that interpolate between real and generated pictures.
        """
        ...

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """Return the generator's loss, a scalar, on generated pictures [batch, c, h, w] in [−1, 1]."""
        ...

    def constrain(self, critic: nn.Module) -> None:
        """Enforce the constraint on the critic's parameters, in place, after each optimizer step."""
        ...


def mean_score(scores: Tensor) -> Tensor:
    """Return the mean of scores [batch], a scalar of at least float32 even for bf16 scores."""
    return scores.mean(dtype=torch.promote_types(scores.dtype, torch.float32))


@dataclass(frozen=True)
class Wasserstein:
    """WGAN with weight clipping: Algorithm 1 of Arjovsky et al. 2017, arXiv:1701.07875.

    Args:
        clip: Bound c > 0. After every critic step all critic parameters are clipped to [−c, c],
            batch-norm scales and shifts included.
    """

    clip: float

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """Return E f(fake) − E f(real), the negative of the difference that the critic maximizes."""
        # Separate passes, so that batch norm never mixes real and generated pictures in one batch.
        on_real = score(real)
        wasserstein = mean_score(on_real) - mean_score(score(fake))
        return CriticLoss(-wasserstein, wasserstein.detach(), on_real.detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """−E f(fake)."""
        return -mean_score(score(fake))

    def constrain(self, critic: nn.Module) -> None:
        """Clip every parameter to [−clip, clip]; two calls for all of them are faster than one for each."""
        parameters = [p.detach() for p in critic.parameters()]
        torch._foreach_clamp_min_(parameters, -self.clip)
        torch._foreach_clamp_max_(parameters, self.clip)


@dataclass(frozen=True)
class WassersteinGradientPenalty:
    """WGAN-GP: Algorithm 1 of Gulrajani et al. 2017, arXiv:1704.00028.

    The penalty is on the gradient at each single picture. Batch norm would make a score depend on the
    other pictures of the batch, so the critic must not have it.

    Args:
        penalty: Weight λ > 0 of (‖∇f‖ − 1)², evaluated at a random point between each real picture
            and a generated one.
    """

    penalty: float = 10.0

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """Return E f(fake) − E f(real) + λ E (‖∇f(x̂)‖ − 1)².

        Here x̂ = ε · real + (1 − ε) · fake and ε = ``mix()``.
        """
        on_real = score(real)
        wasserstein = mean_score(on_real) - mean_score(score(fake))
        share = mix().to(real.dtype)[:, None, None, None]
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        (slopes,) = torch.autograd.grad(score(between).sum(), between, create_graph=True)
        norms = slopes.flatten(1).to(wasserstein.dtype).norm(dim=1)
        loss = -wasserstein + self.penalty * (norms - 1).square().mean()
        return CriticLoss(loss, wasserstein.detach(), on_real.detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """−E f(fake)."""
        return -mean_score(score(fake))

    def constrain(self, critic: nn.Module) -> None:
        """Do nothing: the penalty is the constraint."""


@dataclass(frozen=True)
class NonSaturating:
    """The non-saturating loss of Goodfellow et al. 2014, arXiv:1406.2661, section 3.

    Scores are logits of "this picture is real". ``wasserstein`` is the difference of the mean logits,
    so that runs of all objectives have this curve; here it does not estimate a distance.

    Args:
        real_label: Target for real pictures, in (0.5, 1]; below 1 it is one-sided label smoothing
            (Salimans et al. 2016, arXiv:1606.03498, section 3.4).
    """

    real_label: float = 0.9

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """Return the cross-entropy of real pictures against ``real_label`` plus generated ones against 0."""
        on_real, on_fake = score(real), score(fake)
        loss = _cross_entropy(on_real, self.real_label) + _cross_entropy(on_fake, 0.0)
        gap = mean_score(on_real) - mean_score(on_fake)
        return CriticLoss(loss, gap.detach(), on_real.detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """Return the binary cross-entropy of generated pictures against 1."""
        return _cross_entropy(score(fake), 1.0)

    def constrain(self, critic: nn.Module) -> None:
        """Do nothing: the critic is not constrained."""


@dataclass(frozen=True)
class Hinge:
    """The hinge loss of Lim & Ye 2017, arXiv:1705.02894, as Miyato et al. 2018, arXiv:1802.05957, use it.

    A real picture with a score above 1, or a generated one with a score below −1, adds nothing to the
    critic's loss. It bounds no slope by itself: it goes with a critic under spectral normalization.
    ``wasserstein`` is the difference of the mean scores, the curve of all objectives.
    """

    def critic_loss(self, score: Score, real: Tensor, fake: Tensor, mix: Mix) -> CriticLoss:
        """Return E max(0, 1 − f(real)) + E max(0, 1 + f(fake))."""
        on_real, on_fake = _wide(score(real)), _wide(score(fake))
        loss = mean_score(functional.relu(1 - on_real)) + mean_score(functional.relu(1 + on_fake))
        gap = mean_score(on_real) - mean_score(on_fake)
        return CriticLoss(loss, gap.detach(), on_real.detach())

    def generator_loss(self, score: Score, fake: Tensor) -> Tensor:
        """−E f(fake)."""
        return -mean_score(score(fake))

    def constrain(self, critic: nn.Module) -> None:
        """Do nothing: the critic's own normalization is the constraint."""


@dataclass(frozen=True)
class R1:
    """The R1 penalty of Mescheder et al. 2018, arXiv:1801.04406, beside any objective: γ/2 · E ‖∇f(real)‖².

    It is computed at every k-th critic step and multiplied by k there, as in StyleGAN2 (Karras et al.
    2020, arXiv:1912.04958, section 4.1), which costs less and changes little. Like the gradient penalty
    it does not go with batch norm in the critic.

    Args:
        gamma: Weight γ ≥ 0; 0 turns it off.
        every: The interval k ≥ 1 in critic steps.
    """

    gamma: float = 0.0
    every: int = 16

    def due(self, step: int) -> bool:
        """Whether critic step ``step``, counted from 0 over the whole run, has the penalty."""
        return self.gamma > 0 and step % self.every == 0

    def penalty(self, score: Score, real: Tensor) -> Tensor:
        """Return the penalty on real pictures [batch, c, h, w] as the critic sees them, times k: a scalar."""
        real = real.detach().requires_grad_()
        (slopes,) = torch.autograd.grad(_wide(score(real)).sum(), real, create_graph=True)
        return self.gamma / 2 * self.every * _wide(slopes).flatten(1).square().sum(dim=1).mean()


def _wide(scores: Tensor) -> Tensor:
    """The numbers in float32 at least."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    wide = _wide(logits)
    return functional.binary_cross_entropy_with_logits(wide, torch.full_like(wide, label))
