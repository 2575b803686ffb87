"""Generators that several folders of tests draw from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganlib.core.networks import Generator
from ganlib.fakes.stores import MemoryRegistry
from ganlib.generators.fetch import load
from ganlib.generators.loaded import LoadedGenerator
from ganlib.ports import Publication


def lively(network: nn.Module) -> nn.Module:
    """In eval mode, with weights so large that pictures differ."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.normal_(parameter, 0, 0.3)
    return network.eval()


@pytest.fixture
def generator() -> LoadedGenerator:
    torch.manual_seed(0)
    registry = MemoryRegistry()
    registry.publish(
        Publication(
            model="small",
            run="r",
            tracking_run_id="t",
            generator=lively(Generator(size=28, channels=1, latent_dim=5, width=4)),
            latent_dim=5,
            tags={"ganlib.latent_dim": "5"},
        )
    )
    registry.move("small", "champion", 1, expected=None, who="test", why="first")
    return load("small", registry)


@pytest.fixture
def conditional() -> LoadedGenerator:
    torch.manual_seed(0)
    registry = MemoryRegistry()
    registry.publish(
        Publication(
            model="labelled",
            run="r",
            tracking_run_id="t",
            generator=lively(Generator(size=28, channels=1, latent_dim=5, width=4, classes=3)),
            latent_dim=5,
            classes=("boot", "shirt", "bag"),
            tags={"ganlib.latent_dim": "5"},
        )
    )
    return load("labelled/1", registry)
