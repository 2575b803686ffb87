from __future__ import annotations

import pytest
import torch

from ganlib.cluster.metrics import (
    CHECKPOINT_TIME,
    DATA_WAIT_RATIO,
    FRECHET_DISTANCE,
    IMAGES_PER_SECOND,
    METRICS,
)
from ganlib.core.loop import Batch
from ganlib.fakes.stores import MemoryMetrics
from ganlib.training import live
from ganlib.training.live import LiveNumbers, TimedBatches


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now

    time = perf_counter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


class Stored:
    """A run's checkpoints, as far as they are asked here."""

    images_lost = 0
    stored_at: float | None = None


class State:
    images_seen, seconds = 0, 5.0


def batches(clock: Clock, seconds: float):
    def batch(step: int) -> Batch:
        clock.now += seconds
        if step == 2:
            raise OSError("no such shard")
        return Batch(torch.zeros(1), torch.zeros(1))

    return batch


def test_waiting_for_pictures_is_a_share_of_the_loop_since_the_last_report(clock: Clock) -> None:
    metrics, state = MemoryMetrics(), State()
    numbers = LiveNumbers(metrics, Stored(), state, None)
    timed = numbers.timed(batches(clock, seconds=0.5))
    timed(0)
    state.seconds += 2.0
    numbers.reached(state, rate=10.0, wasserstein=0.1)
    state.seconds += 2.0
    numbers.reached(state, rate=20.0, wasserstein=0.1)
    assert metrics.told[DATA_WAIT_RATIO] == [0.25, 0.0]
    assert metrics.told[IMAGES_PER_SECOND] == [10.0, 20.0]


def test_waiting_that_ends_in_an_error_counts(clock: Clock) -> None:
    timed = TimedBatches(batches(clock, seconds=0.5))
    with pytest.raises(OSError, match="no such shard"):
        timed(2)
    assert timed.waited == 0.5


def test_the_checkpoints_time_is_the_attempts_start_until_one_is_stored(clock: Clock) -> None:
    metrics, stored, state = MemoryMetrics(), Stored(), State()
    numbers = LiveNumbers(metrics, stored, state, None)
    clock.now = 1600.0
    numbers.evaluated(3.0)
    stored.stored_at = 1590.0
    numbers.evaluated(2.0)
    assert metrics.told[CHECKPOINT_TIME] == [1000.0, 1000.0, 1590.0]


def test_the_distance_of_the_checkpoint_that_a_run_resumes_from_is_told_at_once(clock: Clock) -> None:
    metrics = MemoryMetrics()
    LiveNumbers(metrics, Stored(), State(), 4.5)
    assert metrics.told[FRECHET_DISTANCE] == [4.5]


def test_names_are_prometheus_own_and_each_has_its_unit_in_words() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.name.startswith("ganlib_")
        assert metric.exported == f"ray_{metric.name}"
        assert not metric.name.endswith("_total"), "these are gauges"
        assert metric.meaning.isascii(), "Ray raises UnicodeEncodeError otherwise"
