"""A run's live numbers on the Prometheus endpoint of its Ray node.

Ray puts ``ray_`` before each name: ``ganlib_images_seen`` is ``ray_ganlib_images_seen`` there. The labels
are ``run`` and ``model``, beside Ray's own. Rank 0 of a training job reports them. The trials of a sweep do
not: there are hundreds, and Prometheus keeps a series for each run.

Ray's nodes forget a gauge 20 to 35 seconds after it was last set, even while its process lives. For a rate
that is right: an old one says nothing about now. But an alert about a hanging run needs the time of its last
checkpoint, so a thread sets the numbers that last again and again, until the training ends.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self, final

if TYPE_CHECKING:
    from ray.util.metrics import Gauge

REFRESH_SECONDS = 5.0
"""Seconds between two refreshes of what lasts: half of the time in which Ray's processes report once."""

LABELS = ("run", "model")


class Metric(NamedTuple):
    """One number of a run; all are gauges."""

    name: str
    meaning: str
    """For Prometheus and for people, the unit in it; ASCII, as Ray refuses anything else."""
    lasts: bool
    """Whether it holds until it is set again, or only for the moment at which it was set."""

    @property
    def exported(self) -> str:
        """Its name in Prometheus."""
        return f"ray_{self.name}"


IMAGES_PER_SECOND: Final = Metric(
    "ganlib_images_per_second", "Real images a second that the critic saw since the last report", False
)
WASSERSTEIN_ESTIMATE: Final = Metric(
    "ganlib_wasserstein_estimate", "Mean critic score of real images less that of generated ones", False
)
DATA_WAIT_RATIO: Final = Metric(
    "ganlib_data_wait_ratio",
    "Share of the loop's time, 0 to 1, in which rank 0 waited for pictures since the last report",
    False,
)
IMAGES_SEEN: Final = Metric(
    "ganlib_images_seen", "Training clock: real images that the critic has seen since the run began", True
)
FRECHET_DISTANCE: Final = Metric(
    "ganlib_frechet_distance",
    "Frechet distance (fd) to held-out pictures at the last evaluation, over the run's own features",
    True,
)
CHECKPOINT_TIME: Final = Metric(
    "ganlib_checkpoint_timestamp_seconds",
    "Unix time in seconds at which the last checkpoint was stored; before the first, the attempt's start",
    True,
)
IMAGES_LOST: Final = Metric(
    "ganlib_images_lost",
    "Images trained on after the last checkpoint before a restart, and seen again, over all restarts",
    True,
)

METRICS: Final = (
    IMAGES_PER_SECOND,
    WASSERSTEIN_ESTIMATE,
    DATA_WAIT_RATIO,
    IMAGES_SEEN,
    FRECHET_DISTANCE,
    CHECKPOINT_TIME,
    IMAGES_LOST,
)
"""All that ganlib exports."""


class RunMetrics(Protocol):
    """Takes a run's live numbers, and neither blocks nor raises: no graph is worth a training."""

    def set(self, values: Mapping[Metric, float]) -> None:
        """Tell the numbers as they are now; those that are not named stay."""
        ...


@final
class NoMetrics:
    """Takes the numbers of runs that nobody watches."""

    def set(self, values: Mapping[Metric, float]) -> None:
        """Drop them."""


@final
class RayMetrics:
    """Gauges of this process, which must be connected to a Ray cluster.

    Use as a context manager: leaving it ends the refreshes, and within a minute Ray's node no longer shows
    the run.

    Args:
        run: The run's name.
        model: Name of the model that it is for.
    """

    def __init__(self, run: str, model: str) -> None:
        # The training host imports this module, and runs without Ray too.
        from ray.util.metrics import Gauge

        self._gauges: dict[Metric, Gauge] = {}
        for metric in METRICS:
            gauge = Gauge(metric.name, description=metric.meaning, tag_keys=LABELS)
            gauge.set_default_tags({"run": run, "model": model})
            self._gauges[metric] = gauge
        self._lasting: dict[Metric, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="ganlib-metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def set(self, values: Mapping[Metric, float]) -> None:
        """Set gauges; Ray's process reports them by itself."""
        with self._lock:
            self._lasting |= {metric: value for metric, value in values.items() if metric.lasts}
            self._put(values)

    def _refresh(self) -> None:
        while not self._ended.wait(REFRESH_SECONDS):
            with self._lock:
                self._put(self._lasting)

    def _put(self, values: Mapping[Metric, float]) -> None:
        for metric, value in values.items():
            self._gauges[metric].set(value)
