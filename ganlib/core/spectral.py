"""Spectral normalization of weights (Miyato et al. 2018, arXiv:1802.05957).

torch has it too (``torch.nn.utils.parametrizations.spectral_norm``), but makes a power iteration at each
use of a weight in training mode: several in a critic step, and more in the generator step, which must not
change the critic. Here iterations are made by :func:`iterate_spectral_norms` alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import ParametrizationList, register_parametrization

FIRST_ITERATIONS = 15
"""Power iterations on a new weight."""


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, estimated as uᵀWv.

    A convolution's weight counts as a matrix with a row for each output channel, as in the paper. The
    estimates u and v of the singular vectors are buffers, so checkpoints hold them. Their first values come
    from torch's random state.

    Args:
        weight: The weight, float [rows, …].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.u: Tensor
        self.v: Tensor
        self.register_buffer("u", functional.normalize(weight.new_empty(rows).normal_(), dim=0))
        self.register_buffer("v", functional.normalize(weight.new_empty(columns).normal_(), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self.iterate(weight)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """Make one power iteration: the new vectors are functions of the weight and of the last vectors."""
        matrix = weight.flatten(1)
        self.u.copy_(functional.normalize(matrix @ self.v, dim=0))
        self.v.copy_(functional.normalize(matrix.T @ self.u, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight divided by the estimate; u and v are constants to autograd, as in the paper."""
        # bf16's rounding of the estimate would let the norm exceed 1 by half a percent.
        with torch.autocast(weight.device.type, enabled=False):
            largest = torch.dot(self.u, torch.mv(weight.flatten(1), self.v))
            return weight / largest


def normalize_weights(network: nn.Module) -> None:
    """Put every convolution, matrix and embedding of a network under :class:`SpectralNorm`, in place."""
    for module in list(network.modules()):
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
            register_parametrization(module, "weight", SpectralNorm(module.weight))


def iterate_spectral_norms(network: nn.Module) -> None:
    """Make one power iteration for each weight under :func:`normalize_weights`, in place.

    Workers whose weights and vectors are equal have equal vectors afterwards.
    """
    for norm, weight in spectral_norms(network):
        norm.iterate(weight)


def spectral_norms(network: nn.Module) -> Iterator[tuple[SpectralNorm, Tensor]]:
    """Yield each spectral normalization of a network with the weight that it divides."""
    for module in network.modules():
        if isinstance(module, ParametrizationList) and isinstance(module[0], SpectralNorm):
            yield module[0], module.original
