from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from safetensors.numpy import load
from watched_store import WatchedStore

from ganlib.data import shards
from ganlib.data.prepare import Preparation, held_out_keys, prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.raw.known import DEBIAN_FOLDER
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.data.versions import load_version, versions
from ganlib.errors import DataError, DigestMismatch, ServiceError, UnknownName
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion, Split

FASHION = Path(os.environ.get("GANLIB_TEST_FASHION_MNIST", DEBIAN_FOLDER))

Add = Callable[[str, Path | None], None]


@pytest.fixture
def add(store: WatchedStore, no_store: Callable[[str], ObjectStore], tmp_path: Path) -> Add:
    def run(name: str, source: Path | None) -> None:
        text = None if source is None else str(source)
        add_dataset(store, name, text, open_store=no_store, scratch=tmp_path / "scratch")

    return run


def contents(store: MemoryStore, version: DatasetVersion, split: Split) -> tuple[np.ndarray, np.ndarray]:
    parts = [load(store.get(f"{version.prefix}/{s.path}")) for s in version.shards if s.split == split]
    return np.concatenate([p["images"] for p in parts]), np.concatenate([p["labels"] for p in parts])


def test_idx_at_its_own_size_keeps_every_value(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path]
) -> None:
    folder = make_idx(train=30, held_out=7, size=12)
    add("mine", folder)
    version = prepare(store, "mine", Preparation(size=12))
    assert version.image_shape == (1, 12, 12)
    assert version.classes == ("0", "1", "2")
    assert (version.count("train"), version.count("held_out")) == (30, 7)
    for split, stem in (("train", "train"), ("held_out", "t10k")):
        images, labels = contents(store, version, split)  # type: ignore[arg-type]
        raw = gzip.decompress((folder / f"{stem}-images-idx3-ubyte.gz").read_bytes())[16:]
        assert images.dtype == np.uint8
        assert labels.dtype == np.int64
        assert images.tobytes() == raw
        assert labels.tolist() == [number % 3 for number in range(len(labels))]


def test_what_is_stored_is_what_the_manifest_says(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path]
) -> None:
    add("mine", make_idx())
    version = prepare(store, "mine", Preparation(size=8, channels=3))
    assert version.image_shape == (3, 8, 8)
    for shard in version.shards:
        data = store.get(f"{version.prefix}/{shard.path}")
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
    images, _ = contents(store, version, "train")
    assert images.shape == (30, 3, 8, 8)
    np.testing.assert_array_equal(images[:, 0], images[:, 2])
    manifest = store.puts.index(f"{version.prefix}/manifest.json")
    assert all("/shards/" not in key for key in store.puts[manifest:])
    assert load_version(store, "mine", version.digest) == version
    assert versions(store, "mine") == [version]


def test_pictures_are_labelled_by_folder_and_a_tenth_is_held_out(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    names = [f"{kind}/{number:02}.png" for kind in ("cats", "dogs") for number in range(12)]
    folder = make_pictures(names)
    add("pets", folder)
    version = prepare(store, "pets", Preparation(size=16))
    assert version.image_shape == (3, 16, 16)
    assert version.classes == ("cats", "dogs")
    assert (version.count("train"), version.count("held_out")) == (22, 2)
    held_out = held_out_keys(names)
    for split, chosen in (("train", set(names) - held_out), ("held_out", held_out)):
        images, labels = contents(store, version, split)  # type: ignore[arg-type]
        for image, label, name in zip(images, labels, sorted(chosen), strict=True):
            assert version.classes[label] == name.split("/")[0]
            # 20×16 cropped to 16×16: no resampling, so the middle comes through unchanged.
            np.testing.assert_array_equal(
                image, np.asarray(Image.open(folder / name))[:, 2:18].transpose(2, 0, 1)
            )


def test_pictures_without_folders_have_no_classes(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    add("flat", make_pictures(["1.png", "2.jpg", "3.png"]))
    version = prepare(store, "flat", Preparation(size=8, channels=1, fit="stretch"))
    assert (version.classes, version.image_shape) == ((), (1, 8, 8))
    assert (version.count("train"), version.count("held_out")) == (2, 1)
    assert contents(store, version, "train")[1].tolist() == [0, 0]


def test_one_picture_cannot_be_split(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    add("one", make_pictures(["1.png"]))
    with pytest.raises(DataError, match="has 1 picture; 2 are needed"):
        prepare(store, "one", Preparation(size=8))


@given(st.sets(st.text("ab/é.", min_size=1, max_size=9), min_size=2, max_size=60))
@settings(deadline=None, max_examples=50)
def test_the_held_out_split_is_a_fixed_tenth(names: set[str]) -> None:
    ordered = sorted(names)
    held_out = held_out_keys(ordered)
    assert held_out <= names
    assert len(held_out) == max(1, round(len(names) / 10))
    assert held_out_keys(ordered[::-1]) == held_out
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert max(digests[name] for name in held_out) < min(digests[name] for name in names - held_out)


def test_preparing_is_deterministic_and_finds_its_work_again(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    add("pets", make_pictures([f"{kind}/{number}.jpg" for kind in "ab" for number in range(9)]))
    calls: list[tuple[int, int]] = []
    version = prepare(store, "pets", Preparation(size=10), lambda done, total: calls.append((done, total)))
    assert calls[-1] == (18, 18)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})

    calls.clear()
    store.puts.clear()
    store.gets.clear()
    assert (
        prepare(store, "pets", Preparation(size=10), lambda done, total: calls.append((done, total)))
        == version
    )
    assert (calls, store.puts) == ([], [])
    assert not [key for key in store.gets if key.endswith(".jpg")]

    elsewhere = MemoryStore()
    for key, data in store.objects.items():
        if key.startswith("raw/"):
            elsewhere.put(key.replace("raw/pets", "raw/animals"), data)
    again = prepare(elsewhere, "animals", Preparation(size=10))
    assert again.digest == version.digest
    for shard in version.shards:
        assert elsewhere.get(f"{again.prefix}/{shard.path}") == store.get(f"{version.prefix}/{shard.path}")


@pytest.mark.parametrize("other", [{"size": 12}, {"channels": 1}, {"fit": "stretch"}])
def test_another_preparation_is_another_version(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path], other: dict[str, object]
) -> None:
    add("pets", make_pictures(["1.png", "2.png"]))
    first = prepare(store, "pets", Preparation(size=10))
    second = prepare(store, "pets", Preparation.model_validate({"size": 10, **other}))
    assert first.digest != second.digest
    assert {version.digest for version in versions(store, "pets")} == {first.digest, second.digest}


def test_changed_raw_pictures_are_noticed(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    folder = make_pictures(["1.png", "2.png"])
    add("pets", folder)
    first = prepare(store, "pets", Preparation(size=10))
    make_pictures(["2.png"], seed=9)
    add("pets", folder)
    assert prepare(store, "pets", Preparation(size=10)).digest != first.digest


def test_the_same_content_packed_otherwise_is_the_same_version(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path]
) -> None:
    add("mine", make_idx())
    first = prepare(store, "mine", Preparation(size=8))
    add("mine", make_idx(packed=False, folder="plain"))
    store.puts.clear()
    assert prepare(store, "mine", Preparation(size=8)).digest == first.digest
    assert [key for key in store.puts if "/prepared/" not in key] == []


@pytest.mark.parametrize("refused", ["/shards/held-out", "/manifest.json"])
def test_an_interrupted_prepare_leaves_no_version_and_is_repeated(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path], tmp_path: Path, refused: str
) -> None:
    add("mine", make_idx())
    store.refuse = lambda key: refused in key
    with pytest.raises(ServiceError):
        prepare(store, "mine", Preparation(size=8), scratch=tmp_path / "scratch")
    assert versions(store, "mine") == []
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [".lock"]
    store.refuse = lambda key: False
    version = prepare(store, "mine", Preparation(size=8), scratch=tmp_path / "scratch")
    assert versions(store, "mine") == [version]


def test_a_version_whose_manifest_is_gone_is_made_anew(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path]
) -> None:
    add("mine", make_idx())
    version = prepare(store, "mine", Preparation(size=8))
    store.delete(f"{version.prefix}/manifest.json")
    assert versions(store, "mine") == []
    assert prepare(store, "mine", Preparation(size=8)) == version
    assert versions(store, "mine") == [version]


def test_progress_that_raises_stops_it(store: WatchedStore, add: Add, make_idx: Callable[..., Path]) -> None:
    """Ctrl-C arrives as an exception in the thread that prepares."""
    add("mine", make_idx())

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(store, "mine", Preparation(size=8), interrupt)
    assert versions(store, "mine") == []


def test_a_raw_object_that_was_spoiled_later_is_named(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path], make_idx: Callable[..., Path]
) -> None:
    add("pets", make_pictures(["1.png", "2.png"]))
    store.put("raw/pets/2.png", b"spoiled")
    with pytest.raises(DataError, match=r"raw/pets/2\.png cannot be opened"):
        prepare(store, "pets", Preparation(size=8))
    add("mine", make_idx())
    key = "raw/mine/train-images-idx3-ubyte.gz"
    store.put(key, store.get(key)[:-50])
    with pytest.raises(DataError, match=rf"{key} is damaged or cut short"):
        prepare(store, "mine", Preparation(size=8))
    store.delete(key)
    with pytest.raises(DataError, match="lacks train-images-idx3-ubyte"):
        prepare(store, "mine", Preparation(size=8))


def test_unknown_names(store: WatchedStore, add: Add) -> None:
    add("digits", None)
    with pytest.raises(UnknownName, match="close to it: digits"):
        prepare(store, "digitz", Preparation(size=8))
    with pytest.raises(UnknownName, match="there is no dataset 'nothing'"):
        load_version(store, "nothing", "0" * 64)
    with pytest.raises(UnknownName, match="ganlib dataset prepare digits"):
        load_version(store, "digits", "0" * 64)


def test_an_altered_manifest_is_refused(store: WatchedStore, add: Add, make_idx: Callable[..., Path]) -> None:
    add("mine", make_idx())
    version = prepare(store, "mine", Preparation(size=8))
    key = f"{version.prefix}/manifest.json"
    store.put(key, store.get(key).replace(b'"images": 30', b'"images": 31'))
    with pytest.raises(DigestMismatch):
        load_version(store, "mine", version.digest)


@pytest.mark.parametrize(
    "bad", [{"size": 7}, {"size": 1025}, {"size": 8, "channels": 2}, {"size": 8, "fit": "pad"}]
)
def test_preparations_are_bounded(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Preparation.model_validate(bad)


def test_shards_are_bounded_in_pictures_and_bytes() -> None:
    assert shard_capacity((1, 28, 28)) == 8192
    assert shard_capacity((3, 1024, 1024)) == 21
    for shape in ((3, 64, 64), (3, 128, 128), (1, 512, 512)):
        assert shard_capacity(shape) * np.prod(shape) <= shards.MAX_SHARD_BYTES


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), capacity=st.integers(1, 12))
def test_shards_hold_the_stream_whatever_its_blocks(sizes: list[int], capacity: int) -> None:
    total = sum(sizes)
    labels = np.arange(total)
    images = np.repeat(labels.astype(np.uint8), 4).reshape(total, 1, 2, 2)
    cuts = np.cumsum(sizes)[:-1]
    blocks = map(Block, np.split(images, cuts), np.split(labels, cuts))
    with tempfile.TemporaryDirectory() as folder:
        written = list(write_shards(Path(folder), "train", blocks, (1, 2, 2), capacity))
        assert [shard.images for shard in written[:-1]] == [capacity] * (len(written) - 1)
        stored = [load((Path(folder) / shard.path).read_bytes()) for shard in written]
    np.testing.assert_array_equal(np.concatenate([part["labels"] for part in stored]), labels)
    np.testing.assert_array_equal(np.concatenate([part["images"] for part in stored]), images)


def test_a_description_from_elsewhere_is_refused(store: WatchedStore) -> None:
    store.put("raw/mine/dataset.json", b'{"format": "zip"}')
    with pytest.raises(DataError, match=r"raw/mine/dataset\.json is not a RawDataset"):
        prepare(store, "mine", Preparation(size=8))


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"{FASHION} is not there (Debian's dataset-fashion-mnist)")
def test_the_real_fashion_mnist(store: WatchedStore, add: Add) -> None:
    add("fashion-mnist", FASHION)
    version = prepare(store, "fashion-mnist", Preparation(size=28))
    assert (version.count("train"), version.count("held_out")) == (60_000, 10_000)
    assert version.classes[9] == "Ankle boot"
    images, labels = contents(store, version, "train")
    assert np.bincount(labels).tolist() == [6000] * 10
    # Mean and deviation that are published for the training pictures in [0, 1].
    assert images.mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert images.std() / 255 == pytest.approx(0.3530, abs=1e-4)
