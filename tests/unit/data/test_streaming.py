"""Training on a version that is larger than the cache: the same pictures, on a bounded disk."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from numbered_version import NotingStore, bytes_in, make_version

from ganlib.core.loop import Batch
from ganlib.data.batches import TrainingBatches
from ganlib.data.cache import pull
from ganlib.data.order import WindowedOrder
from ganlib.data.streaming import StreamedDataset, bring
from ganlib.data.windowed_pictures import WindowedPictures
from ganlib.data.windows import shards_of, window_of
from ganlib.errors import DataError, Interrupted, ObjectMissing
from ganlib.records import DatasetVersion

BATCH, LIMIT, SEED = 8, 310_000, 5
STEPS = 23
"""Two epochs and a half."""


@pytest.fixture
def store(tmp_path: Path) -> NotingStore:
    return NotingStore(tmp_path / "log")


@pytest.fixture
def version(store: NotingStore, tmp_path: Path) -> DatasetVersion:
    return make_version(store, tmp_path / "made")


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("ganlib-")]


def stream(
    store: NotingStore, version: DatasetVersion, cache: Path, limit: int | None = LIMIT
) -> StreamedDataset:
    dataset = bring(store, version, cache, limit=limit, window=window_of(version, limit, batch_size=BATCH))
    assert isinstance(dataset, StreamedDataset)
    assert dataset.window == 2
    return dataset


def batches_of(
    pictures: WindowedPictures, rank: int = 0, world_size: int = 1, batch_size: int = BATCH
) -> TrainingBatches:
    return TrainingBatches(
        pictures,
        seed=SEED,
        batch_size=batch_size,
        rank=rank,
        world_size=world_size,
        device="cpu",
        flip=True,
    )


@pytest.fixture
def unbounded(store: NotingStore, version: DatasetVersion, tmp_path: Path) -> Callable[[int], Batch]:
    """The batches of a run with the same window on a machine that holds the whole version."""
    dataset = bring(store, version, tmp_path / "unbounded", limit=None, window=2)
    assert not isinstance(dataset, StreamedDataset)
    batches = TrainingBatches(
        dataset.load("train"),
        seed=SEED,
        batch_size=BATCH,
        rank=0,
        world_size=1,
        device="cpu",
        flip=True,
        order=dataset.order(SEED),
    )
    store.noted()
    return batches


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def fetches(version: DatasetVersion, steps: int) -> list[str]:
    """The shards that come while these steps are trained: each when a window with it comes within reach."""
    shards = shards_of(version, "train")
    order = WindowedOrder([shard.images for shard in shards], SEED, 2)
    came: list[int] = []
    there: set[int] = set()
    for step in range(steps):
        wanted = {n for w in order.windows_for(step * BATCH, (step + 1) * BATCH) for n in w.shards}
        came += sorted(wanted - there)
        there = wanted
    return sorted(Path(shards[number].path).name for number in came)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_see_the_pictures_of_an_unbounded_run_on_a_bounded_disk_and_fetch_each_shard_once(
    store: NotingStore,
    version: DatasetVersion,
    tmp_path: Path,
    unbounded: Callable[[int], Batch],
    workers: int,
) -> None:
    cache, most = tmp_path / "cache", 0

    def look(key: str = "") -> None:
        nonlocal most
        most = max(most, bytes_in(cache))

    store.before_piece = look
    store.noted()
    dataset = stream(store, version, cache)
    held_out = store.noted()
    in_step = threading.Barrier(workers)

    def work(rank: int) -> list[Batch]:
        found = []
        with dataset.training("run", seed=SEED, batch_size=BATCH) as pictures:
            batches = batches_of(pictures, rank, workers)
            for step in range(STEPS):
                found.append(batches(step))
                in_step.wait(60)
            pictures.fetch_all()
            look()
        return found

    with ThreadPoolExecutor(workers) as pool:
        shares = list(pool.map(work, range(workers)))
    for step, parts in enumerate(zip(*shares, strict=True)):
        both = Batch(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))
        assert same(both, unbounded(step))
    assert 0 < most <= LIMIT
    assert sorted(held_out) == ["held-out-00000.safetensors", "held-out-00001.safetensors"]
    assert sorted(store.noted()) == fetches(version, STEPS)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_run_goes_on_in_the_middle_of_a_window(
    store: NotingStore,
    version: DatasetVersion,
    tmp_path: Path,
    unbounded: Callable[[int], Batch],
    fresh: bool,
) -> None:
    with stream(store, version, tmp_path / "a").training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches = batches_of(pictures)
        assert all(same(batches(step), unbounded(step)) for step in range(4))
        pictures.fetch_all()
    store.noted()
    cache = tmp_path / ("b" if fresh else "a")
    with stream(store, version, cache).training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches = batches_of(pictures)
        assert same(batches(3), unbounded(3))
        pictures.fetch_all()
        assert len(store.noted()) == (6 if fresh else 0), "held-out shards and those of two windows"
        assert all(same(batches(step), unbounded(step)) for step in range(4, 14))


def test_a_shard_altered_on_disk_is_noticed_and_brought_again(
    store: NotingStore, version: DatasetVersion, tmp_path: Path, unbounded: Callable[[int], Batch]
) -> None:
    dataset = stream(store, version, tmp_path / "cache")
    with dataset.training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches_of(pictures)(0)
        pictures.fetch_all()
    harmed = sorted((tmp_path / "cache").rglob("train-*.safetensors"))[0]
    content = harmed.read_bytes()
    harmed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(harmed, (1, 1))
    store.noted()
    with dataset.training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches = batches_of(pictures)
        assert all(same(batches(step), unbounded(step)) for step in range(5))
    assert harmed.name in store.noted()


def _train_until_killed(
    store: NotingStore, version: DatasetVersion, cache: Path, out: Connection, stall_at: int
) -> None:
    pieces = 0

    def stall(key: str) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == stall_at:
            out.send("stalled")
            signal.pause()

    store.before_piece = stall
    with stream(store, version, cache).training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches = batches_of(pictures)
        for step in range(STEPS):
            batches(step)
    out.send("ended")


@pytest.mark.parametrize("stall_at", [4, 9])
def test_what_a_killed_process_leaves_neither_blocks_nor_exceeds_the_bound(
    store: NotingStore,
    version: DatasetVersion,
    tmp_path: Path,
    unbounded: Callable[[int], Batch],
    stall_at: int,
) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    cache = tmp_path / "cache"
    process = context.Process(target=_train_until_killed, args=(store, version, cache, theirs, stall_at))
    process.start()
    assert ours.poll(60)
    assert ours.recv() == "stalled"
    process.kill()
    process.join()
    with stream(store, version, cache).training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches = batches_of(pictures)
        for step in range(7, STEPS):
            assert same(batches(step), unbounded(step))
            assert bytes_in(cache) <= LIMIT


def test_a_slow_store_holds_the_batches_up_and_no_longer(
    store: NotingStore, version: DatasetVersion, tmp_path: Path, unbounded: Callable[[int], Batch]
) -> None:
    dataset = stream(store, version, tmp_path / "cache")
    asked, answer = threading.Event(), threading.Event()

    def slow(key: str) -> None:
        asked.set()
        assert answer.wait(60)

    store.before_piece = slow
    with (
        dataset.training("run", seed=SEED, batch_size=BATCH) as pictures,
        ThreadPoolExecutor(1) as pool,
    ):
        batch = pool.submit(batches_of(pictures), 0)
        assert asked.wait(60)
        assert not batch.done()
        answer.set()
        assert same(batch.result(60), unbounded(0))


def test_a_shard_that_is_gone_is_an_error_where_its_pictures_are_needed_and_not_before(
    store: NotingStore, version: DatasetVersion, tmp_path: Path, unbounded: Callable[[int], Batch]
) -> None:
    order = WindowedOrder([shard.images for shard in shards_of(version, "train")], SEED, 2)
    now, after = order.windows_for(0, BATCH)
    keys = [f"{version.prefix}/{shards_of(version, 'train')[number].path}" for number in after.shards]
    dataset = stream(store, version, tmp_path / "cache")
    kept = {key: store.objects.pop(key) for key in keys}
    with dataset.training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches = batches_of(pictures)
        inside = now.end // BATCH
        for step in range(inside):
            assert same(batches(step), unbounded(step))
        with pytest.raises(ObjectMissing, match="train-"):
            batches(inside + 1)
        store.objects.update(kept)
        assert same(batches(inside + 1), unbounded(inside + 1))


def test_an_interrupted_training_ends_its_fetching(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    """While the store does not answer: the pause before the next attempt is cut short, too."""
    dataset = stream(store, version, tmp_path / "cache")
    asked = threading.Event()

    def down(key: str) -> None:
        asked.set()
        raise Interrupted("s3", "memory", "GANLIB_S3_ENDPOINT_URL", "no answer")

    store.before_piece = down

    def interrupted() -> WindowedPictures:
        with dataset.training("run", seed=SEED, batch_size=BATCH) as pictures, suppress(KeyboardInterrupt):
            pictures.move_on(pictures.order.windows_for(0, BATCH))
            assert asked.wait(60)
            raise KeyboardInterrupt
        return pictures

    pictures = interrupted()
    with pytest.raises(RuntimeError, match="closed"):
        pictures.gather(torch.tensor([30]))


def test_batches_may_reach_over_many_windows(store: NotingStore, tmp_path: Path) -> None:
    small = make_version(store, tmp_path / "small", train=90, capacity=2)
    limit, window = 360_000, 1
    assert window_of(small, limit, batch_size=32) == window
    streamed = bring(store, small, tmp_path / "cache", limit=limit, window=window)
    whole = bring(store, small, tmp_path / "whole", limit=None, window=window)
    assert isinstance(streamed, StreamedDataset)
    expected = TrainingBatches(
        whole.load("train"),
        seed=SEED,
        batch_size=32,
        rank=0,
        world_size=1,
        device="cpu",
        flip=True,
        order=whole.order(SEED),
    )
    with streamed.training("run", seed=SEED, batch_size=32) as pictures:
        batches = batches_of(pictures, batch_size=32)
        for step in range(7):
            assert same(batches(step), expected(step))
            assert bytes_in(tmp_path / "cache") <= limit


def test_runs_side_by_side_have_windows_of_their_own_as_far_as_there_is_room(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    dataset = stream(store, version, tmp_path)
    with ExitStack() as runs:
        runs.enter_context(dataset.training("one", seed=1, batch_size=BATCH))
        with pytest.raises(DataError, match="in use by other runs; wait for them, or raise it"):
            runs.enter_context(dataset.training("two", seed=2, batch_size=BATCH))
        with pytest.raises(DataError, match="in use by other runs"):
            dataset.sample()
    with dataset.training("two", seed=2, batch_size=BATCH) as pictures:
        batches_of(pictures)(0)


def test_the_sample_and_the_held_out_pictures_are_there_without_the_rest(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    dataset = stream(store, version, tmp_path / "cache")
    whole = pull(store, version, tmp_path / "whole")
    assert torch.equal(dataset.load("held_out").images, whole.load("held_out").images)
    with pytest.raises(
        DataError, match="do not all fit the cache; raise GANLIB_CACHE_BYTES, which is 310,000"
    ):
        dataset.load("train")
    with dataset.training("run", seed=SEED, batch_size=BATCH) as pictures:
        batches_of(pictures)(0)
    sample = dataset.sample()
    assert 30 <= len(sample) <= 40
    assert bytes_in(tmp_path / "cache") <= LIMIT
    numbers = sample.images[:, 0, 0, 1].long()
    assert torch.equal(sample.images, whole.load("train").images[numbers])
    assert torch.equal(dataset.sample().images, sample.images)
    assert len(whole.sample()) == 73
