"""The number of critic steps before each generator step."""

from __future__ import annotations

from bisect import bisect_left
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

    @property
    def most_critic_steps(self) -> int:
        """Most critic steps that stand before a generator step."""
        return max(self.n_critic, self.burst_length) if self.bursts else self.n_critic

    def critic_steps_before(self, generator_step: int) -> int:
        """Critic steps of a run before it makes generator step ``generator_step + 1``, from the beginning."""
        steps, first, every = generator_step, self.burst_first, self.burst_every
        if not self.bursts:
            return steps * self.n_critic
        later = max(0, -(-steps // every) - -(-first // every))  # multiples of `every` in [first, steps)
        burst = min(steps, first) + later
        return burst * self.burst_length + (steps - burst) * self.n_critic

    def images_at_end(
        self, total_images: int, batch_size: int, images_seen: int = 0, generator_steps: int = 0
    ) -> int:
        """Images that a run has seen when it ends: at the first generator step at or after its budget.

        Args:
            total_images: The budget.
            batch_size: Images in a critic step.
            images_seen: Where the run begins or goes on.
            generator_steps: Likewise.
        """
        begun = self.critic_steps_before(generator_steps)
        missing = max(0, -(-(total_images - images_seen) // batch_size))
        # Each generator step has a critic step at least, so no more than `missing` of them follow.
        last = bisect_left(
            range(missing + 1),
            missing,
            key=lambda more: self.critic_steps_before(generator_steps + more) - begun,
        )
        return images_seen + (self.critic_steps_before(generator_steps + last) - begun) * batch_size
