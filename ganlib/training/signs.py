"""Signs that a run has gone wrong, as numbers: what they mean for the run is for the host to say."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_AT_BOUND = 1 - 1e-6


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
    """How much pictures [n, c, h, w] in [−1, 1] differ: a pixel's standard deviation, mean over pixels.

    In [0, 1]: 0 for one picture n times, about 0.3 to 0.6 for photographs.
    """
    return float(pictures.float().std(dim=0, correction=0).mean())
