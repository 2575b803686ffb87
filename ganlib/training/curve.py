"""Evaluations during a run: the distance of the averaged generator, and a sample grid, over the workers."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganlib.config.run import RunConfig
from ganlib.core.sampling import calibrate_batch_norm, generate, labels_in_turn, latents
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import gather_rows, mean_over_workers, share_of
from ganlib.quality.distances import Statistics, TooFewSamples, frechet_distance
from ganlib.quality.features import Extractor
from ganlib.quality.generated import generate_features
from ganlib.records import DatasetVersion
from ganlib.training.spec import count_classes
from ganlib.training.watch import spread

GRID_SAMPLES = 64


class Point(NamedTuple):
    """One evaluation."""

    distance: float = math.nan
    """Fréchet distance on ``curve_samples`` pictures; the same on every worker."""
    spread: float = math.nan
    """Spread of the samples (:func:`ganlib.training.watch.spread`)."""
    samples: Tensor | None = None
    """Float [64, c, h, w] in [−1, 1], of the same latents every time; rank 0's alone."""


@dataclass(frozen=True)
class Curve:
    """The evaluations during a run."""

    config: RunConfig
    version: DatasetVersion
    reference: Statistics
    """Statistics of the held-out split; used on rank 0."""
    extractor: Extractor
    place: WorkerPlace

    def point(self, average: nn.Module) -> Point:
        """Evaluate a generator, on all workers together; it is not changed.

        Returns:
            The evaluation; a distance that is not finite is so on every worker.
        """
        average = copy.deepcopy(average)
        calibrate_batch_norm(average, self.config.seed)
        features = self._features(average)
        values = torch.zeros(2, dtype=torch.float64)
        samples = None
        if self.place.rank == 0:
            noise = latents(self.config.seed, "grid", 0, GRID_SAMPLES, self.config.network.latent_dim)
            samples = generate(average, noise, self._labels(GRID_SAMPLES))
            values[1] = spread(samples)
            with warnings.catch_warnings():
                # The curve uses few samples on purpose, and has a name of its own.
                warnings.simplefilter("ignore", TooFewSamples)
                values[0] = frechet_distance(Statistics.from_features(features.cpu()), self.reference)
        # All other ranks add zeros, so the sum is rank 0's value.
        values = mean_over_workers(values.to(self.place.device)) * self.place.workers
        return Point(float(values[0]), float(values[1]), samples)

    def _features(self, average: nn.Module) -> Tensor:
        config, place = self.config, self.place
        count = config.evaluation.curve_samples
        here = share_of(count, place)
        noise = latents(config.seed, "evaluate", 0, count, config.network.latent_dim)[here]
        labels = self._labels(count)
        features = generate_features(
            partial(generate, average), self.extractor, noise, None if labels is None else labels[here]
        )
        return gather_rows(features.to(place.device), count, place)

    def _labels(self, count: int) -> Tensor | None:
        """Labels to generate: equally many of each class, or ``None`` for an unconditional generator."""
        return labels_in_turn(count_classes(self.config, self.version), count)
