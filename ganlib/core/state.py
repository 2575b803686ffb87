"""All that changes during training, in one object that is saved and restored as a whole."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import Optimizer

OptimizerFactory = Callable[..., Optimizer]
"""Parameters of a network → an optimizer of them."""


@dataclass
class TrainState:
    """Networks, optimizers and the clock.

    There is no random state: noise and picture order are functions of the seed and the counters
    below (:mod:`ganlib.core.sampling`).
    """

    generator: nn.Module
    critic: nn.Module
    average: nn.Module
    """Exponential moving average of the generator; this network is evaluated and published."""
    generator_optimizer: Optimizer
    critic_optimizer: Optimizer
    images_seen: int = 0
    """Real pictures that the critic has seen, over all workers: the training clock."""
    critic_steps: int = 0
    generator_steps: int = 0
    seconds: float = 0.0
    """Time spent in the loop, over all attempts of the run."""
    augmentation_probability: Tensor | None = None
    """The probability of an adaptive augmentation (:mod:`ganlib.core.augmentation`), a float64 scalar on the
    networks' device; ``None`` where there is none, and before it first moves."""

    @property
    def conditional(self) -> bool:
        """Whether the networks take labels."""
        return bool(getattr(self.generator, "classes", 0))

    @classmethod
    def fresh(
        cls,
        generator: nn.Module,
        critic: nn.Module,
        generator_optimizer: OptimizerFactory,
        critic_optimizer: OptimizerFactory,
    ) -> TrainState:
        """Return the state before the first step; the average starts as a copy of the generator."""
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        return cls(
            generator=generator,
            critic=critic,
            average=average,
            generator_optimizer=generator_optimizer(generator.parameters()),
            critic_optimizer=critic_optimizer(critic.parameters()),
        )
