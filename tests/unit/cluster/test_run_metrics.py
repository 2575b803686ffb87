"""A run's gauges, with Ray's class replaced: what Ray makes of them is tested in ``tests/e2e``."""

from __future__ import annotations

from queue import Queue

import pytest
import ray.util.metrics

from ganlib.cluster import metrics
from ganlib.cluster.metrics import IMAGES_PER_SECOND, IMAGES_SEEN, METRICS, RayMetrics


class Gauge:
    """Puts what is set into a queue."""

    made: dict[str, Gauge]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.description, self.tag_keys = description, tag_keys
        self.set_values: Queue[float] = Queue()
        self.made[name] = self

    def set_default_tags(self, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        self.tags = tags

    def set(self, value: float) -> None:
        self.set_values.put(value)


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch) -> dict[str, Gauge]:
    made: dict[str, Gauge] = {}
    monkeypatch.setattr(Gauge, "made", made, raising=False)
    monkeypatch.setattr(ray.util.metrics, "Gauge", Gauge)
    return made


def test_every_metric_has_a_gauge_with_the_run_and_the_model_as_labels(gauges: dict[str, Gauge]) -> None:
    RayMetrics("a-run", "a-model")
    assert sorted(gauges) == sorted(metric.name for metric in METRICS)
    for metric in METRICS:
        assert gauges[metric.name].tags == {"run": "a-run", "model": "a-model"}
        assert gauges[metric.name].description == metric.meaning


def test_what_lasts_is_set_again_and_a_rate_is_not(
    gauges: dict[str, Gauge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "REFRESH_SECONDS", 0.01)
    with RayMetrics("run", "model") as live:
        live.set({IMAGES_SEEN: 64, IMAGES_PER_SECOND: 10.0})
        seen = gauges["ganlib_images_seen"].set_values
        assert [seen.get(timeout=60) for _ in range(3)] == [64] * 3
        live.set({IMAGES_SEEN: 128})
        while seen.get(timeout=60) == 64:
            pass
        assert seen.get(timeout=60) == 128
    assert gauges["ganlib_images_per_second"].set_values.qsize() == 1


def test_nothing_is_set_after_the_end(gauges: dict[str, Gauge], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REFRESH_SECONDS", 0.01)
    with RayMetrics("run", "model") as live:
        live.set({IMAGES_SEEN: 64})
        thread = live._thread
    assert not thread.is_alive()
