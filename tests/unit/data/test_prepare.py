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
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.raw.known import DEBIAN_FOLDER
from ganlib.data.shards import Block, shard_capacity, write_shards
from ganlib.data.split import split_pictures
from ganlib.data.versions import load_version, versions
from ganlib.errors import DataError, DigestMismatch, ServiceError, UnknownName
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore
from ganlib.quality.requirements import require_held_out
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


def test_stored_shards_match_the_manifest(
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


def paint(folder: Path, pictures: dict[str, int]) -> Path:
    """A folder of 8×8 grey PNG files by name, each of the shade given."""
    for name, shade in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), shade, np.uint8)).save(path)
    return folder


def held_out_shades() -> list[int]:
    """Shades whose 8×8 picture belongs to the tenth that is held out."""
    digests = [hashlib.sha256(bytes([shade] * 64)).digest() for shade in range(256)]
    return [shade for shade, digest in enumerate(digests) if digest[:8] < (2**64 // 10).to_bytes(8, "big")]


def shades(store: MemoryStore, version: DatasetVersion, split: Split) -> list[int]:
    return sorted(int(image[0, 0, 0]) for image in contents(store, version, split)[0])


GREY = Preparation(size=8, channels=1)


def test_pictures_are_labelled_by_folder_and_a_tenth_is_held_out(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    names = [f"{kind}/{number:02}.png" for kind in ("cats", "dogs") for number in range(30)]
    folder = make_pictures(names)
    add("pets", folder)
    version = prepare(store, "pets", Preparation(size=16))
    assert version.image_shape == (3, 16, 16)
    assert version.classes == ("cats", "dogs")
    # 20×16 cropped to 16×16: no resampling, so the middle comes through unchanged.
    wanted = {
        name: np.asarray(Image.open(folder / name))[:, 2:18].transpose(2, 0, 1).tobytes() for name in names
    }
    digests = {name: hashlib.sha256(pixels).digest() for name, pixels in wanted.items()}
    held_out = {name for name in names if int.from_bytes(digests[name][:8], "big") < 2**64 // 10}
    assert 0 < len(held_out) < 20
    for split, chosen in (("train", set(names) - held_out), ("held_out", held_out)):
        images, labels = contents(store, version, split)  # type: ignore[arg-type]
        for image, label, name in zip(images, labels, sorted(chosen, key=digests.__getitem__), strict=True):
            assert version.classes[label] == name.split("/")[0]
            assert image.tobytes() == wanted[name]


def test_copies_are_on_one_side_and_kept_once(store: WatchedStore, add: Add, tmp_path: Path) -> None:
    pictures = {f"{shade:03}{copy}.png": shade for shade in range(60) for copy in ("", " (copy)")}
    add("dup", paint(tmp_path / "dup", pictures))
    version = prepare(store, "dup", GREY)
    train, held_out = shades(store, version, "train"), shades(store, version, "held_out")
    assert held_out == [shade for shade in held_out_shades() if shade < 60]
    assert sorted(train + held_out) == list(range(60))


def test_adding_pictures_moves_none_to_the_other_side(store: WatchedStore, add: Add, tmp_path: Path) -> None:
    add("few", paint(tmp_path / "few", {f"{shade}.png": shade for shade in range(0, 256, 4)}))
    few = prepare(store, "few", GREY)
    add("few", paint(tmp_path / "few", {f"renamed-{shade}.png": shade for shade in range(256)}))
    many = prepare(store, "few", GREY)
    assert shades(store, many, "held_out") == held_out_shades()
    for split in ("train", "held_out"):
        assert set(shades(store, few, split)) <= set(shades(store, many, split))  # type: ignore[arg-type]


def test_every_class_has_pictures_to_train_on(store: WatchedStore, add: Add, tmp_path: Path) -> None:
    """Classes of one and of two pictures, all of them in the tenth that is held out."""
    one, two, three = held_out_shades()[:3]
    pictures = {"zebra/x.png": one, "yak/1.png": two, "yak/2.png": three}
    pictures |= {f"ant/{shade}.png": shade for shade in range(256) if shade not in held_out_shades()}
    add("rare", paint(tmp_path / "rare", pictures))
    version = prepare(store, "rare", GREY)
    images, labels = contents(store, version, "train")
    assert set(labels.tolist()) == {0, 1, 2}
    kept = max((two, three), key=lambda shade: hashlib.sha256(bytes([shade] * 64)).digest())
    assert [int(image[0, 0, 0]) for image, label in zip(images, labels, strict=True) if label == 1] == [kept]
    assert shades(store, version, "held_out") == [two + three - kept]


def test_pictures_without_folders_have_no_classes(store: WatchedStore, add: Add, tmp_path: Path) -> None:
    held_out = held_out_shades()[0]
    add("flat", paint(tmp_path / "flat", {"1.png": held_out, "2.png": 255, "3.png": 254}))
    version = prepare(store, "flat", Preparation(size=8, channels=1, fit="stretch"))
    assert (version.classes, version.image_shape) == ((), (1, 8, 8))
    assert (version.count("train"), version.count("held_out")) == (2, 1)
    assert contents(store, version, "train")[1].tolist() == [0, 0]


def test_a_dataset_of_one_picture_has_it_for_training_and_cannot_be_evaluated(
    store: WatchedStore, add: Add, tmp_path: Path
) -> None:
    add("same", paint(tmp_path / "same", {f"{number}.png": held_out_shades()[0] for number in range(60)}))
    version = prepare(store, "same", GREY)
    assert (version.count("train"), version.count("held_out")) == (1, 0)
    with pytest.raises(
        DataError, match="has 0 held-out pictures and 1 to train on, and an evaluation needs 4"
    ):
        require_held_out(version)


def test_four_held_out_pictures_are_enough(store: WatchedStore, add: Add, tmp_path: Path) -> None:
    train = [shade for shade in range(256) if shade not in held_out_shades()][:6]
    chosen = [*held_out_shades()[:4], *train]
    add("enough", paint(tmp_path / "enough", {f"{shade}.png": shade for shade in chosen}))
    require_held_out(prepare(store, "enough", GREY))
    add("three", paint(tmp_path / "three", {f"{shade}.png": shade for shade in chosen[1:]}))
    with pytest.raises(DataError, match="ganlib dataset add three"):
        require_held_out(prepare(store, "three", GREY))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 5)), max_size=80))
@settings(deadline=None, max_examples=50)
def test_a_split_parts_no_copies_and_leaves_no_class_behind(pictures: list[tuple[int, int]]) -> None:
    digests = [hashlib.sha256(bytes([pixels % 256, pixels // 256])).digest() for pixels, _ in pictures]
    labels = [label for _, label in pictures]
    split = split_pictures(digests, labels)
    train, held_out = ({digests[at] for at in side} for side in (split.train, split.held_out))
    assert not train & held_out
    assert {labels[at] for at in split.train} == set(labels)
    assert len(split.train) + len(split.held_out) == len(set(pictures)) == len(pictures) - split.copies
    assert all(int.from_bytes(digest[:8], "big") < 2**64 // 10 for digest in held_out)


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
    with pytest.raises(DataError, match=r"1 of the 2 pictures .* \(1 unreadable\).* 2\.png: its first bytes"):
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
    "bad", [{"size": 7}, {"size": 1025}, {"size": 8, "channels": 2}, {"size": 8, "fit": "squeeze"}]
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


def test_the_flow_refuses_too_few_held_out_pictures_before_any_job(
    store: WatchedStore, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage that prepares refuses; every job comes after it."""
    from prefect.logging import disable_run_logger

    from flows import stages
    from ganlib.config.run import load_config
    from ganlib.settings import Settings

    add("few", paint(tmp_path / "few", {f"{shade}.png": shade for shade in held_out_shades()[:3]}))
    monkeypatch.setattr(stages, "load_settings", lambda: Settings(home=tmp_path / "home"))
    monkeypatch.setattr(stages, "open_store", lambda settings: store)
    config = load_config("digits-wgan", {"dataset.name": "few", "dataset.size": 28})
    with disable_run_logger():
        with pytest.raises(DataError, match="an evaluation needs 4 held out"):
            stages.prepare.fn(config)
        add("few", paint(tmp_path / "few", {f"{shade}.png": shade for shade in range(256)}))
        assert stages.prepare.fn(config).count("held_out") >= 4
