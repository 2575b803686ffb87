from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.order import WholeOrder, WindowedOrder
from ganlib.errors import ConfigError

ORDER = [3, 5, 4, 6, 1, 0, 2, 9, 8, 7]
COUNTS = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def shards_of(index: torch.Tensor, counts: list[int]) -> set[int]:
    ends = torch.tensor(counts).cumsum(0)
    return set(torch.bucketize(index, ends, right=True).tolist())


@settings(deadline=None, max_examples=80)
@given(counts=COUNTS, window=st.integers(1, 14), seed=st.integers(-5, 2**70))
def test_every_epoch_shows_every_picture_once(counts: list[int], window: int, seed: int) -> None:
    count = sum(counts)
    stream = WindowedOrder(counts, seed, window).at(torch.arange(3 * count))
    for epoch in range(3):
        assert stream[epoch * count : (epoch + 1) * count].sort().values.tolist() == list(range(count))


@settings(deadline=None, max_examples=80)
@given(counts=COUNTS, window=st.integers(1, 14), data=st.data())
def test_it_depends_on_the_position_alone(counts: list[int], window: int, data: st.DataObject) -> None:
    """Whatever was asked for before, and however much at once: as workers and resumed runs do."""
    stream = WindowedOrder(counts, 7, window).at(torch.arange(4 * sum(counts)))
    order = WindowedOrder(counts, 7, window)
    for _ in range(5):
        start = data.draw(st.integers(0, len(stream) - 1))
        end = data.draw(st.integers(start, min(len(stream), start + 30)))
        assert torch.equal(order.at(torch.arange(start, end)), stream[start:end])


@settings(deadline=None, max_examples=80)
@given(counts=COUNTS, window=st.integers(1, 14), seed=st.integers(0, 99))
def test_a_position_needs_the_shards_of_its_window_alone(counts: list[int], window: int, seed: int) -> None:
    order = WindowedOrder(counts, seed, window)
    stream = order.at(torch.arange(2 * sum(counts)))
    seen: list[tuple[int, ...]] = []
    for position, picture in enumerate(stream.tolist()):
        now, after = (window.shards for window in order.windows_for(position, position + 1))
        assert shards_of(torch.tensor([picture]), counts) <= set(now)
        assert len(now) <= window
        assert len(after) <= window
        if position in (0, sum(counts)) or now != seen[-1]:
            seen.append(now)
    per_epoch = -(-len(counts) // window)
    assert len(seen) == 2 * per_epoch
    for half in (seen[:per_epoch], seen[per_epoch:]):
        assert sorted(shard for window_ in half for shard in window_) == list(range(len(counts)))


def test_the_next_window_is_the_one_that_comes() -> None:
    order = WindowedOrder([4] * 5, 3, 2)
    starts = [0, 8, 16, 20, 28, 36]  # the last window of an epoch has one shard; not always the same
    windows = [order.windows_for(position, position + 1) for position in range(40)]
    changes = [position for position in range(1, 40) if windows[position][0] != windows[position - 1][0]]
    assert set(changes) | {0} >= set(starts) - {20}
    for position in changes:
        assert windows[position][0] == windows[position - 1][1]


def test_epochs_and_seeds_differ_in_shards_and_pictures() -> None:
    order = WindowedOrder([50] * 8, 0, 2)
    first, second = order.at(torch.arange(800)).chunk(2)
    other = WindowedOrder([50] * 8, 1, 2).at(torch.arange(400))
    for one, two in ((first, second), (first, other)):
        assert not torch.equal(one, two)
        assert not torch.equal(one.sort().values, one)
    assert order.windows_for(0, 1)[0].shards != order.windows_for(400, 401)[0].shards


def test_a_stretch_needs_each_window_that_it_reaches_and_another_one_at_most() -> None:
    order = WindowedOrder([4] * 5, 3, 2)  # windows end at 8, 16, 20, 28, …
    for start, stop, ends in ((0, 8, [8, 16]), (7, 9, [8, 16]), (7, 17, [8, 16, 20]), (16, 20, [20, 28])):
        windows = order.windows_for(start, stop)
        assert [window.end for window in windows] == ends
    assert [(window.epoch, window.number) for window in windows] == [(0, 2), (1, 0)]


def test_the_order_stays_what_it_was() -> None:
    """A run that resumes under a newer version of the code must go on with the same pictures."""
    assert WindowedOrder([3, 4, 3], 7, 2).at(torch.arange(10)).tolist() == ORDER
    assert WholeOrder(10, 7).at(torch.arange(10)).tolist() == [4, 3, 0, 7, 9, 2, 5, 6, 1, 8]


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="a window of 0 shards"):
        WindowedOrder([1], 0, 0)
