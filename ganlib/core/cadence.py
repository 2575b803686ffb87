"""How many critic steps stand before each generator step: data, not control flow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cadence:
    """Critic steps as a function of the generator step.

    The bursts are those of the WGAN authors' code: a critic near its optimum gives the generator
    a gradient worth following, so it is trained longer at the start and now and then after.

    Args:
        n_critic: Critic steps before a usual generator step, 1 to 100.
        bursts: Whether the first ``burst_first`` generator steps and every ``burst_every``-th one
            have ``burst_length`` critic steps instead.
    """

    n_critic: int
    bursts: bool = False
    burst_first: int = 25
    burst_every: int = 500
    burst_length: int = 100

    def critic_steps(self, generator_step: int) -> int:
        """Critic steps that stand before generator step ``generator_step``, counted from 0."""
        if self.bursts and (generator_step < self.burst_first or generator_step % self.burst_every == 0):
            return self.burst_length
        return self.n_critic
