from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numbered_version import make_version

from ganlib.data.order import WindowedOrder
from ganlib.data.windows import sample_of, shards_of, size_of, way_in_words, window_of, windows_bytes
from ganlib.errors import ConfigError
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion, Shard


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> DatasetVersion:
    return make_version(MemoryStore(), tmp_path_factory.mktemp("version"))


def test_a_version_that_fits_is_kept_whole(version: DatasetVersion) -> None:
    size = size_of(version.shards)
    assert window_of(version, None) is None
    assert window_of(version, size) is None
    assert window_of(version, size - 1) is not None


def test_the_window_is_the_largest_of_which_two_fit_beside_the_held_out_pictures(
    version: DatasetVersion,
) -> None:
    shard = max(shard.bytes for shard in version.shards)
    found = {window_of(version, limit * shard, batch_size=4) for limit in (5, 6, 7, 8)}
    assert found == {1, 2}
    for limit in range(5 * shard, size_of(version.shards), shard // 3):
        window = window_of(version, limit, batch_size=4)
        assert window is not None
        held_out = size_of(shards_of(version, "held_out"))
        assert held_out + windows_bytes(version, window, 4) <= limit
        assert held_out + size_of(sample_of(version, window)) <= limit


def test_several_runs_at_once_have_smaller_windows(tmp_path: Path) -> None:
    many = make_version(MemoryStore(), tmp_path, train=900)
    limit = size_of(many.shards) // 2
    one, two, three = (window_of(many, limit, runs=runs) or 0 for runs in (1, 2, 3))
    assert one > two > three > 0


def test_without_room_for_windows_of_one_shard_it_is_said_how_much_is_needed(version: DatasetVersion) -> None:
    with pytest.raises(
        ConfigError, match=r"GANLIB_CACHE_BYTES is 50,000.*raise it to [\d,]+ or more"
    ) as caught:
        window_of(version, 50_000)
    needed = int(str(caught.value).split("raise it to ")[1].split()[0].replace(",", ""))
    assert window_of(version, needed) in (1, None)
    with pytest.raises(ConfigError):
        window_of(version, needed - 1)
    with pytest.raises(ConfigError, match="for each of 9 trials at once"):
        window_of(version, size_of(version.shards) - 1, runs=9)


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=9),
    window=st.integers(1, 4),
    batch=st.integers(1, 24),
    seed=st.integers(0, 99),
)
def test_what_is_at_hand_never_exceeds_what_was_reserved(
    counts: list[int], window: int, batch: int, seed: int
) -> None:
    shards = tuple(
        Shard(
            path=f"shards/train-{n:05d}.safetensors",
            split="train",
            images=count,
            bytes=count * 5000,
            sha256="0" * 64,
        )
        for n, count in enumerate(counts)
    )
    made = DatasetVersion(name="many", digest="0" * 64, image_shape=(1, 8, 8), classes=(), shards=shards)
    order, reserved = WindowedOrder(counts, seed, window), windows_bytes(made, window, batch)
    for step in range(3 * sum(counts) // batch + 1):
        at_hand = order.windows_for(step * batch, (step + 1) * batch)
        numbers = {number for window_ in at_hand for number in window_.shards}
        assert sum(shards[number].bytes for number in numbers) <= reserved


def test_the_sample_is_the_same_each_time_and_not_the_first_shards(version: DatasetVersion) -> None:
    sample = sample_of(version, 2)
    assert sample == sample_of(version, 2)
    assert len(sample) == 4
    assert sample != shards_of(version, "train")[:4]
    assert set(sample_of(version, 1)) < set(sample)
    assert sample_of(version, 99) == shards_of(version, "train")


def test_a_line_says_which_way_is_taken(version: DatasetVersion) -> None:
    size = size_of(version.shards)
    whole = f"the dataset ({size:,} bytes) is kept whole on each node"
    taken = "1 of 8 training shards at a time"
    assert way_in_words(version, None, None) == whole
    assert way_in_words(version, None, 1) == f"{whole}, and read as the run began: {taken}"
    assert way_in_words(version, 200_000, 1) == (
        f"the dataset ({size:,} bytes) is larger than the cache's 200,000 bytes: streamed, {taken}"
    )
