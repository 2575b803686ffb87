"""The bound of the cache: who leaves, who stays, and what is said when nobody can."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ganlib.data.cache import LocalDataset, pull
from ganlib.data.shards import Block, write_shards
from ganlib.errors import DataError, DiskFull
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion

SHAPE = (1, 32, 32)
SIZE = 200_000
"""Bytes of a version, roughly: two shards of 100 pictures of 1 KiB."""


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def version(store: MemoryStore, tmp_path: Path) -> Callable[[int], DatasetVersion]:
    def make(seed: int) -> DatasetVersion:
        images = np.random.default_rng(seed).integers(0, 256, (200, *SHAPE), dtype=np.uint8)
        block = Block(images, np.zeros(200, np.int64))
        folder = tmp_path / f"made-{seed}"
        shards = tuple(write_shards(folder, "train", [block], SHAPE, 100))
        digest = DatasetVersion.digest_for(SHAPE, (), shards)
        made = DatasetVersion(name=f"set-{seed}", digest=digest, image_shape=SHAPE, classes=(), shards=shards)
        for shard in shards:
            store.put(f"{made.prefix}/{shard.path}", folder / shard.path)
        return made

    return make


def cached(cache: Path, *versions: DatasetVersion) -> list[bool]:
    """Whether each version is there, whole; nothing is ever there in part."""
    folders = [cache / "datasets" / version.digest for version in versions]
    for version, folder in zip(versions, folders, strict=True):
        assert not folder.exists() or all((folder / shard.path).is_file() for shard in version.shards)
    assert not list((cache / "datasets").glob("*.gone-*"))
    return [folder.exists() for folder in folders]


def use(cache: Path, version: DatasetVersion, time: int) -> None:
    os.utime(cache / "datasets" / f"{version.digest}.use", (time, time))


def test_the_least_recently_used_version_leaves_first(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    one, two, three, four = map(version, range(4))
    for number, each in enumerate((one, two, three)):
        pull(store, each, tmp_path, limit=4 * SIZE)
        use(tmp_path, each, number)
    pull(store, one, tmp_path, limit=4 * SIZE)  # no download, but a use
    pull(store, four, tmp_path, limit=int(3.5 * SIZE))
    assert cached(tmp_path, one, two, three, four) == [True, False, True, True]
    pull(store, two, tmp_path, limit=int(1.5 * SIZE))
    assert cached(tmp_path, one, two, three, four) == [False, True, False, False]


def test_without_a_bound_nothing_leaves(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    versions = [version(number) for number in range(4)]
    for each in versions:
        pull(store, each, tmp_path)
    assert cached(tmp_path, *versions) == [True] * 4


def test_a_version_stays_while_its_dataset_or_its_pictures_are_in_use(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    one, two = version(0), version(1)
    held: list[object] = [pull(store, one, tmp_path)]
    limit = int(1.5 * SIZE)
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"set-1 .* no room .* GANLIB_CACHE_BYTES is .* in use by other runs"
        ):
            pull(store, two, tmp_path, limit=limit)
        assert cached(tmp_path, one, two) == [True, False]
        dataset = held.pop()
        if isinstance(dataset, LocalDataset):
            held.append(dataset.load("train"))
        del dataset
    assert held == []
    pull(store, two, tmp_path, limit=limit)
    assert cached(tmp_path, one, two) == [False, True]


def test_nothing_leaves_when_that_would_not_make_enough_room(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    one, two, three = map(version, range(3))
    pull(store, one, tmp_path)
    held = pull(store, two, tmp_path)
    with pytest.raises(DataError, match="in use by other runs"):
        pull(store, three, tmp_path, limit=int(1.5 * SIZE))
    assert cached(tmp_path, one, held.version, three) == [True, True, False]


def test_a_version_larger_than_the_bound_is_refused_before_anything_leaves(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    one, two = version(0), version(1)
    pull(store, one, tmp_path)
    with pytest.raises(
        DataError, match=r"set-1 has \d+,\d+ bytes .* GANLIB_CACHE_BYTES is 1,000 bytes; raise it"
    ):
        pull(store, two, tmp_path, limit=1000)
    assert cached(tmp_path, one, two) == [True, False]
    pull(store, one, tmp_path, limit=1000)  # there already


@pytest.mark.parametrize(("free", "left"), [(10**12, True), (10**9 - 1, False), (2 * SIZE, False)])
def test_versions_leave_a_disk_that_becomes_full(
    store: MemoryStore,
    version: Callable[[int], DatasetVersion],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
    left: bool,
) -> None:
    one, two = version(0), version(1)
    pull(store, one, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    pull(store, two, tmp_path)
    assert cached(tmp_path, one, two) == [left, True]


def test_a_disk_without_room_is_said(
    store: MemoryStore,
    version: Callable[[int], DatasetVersion],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = pull(store, version(0), tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(DiskFull, match="GANLIB_HOME"):
        pull(store, version(1), tmp_path)
    assert cached(tmp_path, held.version) == [True]


def test_what_a_dead_process_left_half_removed_is_swept(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    half = tmp_path / "datasets" / ("a" * 64 + ".gone-12345678") / "shards"
    half.mkdir(parents=True)
    pull(store, version(0), tmp_path)
    assert cached(tmp_path, version(0)) == [True]


def _hold(store: MemoryStore, version: DatasetVersion, cache: Path, pipe: Connection) -> None:
    dataset = pull(store, version, cache)
    pipe.send("held")
    pipe.recv()
    os._exit(9 if dataset else 1)  # as if killed


def test_another_process_holds_a_version_until_it_dies(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    one, two = version(0), version(1)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_hold, args=(store, one, tmp_path, there))
    process.start()
    assert here.recv() == "held"
    with pytest.raises(DataError, match="in use by other runs"):
        pull(store, two, tmp_path, limit=int(1.5 * SIZE))
    here.send("die")
    process.join(60)
    pull(store, two, tmp_path, limit=int(1.5 * SIZE))
    assert cached(tmp_path, one, two) == [False, True]


def _pull_by_turns(store: MemoryStore, versions: list[DatasetVersion], cache: Path) -> None:
    for each in versions * 5:
        pull(store, each, cache, limit=int(2.5 * SIZE)).load("train")


def test_two_processes_that_evict_one_anothers_versions_find_them_whole(
    store: MemoryStore, version: Callable[[int], DatasetVersion], tmp_path: Path
) -> None:
    """Each holds one version at a time, and there is room for two."""
    versions = [version(number) for number in range(4)]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_pull_by_turns, args=(store, order, tmp_path))
        for order in (versions, versions[::-1])
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert 1 <= sum(cached(tmp_path, *versions)) <= 2
