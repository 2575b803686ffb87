"""The number of critic steps before each generator step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cadence:
    """Number of critic steps as a function of the generator step.

    The bursts are those of the WGAN authors' code: the generator's gradient is only as good as the
    critic, so the critic gets more steps at the start and at regular intervals afterwards.

    Args:
        n_critic: Critic steps before an ordinary generator step, 1 to 100.
        bursts: Whether there are bursts.
        burst_first: Number of generator steps at the start of the run that get a burst each.
        burst_every: Interval, in generator steps, of the bursts after that.
        burst_length: Critic steps in a burst.
    """

    n_critic: int
    bursts: bool = False
    burst_first: int = 25
    burst_every: int = 500
    burst_length: int = 100

    def critic_steps(self, generator_step: int) -> int:
        """Return the number of critic steps before generator step ``generator_step``, counted from 0."""
        if self.bursts and (generator_step < self.burst_first or generator_step % self.burst_every == 0):
            return self.burst_length
        return self.n_critic
