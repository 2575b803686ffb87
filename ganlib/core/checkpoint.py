"""Conversion of a training state to tensors and counters, and back.

A checkpoint is safetensors plus JSON, never a pickled class. It holds no random state (see
:mod:`ganlib.core.sampling`) and no hyper-parameters: those are in the configuration, whose digest the
code that stores a checkpoint writes beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.optim import Optimizer

from ganlib.core.state import TrainState
from ganlib.errors import CheckpointRefused

COUNTERS = ("images_seen", "critic_steps", "generator_steps")
NetworkName = Literal["generator", "critic", "average"]
NETWORKS: tuple[NetworkName, ...] = ("generator", "critic", "average")
_PROBABILITY = "augmentation/probability"
OPTIMIZERS = ("generator_optimizer", "critic_optimizer")


def dump_state(state: TrainState) -> tuple[bytes, dict[str, float]]:
    """Copy the state into (safetensors, counters); training may go on while they are written."""
    tensors: dict[str, Tensor] = {}
    for name in NETWORKS:
        network: nn.Module = getattr(state, name)
        tensors |= {f"{name}/{key}": value for key, value in network.state_dict().items()}
    for optimizer in OPTIMIZERS:
        for index, entry in getattr(state, optimizer).state_dict()["state"].items():
            tensors |= {f"{optimizer}/{index}/{key}": torch.as_tensor(value) for key, value in entry.items()}
    if state.augmentation_probability is not None:
        tensors[_PROBABILITY] = state.augmentation_probability
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    counters: dict[str, float] = {name: getattr(state, name) for name in COUNTERS}
    return save_safetensors(plain), counters | {"seconds": state.seconds}


def restore_state(state: TrainState, data: bytes, counters: Mapping[str, float]) -> None:
    """Restore a dumped state.

    Args:
        state: A state of the same networks and optimizers, changed in place; when the checkpoint is
            refused, it is not changed.
        data: Safetensors from :func:`dump_state`.
        counters: Counters from :func:`dump_state`.

    Raises:
        CheckpointRefused: The checkpoint is damaged, or of other networks.
    """
    tensors = _load(data)
    missing = [name for name in (*COUNTERS, "seconds") if name not in counters]
    if missing:
        raise CheckpointRefused(f"the checkpoint lacks the counters {', '.join(missing)}")
    parts = {name: _below(tensors, name) for name in (*NETWORKS, *OPTIMIZERS)}
    for name in NETWORKS:
        _check_same(name, getattr(state, name).state_dict(), parts[name])
    for name in NETWORKS:
        getattr(state, name).load_state_dict(parts[name])
    for optimizer in OPTIMIZERS:
        _restore_optimizer(getattr(state, optimizer), parts[optimizer])
    probability = tensors.get(_PROBABILITY)
    device = next(state.critic.parameters()).device
    state.augmentation_probability = None if probability is None else probability.to(device)
    for counter in COUNTERS:
        setattr(state, counter, int(counters[counter]))
    state.seconds = float(counters["seconds"])


def restore_network(network: nn.Module, name: NetworkName, data: bytes) -> None:
    """Load one network of a dumped state.

    Args:
        network: A network of the same shapes, changed in place; when the checkpoint is refused, it is
            not changed.
        name: Which network of the state to load.
        data: Safetensors from :func:`dump_state`.

    Raises:
        CheckpointRefused: The checkpoint is damaged, or of another network.
    """
    tensors = _below(_load(data), name)
    _check_same(name, network.state_dict(), tensors)
    network.load_state_dict(tensors)


def _load(data: bytes) -> dict[str, Tensor]:
    try:
        return load_safetensors(data)
    except SafetensorError as error:
        raise CheckpointRefused(f"the checkpoint's tensors cannot be read: {error}") from error


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}/"
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _check_same(name: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    want = {key: tuple(value.shape) for key, value in expected.items()}
    have = {key: tuple(value.shape) for key, value in found.items()}
    if want != have:
        differing = sorted(key for key in want.keys() | have.keys() if want.get(key) != have.get(key))
        raise CheckpointRefused(f"the checkpoint is of another {name}: {', '.join(differing[:5])} differ")


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, entry = key.partition("/")
        if not index.isdecimal() or len(index) > 9 or int(index) >= len(parameters):
            raise CheckpointRefused(
                f"the checkpoint is of another optimizer: it has no parameter {index[:40]!r}"
            )
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            # Fused kernels ignore strides: the state must lie in memory exactly as its parameter.
            value = torch.empty_like(parameter).copy_(value)
        state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
