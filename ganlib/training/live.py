"""A run's live numbers while it trains, for graphs and alerts (:mod:`ganlib.cluster.metrics`)."""

from __future__ import annotations

import time
from typing import final

from ganlib.cluster.metrics import (
    CHECKPOINT_TIME,
    DATA_WAIT_RATIO,
    FRECHET_DISTANCE,
    IMAGES_LOST,
    IMAGES_PER_SECOND,
    IMAGES_SEEN,
    WASSERSTEIN_ESTIMATE,
    RunMetrics,
)
from ganlib.core.loop import Batch, Batches
from ganlib.core.state import TrainState
from ganlib.training.checkpoints import Checkpoints


@final
class TimedBatches:
    """Batches, and the seconds in which their caller waited for them.

    On a GPU a batch may include waiting until earlier steps are done, where pictures come by windows.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.waited = 0.0
        """Seconds, over all calls."""

    def __call__(self, step: int) -> Batch:
        """Return the batch of a step."""
        began = time.perf_counter()
        try:
            return self._batches(step)
        finally:
            self.waited += time.perf_counter() - began


@final
class LiveNumbers:
    """Hands the numbers of one attempt at a run to the metrics.

    Args:
        metrics: Takes them.
        checkpoints: The run's; they know when the last one was stored, and what restarts have lost.
        state: The state from which the attempt begins.
        distance: The evaluation of that state, when there is one.
    """

    def __init__(
        self, metrics: RunMetrics, checkpoints: Checkpoints, state: TrainState, distance: float | None
    ) -> None:
        self._metrics, self._checkpoints = metrics, checkpoints
        self._began = time.time()
        self._seconds, self._waited = state.seconds, 0.0
        self._batches: TimedBatches | None = None
        metrics.set({IMAGES_SEEN: state.images_seen, IMAGES_LOST: checkpoints.images_lost})
        self._tell_checkpoint()
        if distance is not None:
            self.evaluated(distance)

    def timed(self, batches: Batches) -> Batches:
        """Return the batches of this attempt such that waiting for them counts."""
        self._batches = TimedBatches(batches)
        return self._batches

    def reached(self, state: TrainState, rate: float, wasserstein: float) -> None:
        """Tell how far the loop is.

        Args:
            state: The state now.
            rate: Images a second since the last call.
            wasserstein: Mean critic score of real images less that of generated ones.
        """
        waited = self._batches.waited if self._batches is not None else 0.0
        looping = max(state.seconds - self._seconds, 1e-9)
        # A batch is a part of the loop's time; two readings of the clock may differ in the last digits.
        share = min((waited - self._waited) / looping, 1.0)
        self._seconds, self._waited = state.seconds, waited
        self._metrics.set(
            {
                IMAGES_PER_SECOND: rate,
                IMAGES_SEEN: state.images_seen,
                WASSERSTEIN_ESTIMATE: wasserstein,
                DATA_WAIT_RATIO: share,
            }
        )
        self._tell_checkpoint()

    def evaluated(self, distance: float) -> None:
        """Tell the distance of an evaluation."""
        self._metrics.set({FRECHET_DISTANCE: distance})
        self._tell_checkpoint()

    def _tell_checkpoint(self) -> None:
        stored = self._checkpoints.stored_at
        self._metrics.set({CHECKPOINT_TIME: self._began if stored is None else stored})
