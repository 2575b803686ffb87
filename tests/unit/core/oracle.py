"""Algorithm 1 of arXiv:1701.07875 line by line, sharing no code with ganlib's loop.

One worker, no autocast, no fused calls.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def algorithm_1(
    generator: nn.Module,
    critic: nn.Module,
    *,
    real: Callable[[int], Tensor],
    critic_noise: Callable[[int], Tensor],
    generator_noise: Callable[[int], Tensor],
    learning_rate: float,
    clip: float,
    n_critic: int,
    generator_steps: int,
) -> list[float]:
    """Train both networks in place and return the Wasserstein estimate of each critic step.

    ``real`` returns the float pictures in [−1, 1] of a critic step; ``critic_noise`` and
    ``generator_noise`` return the latents of a step.
    """
    critic_optimizer = torch.optim.RMSprop(critic.parameters(), lr=learning_rate, foreach=False)
    generator_optimizer = torch.optim.RMSprop(generator.parameters(), lr=learning_rate, foreach=False)
    estimates = []
    t = 0
    for step in range(generator_steps):
        for _ in range(n_critic):
            x = real(t)
            z = critic_noise(t)
            f_real = critic(x)
            f_fake = critic(generator(z).detach())
            objective = f_real.mean() - f_fake.mean()
            critic_optimizer.zero_grad()
            (-objective).backward()
            critic_optimizer.step()
            for w in critic.parameters():
                w.data = torch.clamp(w.data, -clip, clip)
            estimates.append(objective.item())
            t += 1
        z = generator_noise(step)
        loss = -critic(generator(z)).mean()
        generator_optimizer.zero_grad()
        loss.backward()
        generator_optimizer.step()
    return estimates
