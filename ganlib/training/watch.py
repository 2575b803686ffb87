"""The watch over a run: rules that warn, or stop the run, when its numbers look like a dead end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ganlib.config.run import RunConfig

_AT_BOUND = 1 - 1e-6

Action = Literal["off", "warn", "stop"]


class Alarm(NamedTuple):
    """A rule that was broken."""

    rule: str
    """The configuration field that says what follows."""
    action: Action
    text: str
    """Sentence for a person: the value, the limit, and the remedy."""


@dataclass
class Watch:
    """The rules of one run, and what they have to remember.

    Args:
        config: The run's.
        peak: The largest mean estimate so far; kept in checkpoints.
    """

    config: RunConfig
    peak: float = 0.0
    _sum: float = field(default=0.0, init=False)
    _count: int = field(default=0, init=False)

    def add(self, wasserstein: float) -> None:
        """Take the estimate of a generator step, the mean over workers."""
        self._sum += wasserstein
        self._count += 1

    def check(self, critic: nn.Module, spread: float | None) -> list[Alarm]:
        """The rules that are broken now; estimates since the last check count once.

        Args:
            critic: The critic.
            spread: The samples' :func:`ganlib.training.watch.spread`; ``None`` when there are none.
        """
        rules = [*self._bounds(critic), *self._estimate(), *self._samples(spread)]
        return [alarm for alarm in rules if alarm.action != "off"]

    def _bounds(self, critic: nn.Module) -> Iterator[Alarm]:
        rules, objective = self.config.watch, self.config.objective
        if objective.kind != "wasserstein" or rules.critic_at_bounds == "off":
            return
        share = share_at_bounds(critic, objective.clip)
        if share >= rules.critic_at_bounds_share:
            yield Alarm(
                "watch.critic_at_bounds",
                rules.critic_at_bounds,
                f"{share:.1%} of the critic's weights sit at the clip bounds ±{objective.clip:g} (limit "
                f"{rules.critic_at_bounds_share:.1%}); raise objective.clip or lower "
                "optimizer.critic_learning_rate",
            )

    def _estimate(self) -> Iterator[Alarm]:
        rules = self.config.watch
        if not self._count:
            return
        mean, self._sum, self._count = self._sum / self._count, 0.0, 0
        self.peak = max(self.peak, mean)
        if mean < rules.collapsed_estimate_share * self.peak:
            yield Alarm(
                "watch.collapsed_estimate",
                rules.collapsed_estimate,
                f"the Wasserstein estimate fell to {mean:.3g}, below {rules.collapsed_estimate_share:.1%} of "
                f"its largest, {self.peak:.3g}: the critic no longer tells real from generated pictures; "
                "raise cadence.n_critic or optimizer.critic_learning_rate",
            )

    def _samples(self, spread: float | None) -> Iterator[Alarm]:
        rules = self.config.watch
        if spread is not None and spread < rules.one_picture_spread:
            yield Alarm(
                "watch.one_picture",
                rules.one_picture,
                f"the samples differ by {spread:.3g} on average, below {rules.one_picture_spread:g}: the "
                "generator makes one picture; lower optimizer.generator_learning_rate or raise "
                "cadence.n_critic",
            )


@torch.no_grad()
def share_at_bounds(critic: nn.Module, clip: float) -> float:
    """Share of the critic's parameters that lie at −clip or clip, in [0, 1].

    A clipped critic pushes its weights towards both bounds; when all of them sit there it has no
    room left to learn (Gulrajani et al. 2017, arXiv:1704.00028, section 3 and figure 1).
    """
    parameters = list(critic.parameters())
    at_bound = sum(int((p.abs() >= clip * _AT_BOUND).sum()) for p in parameters)
    return at_bound / sum(p.numel() for p in parameters)


def spread(pictures: Tensor) -> float:
    """Spread of pictures [n, c, h, w] in [−1, 1] differ: a pixel's standard deviation, mean over pixels.

    In [0, 1]: 0 for one picture n times, about 0.3 to 0.6 for photographs.
    """
    return float(pictures.float().std(dim=0, correction=0).mean())
