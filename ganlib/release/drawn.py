"""Inputs of a draw, and the features and pictures that a generator makes of them."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganlib.config.run import RunConfig
from ganlib.core.sampling import generate, labels_in_turn, latents
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import share_of
from ganlib.quality.features import Extractor
from ganlib.quality.generated import generate_features, to_uint8

SHOWN = 64
"""Most pictures of each of two generators that are shown side by side."""


class Given(NamedTuple):
    """Inputs of a generator."""

    latents: Tensor
    """float32 [n, latent_dim]."""
    labels: Tensor | None
    """int64 [n], for a conditional generator."""

    def rows(self, rows: slice) -> Given:
        """Return some of the inputs."""
        return Given(self.latents[rows], None if self.labels is None else self.labels[rows])


def given_to(config: RunConfig, draw: int, count: int, latent_dim: int, classes: int) -> Given:
    """Inputs of a draw; the same latents for all generators of one ``latent_dim``, and classes in turn."""
    return Given(latents(config.seed, "evaluate", draw, count, latent_dim), labels_in_turn(classes, count))


def features_of_share(generator: nn.Module, given: Given, extractor: Extractor, place: WorkerPlace) -> Tensor:
    """Features float32 [k, dimensions] of what a generator makes of this worker's share of the inputs."""
    here = given.rows(share_of(len(given.latents), place))
    program = partial(generate, generator.to(place.device))
    return generate_features(program, extractor, here.latents, here.labels).cpu()


def some_pictures(generator: nn.Module, given: Given, device: torch.device) -> Tensor:
    """The first pictures that a generator makes of the inputs, uint8 [64 or less, c, h, w]."""
    first = given.rows(slice(SHOWN))
    return to_uint8(generate(generator.to(device), first.latents, first.labels)).cpu()
