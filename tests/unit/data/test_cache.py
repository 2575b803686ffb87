from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors.numpy import save_file
from watched_store import WatchedStore

from ganlib.data.cache import pull
from ganlib.data.pictures import Pictures, open_pictures
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.shards import Block, write_shards
from ganlib.errors import DataError, DigestMismatch, ObjectMissing
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion


@pytest.fixture
def version(
    store: WatchedStore, no_store: Callable[[str], ObjectStore], make_idx: Callable[..., Path], tmp_path: Path
) -> DatasetVersion:
    add_dataset(store, "mine", str(make_idx()), open_store=no_store, scratch=tmp_path / "scratch")
    return prepare(store, "mine", Preparation(size=12))


class Downloads(MemoryStore):
    """A copy of a store that notes each request in a file, across processes, and can spoil some answers."""

    def __init__(self, objects: dict[str, bytes], log: Path) -> None:
        super().__init__()
        self.objects.update(objects)
        self.log = log
        self.spoil = 0

    def stream(self, key: str, start: int, length: int) -> Generator[bytes, None, None]:
        with self.log.open("a") as out:
            out.write(f"{key}\n")
        for piece in super().stream(key, start, length):
            spoiled, self.spoil = self.spoil > 0, max(0, self.spoil - 1)
            yield piece[:-1] + bytes([piece[-1] ^ 1]) if spoiled else piece

    @property
    def keys(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def source(store: WatchedStore, version: DatasetVersion, tmp_path: Path) -> Downloads:
    return Downloads(store.objects, tmp_path / "downloads")


def test_shards_are_brought_once(source: Downloads, version: DatasetVersion, tmp_path: Path) -> None:
    local = pull(source, version, tmp_path / "cache")
    assert local.folder == tmp_path / "cache" / "datasets" / version.digest
    assert sorted(source.keys) == sorted(f"{version.prefix}/{shard.path}" for shard in version.shards)
    assert pull(source, version, tmp_path / "cache") == local
    assert len(source.keys) == len(version.shards)


def test_loaded_pictures_are_the_stored_ones(
    source: Downloads, version: DatasetVersion, tmp_path: Path
) -> None:
    from safetensors.torch import load

    local = pull(source, version, tmp_path / "cache")
    for split in ("train", "held_out"):
        pictures = local.load(split)  # type: ignore[arg-type]
        (shard,) = [shard for shard in version.shards if shard.split == split]
        stored = load(source.get(f"{version.prefix}/{shard.path}"))
        assert pictures.images.dtype == torch.uint8
        assert pictures.labels.dtype == torch.int64
        torch.testing.assert_close(pictures.images, stored["images"])
        torch.testing.assert_close(pictures.labels, stored["labels"])
        assert len(pictures) == version.count(split)  # type: ignore[arg-type]


@pytest.mark.parametrize("harm", ["truncated", "altered", "gone"])
def test_a_shard_that_was_harmed_on_disk_is_fetched_again(
    source: Downloads, version: DatasetVersion, tmp_path: Path, harm: str
) -> None:
    local = pull(source, version, tmp_path / "cache")
    path = local.folder / version.shards[0].path
    good = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(good[:-5] if harm == "truncated" else good[:-1] + bytes([good[-1] ^ 1]))
        os.utime(path, (1, 1))
    source.log.unlink()
    pull(source, version, tmp_path / "cache")
    assert source.keys == [f"{version.prefix}/{version.shards[0].path}"]
    assert path.read_bytes() == good


def test_a_shard_spoiled_on_the_way_is_fetched_once_more(
    source: Downloads, version: DatasetVersion, tmp_path: Path
) -> None:
    source.spoil = 1
    local = pull(source, version, tmp_path / "cache")
    assert len(source.keys) == len(version.shards) + 1
    assert len(local.load("train")) == 30


def test_a_shard_spoiled_in_the_store_is_refused_and_not_kept(
    source: Downloads, version: DatasetVersion, tmp_path: Path
) -> None:
    key = f"{version.prefix}/{version.shards[0].path}"
    source.objects[key] = bytes(len(source.objects[key]))
    with pytest.raises(DigestMismatch) as caught:
        pull(source, version, tmp_path / "cache")
    assert caught.value.what == key
    assert source.keys.count(key) == 2
    left = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    assert Path(key).name not in left
    assert not [name for name in left if name.endswith(".part")]


def test_a_missing_shard_and_a_cache_that_cannot_be_written(
    source: Downloads, version: DatasetVersion, tmp_path: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="blocked cannot be used"):
        pull(source, version, blocked)
    source.delete(f"{version.prefix}/{version.shards[1].path}")
    with pytest.raises(ObjectMissing):
        pull(source, version, tmp_path / "cache")


def test_a_damaged_record_of_what_was_verified_only_means_checking_again(
    source: Downloads, version: DatasetVersion, tmp_path: Path
) -> None:
    local = pull(source, version, tmp_path / "cache")
    (local.folder / "verified.json").write_text("{")
    pull(source, version, tmp_path / "cache")
    assert len(source.keys) == len(version.shards)


def _pull(source: Downloads, version: DatasetVersion, cache: Path) -> None:
    pull(source, version, cache)


def test_processes_on_one_machine_fetch_once(
    source: Downloads, version: DatasetVersion, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (source, version, tmp_path / "cache")
    processes = [context.Process(target=_pull, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(source.keys) == len(version.shards)


def _shards(
    folder: Path, counts: list[int], shape: tuple[int, int, int]
) -> tuple[list, torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(0)
    written, images, labels = [], [], []
    for number, count in enumerate(counts):
        block = Block(random.integers(0, 256, (count, *shape), dtype=np.uint8), random.integers(0, 9, count))
        (shard,) = write_shards(folder / str(number), "train", [block], shape, count)
        written.append(shard.model_copy(update={"path": f"{number}/{shard.path}"}))
        images.append(torch.from_numpy(block.images))
        labels.append(torch.from_numpy(block.labels))
    return written, torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize(("counts", "limit"), [([17], 0), ([5, 1, 9], 0), ([5, 1, 9], 10**9)])
def test_gathering_is_the_same_however_the_pictures_lie(
    tmp_path: Path, counts: list[int], limit: int
) -> None:
    shape = (3, 4, 4)
    shards, images, labels = _shards(tmp_path, counts, shape)
    pictures = open_pictures(tmp_path, shards, shape, classes=9, concatenate_below=limit)
    assert pictures.in_one_piece is (len(counts) == 1 or limit > 0)
    assert pictures.image_shape == shape
    assert pictures.nbytes == images.nbytes
    torch.testing.assert_close(pictures.images, images)
    torch.testing.assert_close(pictures.labels, labels)
    index = torch.randint(len(images), (40,), generator=torch.Generator().manual_seed(0))
    chosen, chosen_labels = pictures.gather(index)
    torch.testing.assert_close(chosen, images[index])
    torch.testing.assert_close(chosen_labels, labels[index])


def test_one_shard_is_mapped_and_not_read(tmp_path: Path) -> None:
    shape = (1, 512, 512)
    shards, _, _ = _shards(tmp_path, [200], shape)  # 52 MB
    process = psutil.Process()
    before = process.memory_info().rss
    pictures = open_pictures(tmp_path, shards, shape, classes=9)
    assert process.memory_info().rss - before < 20e6
    assert len(pictures) == 200


def test_no_shards_are_no_pictures(tmp_path: Path) -> None:
    pictures = open_pictures(tmp_path, [], (1, 8, 8), classes=0)
    assert len(pictures) == 0
    assert pictures.images.shape == (0, 1, 8, 8)


def test_a_shard_that_is_not_what_it_should_be_is_refused(tmp_path: Path) -> None:
    shards, _, _ = _shards(tmp_path, [4], (1, 8, 8))
    with pytest.raises(DataError, match="its manifest says"):
        open_pictures(tmp_path, shards, (3, 8, 8), classes=9)
    (tmp_path / shards[0].path).write_bytes(b"no shard")
    with pytest.raises(DataError, match="cannot be read as a shard"):
        open_pictures(tmp_path, shards, (1, 8, 8), classes=9)
    (tmp_path / shards[0].path).unlink()
    with pytest.raises(DataError, match="pull the dataset again"):
        open_pictures(tmp_path, shards, (1, 8, 8), classes=9)


@pytest.mark.parametrize(("labels", "classes"), [([0, 3], 3), ([-1, 0], 3), ([0, 1], 0)])
def test_labels_that_are_no_class_are_refused(tmp_path: Path, labels: list[int], classes: int) -> None:
    block = Block(np.zeros((2, 1, 4, 4), np.uint8), np.array(labels, np.int64))
    shards = list(write_shards(tmp_path, "train", [block], (1, 4, 4), 2))
    with pytest.raises(DataError, match=f"labels from {labels[0]} to {labels[1]}.*{classes} classes"):
        open_pictures(tmp_path, shards, (1, 4, 4), classes=classes)


def test_a_shard_with_more_or_other_tensors_than_its_record_takes_no_memory(tmp_path: Path) -> None:
    block = Block(np.zeros((2, 1, 4, 4), np.uint8), np.zeros(2, np.int64))
    (shard,) = write_shards(tmp_path, "train", [block], (1, 4, 4), 2)
    with pytest.raises(DataError, match="its manifest says"):
        open_pictures(tmp_path, [shard.model_copy(update={"images": 3})], (1, 4, 4), classes=0)
    save_file({"images": np.zeros((2, 1, 4, 4), np.float32)}, tmp_path / shard.path)
    with pytest.raises(DataError, match="cannot be read as a shard"):
        open_pictures(tmp_path, [shard], (1, 4, 4), classes=0)


@pytest.mark.parametrize("kind", ["absolute", "above", "link"])
def test_the_cache_writes_and_deletes_nothing_outside_its_folder(
    source: Downloads, version: DatasetVersion, tmp_path: Path, kind: str
) -> None:
    """The cache refuses by itself, even where a record was made without its checks."""
    victim = tmp_path / "elsewhere" / "x.safetensors"
    victim.parent.mkdir()
    victim.write_bytes(b"precious")
    cache = tmp_path / "cache"
    path = {
        "absolute": str(victim),
        "above": "../../../elsewhere/x.safetensors",
        "link": "shards/x.safetensors",
    }
    if kind == "link":
        shards = cache / "datasets" / version.digest / "shards"
        shards.mkdir(parents=True)
        (shards / "x.safetensors").symlink_to(victim)
    shard = version.shards[0].model_copy(update={"path": path[kind]})
    hostile = version.model_copy(update={"shards": (shard, *version.shards[1:])})
    with pytest.raises(DataError, match="its manifest cannot be trusted"):
        pull(source, hostile, cache)
    assert victim.read_bytes() == b"precious"
    assert source.keys == []


def test_pictures_can_be_made_from_tensors() -> None:
    pictures = Pictures([torch.zeros(3, 1, 2, 2, dtype=torch.uint8)], torch.tensor([0, 1, 2]))
    assert pictures.gather(torch.tensor([2, 0]))[1].tolist() == [2, 0]
