"""The windows of a sweep's trials, where the dataset is larger than the cache."""

from __future__ import annotations

from pathlib import Path

import pytest
from numbered_version import NotingStore, make_version
from sweeps import spec

from ganlib.data.windows import size_of
from ganlib.errors import ConfigError
from ganlib.settings import Settings
from ganlib.sweep.spec import SweepSpec, with_sweep_window, write_sweep_spec
from ganlib.training.spec import WINDOW_TAG


def test_trials_at_once_share_the_cache_and_a_sweep_keeps_its_window(tmp_path: Path) -> None:
    store = NotingStore(tmp_path / "log")
    version = make_version(store, tmp_path / "made", train=900)
    limit = size_of(version.shards) // 2

    def decided(concurrency: int, limit: int | None = limit) -> SweepSpec:
        settings = Settings(home=tmp_path, cache_bytes=limit)
        return with_sweep_window(store, spec(concurrency=concurrency, trials=6), version, settings)

    one, three = decided(1), decided(3)
    assert one.window_shards is not None
    assert three.window_shards is not None
    assert 1 <= three.window_shards < one.window_shards
    assert decided(1, None).window_shards is None
    with pytest.raises(
        ConfigError, match="for each of 6 trials at once; raise it to .*, or let fewer trials train"
    ):
        decided(20, limit // 3)  # only six trials exist
    trial = three.trial(0, {})
    assert trial.window_shards == three.window_shards
    assert trial.tracking("bucket").tags[WINDOW_TAG] == three.tracking("bucket").tags[WINDOW_TAG]
    write_sweep_spec(store, three)
    assert decided(3, None) == three, "the sweep goes on as it began"
