from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from watched_store import WatchedStore

from ganlib.config import load_config
from ganlib.config.run import read_value
from ganlib.data.labelling.dataset_labels import DatasetLabels
from ganlib.data.layout import datasets, describe_raw
from ganlib.data.raw.add import AddedDataset, add_dataset
from ganlib.data.raw.known import KNOWN, Places, find_known
from ganlib.errors import (
    ConfigError,
    DataError,
    DigestMismatch,
    ServiceError,
    SourceUnavailable,
    UnknownName,
)
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore

Add = Callable[..., AddedDataset]


@pytest.fixture
def add(store: WatchedStore, no_store: Callable[[str], ObjectStore], tmp_path: Path) -> Add:
    def run(name: str, source: Path | str | None, **options: object) -> AddedDataset:
        text = None if source is None else str(source)
        arguments = {"open_store": no_store, "scratch": tmp_path / "scratch", **options}
        return add_dataset(store, name, text, **arguments)  # type: ignore[arg-type]

    return run


def test_digits_are_added_by_name(store: WatchedStore, add: Add, tmp_path: Path) -> None:
    added = add("digits", None)
    assert (added.objects, added.uploaded, added.format) == (4, 4, "idx")
    assert store.puts[-1] == "raw/digits/dataset.json"
    assert describe_raw(store, "digits").classes == tuple("0123456789")
    assert sum(len(data) for key, data in store.objects.items() if key.endswith(".gz")) == added.bytes
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"class_level": 1}, "--class-level cannot be used here"),
        ({"group": "p([0-9]+)"}, "--group cannot be used here"),
        ({"class_level": 0, "unlabelled": True}, "--class-level and --unlabelled cannot be used here"),
    ],
)
@pytest.mark.parametrize("name", ["digits", "mine"])
def test_rules_that_idx_files_do_not_heed_are_refused_before_anything_is_added(
    store: WatchedStore,
    add: Add,
    make_idx: Callable[..., Path],
    name: str,
    rules: dict[str, object],
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=f"{said}: .*leave it out. Nothing was added"):
        add(name, None if name == "digits" else make_idx(), labels=DatasetLabels.model_validate(rules))
    assert store.objects == {}


def test_unlabelled_pictures_of_another_source_than_state_farms_cannot_be_asked_for(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match="--unlabelled cannot be used here: the source is not State Farm's"):
        add("pets", make_pictures(["a/1.png"]), labels=DatasetLabels(unlabelled=True))
    assert store.objects == {}


def test_a_licence_is_kept_until_another_is_stated_or_the_pictures_are_replaced(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path], make_idx: Callable[..., Path]
) -> None:
    folder = make_pictures(["a/1.png", "b/2.png"])

    def licence(name: str, source: Path, **options: object) -> str:
        add(name, source, **options)
        return describe_raw(store, name).licence

    for name, source in (("pets", folder), ("mine", make_idx())):
        assert licence(name, source) == "unknown"
        assert licence(name, source, licence="CC-BY-4.0") == "CC-BY-4.0"
        assert licence(name, source) == "CC-BY-4.0"
        assert licence(name, source, licence="MIT") == "MIT"
        assert licence(name, source, replace=True) == "unknown"
    with pytest.raises(ConfigError, match="--licence cannot be used here: the files of digits"):
        add("digits", None, licence="MIT")


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a|b", "x" * 201])
def test_a_licence_is_one_line(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path], text: str
) -> None:
    with pytest.raises(ConfigError, match="give 1 to 200 without line breaks"):
        add("pets", make_pictures(["a/1.png"]), licence=text)
    assert store.objects == {}


def test_adding_again_writes_nothing(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    folder = make_pictures(["a/1.png", "b/2.jpg"])
    add("pets", folder)
    add("digits", None)
    before = dict(store.objects)
    store.puts.clear()
    assert add("pets", folder).uploaded == 0
    assert add("digits", None).uploaded == 0
    assert store.puts == []
    assert store.objects == before


def test_pictures_keep_their_paths_and_bytes(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    names = ["cats/1.png", "cats/more/2.PNG", "dogs/1.jpg", "dogs/3.jpeg"]
    folder = make_pictures(names)
    (folder / "notes.txt").write_text("no picture")
    (folder / "cats" / "._1.png").write_bytes(b"resource fork")
    added = add("pets", folder)
    assert (added.objects, added.source) == (4, str(folder))
    assert added.passed_over == {".txt": 1, "left by file managers": 1}
    assert added.classes == ("cats", "dogs")
    assert set(store.objects) == {f"raw/pets/{name}" for name in names} | {"raw/pets/dataset.json"}
    for name in names:
        assert store.objects[f"raw/pets/{name}"] == (folder / name).read_bytes()
    assert describe_raw(store, "pets").classes == ("cats", "dogs")


def test_changed_and_new_pictures_alone_are_uploaded(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    folder = make_pictures(["a/1.png", "a/2.png"])
    add("pets", folder)
    store.puts.clear()
    make_pictures(["a/2.png", "b/3.png"], seed=1)
    assert add("pets", folder).uploaded == 2
    changed = ["raw/pets/a/2.png", "raw/pets/b/3.png", "raw/pets/dataset.json"]
    assert sorted(store.puts) == ["raw/pets/.labels/before.json", *changed]
    assert "raw/pets/.labels/before.json" not in store.objects
    assert describe_raw(store, "pets").classes == ("a", "b")


def test_pictures_of_two_folders_add_up(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    one, two = make_pictures(["a/1.png"], "one"), make_pictures(["b/1.png"], "two")
    add("pets", one)
    add("pets", two)
    raw = describe_raw(store, "pets")
    assert raw.classes == ("a", "b")
    assert raw.sources == (str(one), str(two))


def test_pictures_come_from_another_bucket(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    folder = make_pictures(["cats/1.png", "dogs/2.png"])
    other = MemoryStore()
    for path in folder.rglob("*.png"):
        other.put(str(path.relative_to(folder)), path)
    other.put("cats/", b"")
    opened = []

    def open_store(uri: str) -> ObjectStore:
        opened.append(uri)
        return other

    added = add("pets", "s3://photos/some/where", open_store=open_store)
    assert opened == ["s3://photos/some/where"]
    assert (added.objects, added.source) == (2, "s3://photos/some/where")
    assert store.objects["raw/pets/cats/1.png"] == (folder / "cats/1.png").read_bytes()


def test_idx_files_from_a_bucket_are_checked(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path]
) -> None:
    other = MemoryStore()
    for path in make_idx().iterdir():
        other.put(path.name, path)
    assert add("mine", "s3://b/p/", open_store=lambda uri: other).format == "idx"
    with pytest.raises(DigestMismatch, match=r"s3://b/p/train-images-idx3-ubyte\.gz"):
        add("fashion-mnist", "s3://b/p/", open_store=lambda uri: other)
    assert datasets(store) == ["mine"]


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_under_any_name(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path], packed: bool
) -> None:
    folder = make_idx(packed=packed)
    assert add("mine", folder).uploaded == 4
    stored = store.objects["raw/mine/train-labels-idx1-ubyte.gz"]
    original = next(folder.glob("train-labels*")).read_bytes()
    assert gzip.decompress(stored) == (gzip.decompress(original) if packed else original)
    assert add("mine", folder).uploaded == 0


def test_known_name_from_a_folder_goes_through_the_digests(
    store: WatchedStore, add: Add, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    find_known(KNOWN["digits"], folder)
    plain = folder / "t10k-images-idx3-ubyte"
    packed = plain.with_name(plain.name + ".gz")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert add("digits", folder).uploaded == 4

    store.objects.clear()
    altered = bytearray(plain.read_bytes())
    altered[500] ^= 1
    plain.write_bytes(altered)
    with pytest.raises(DigestMismatch) as caught:
        add("digits", folder)
    assert caught.value.what == str(plain)
    plain.write_bytes(altered[:-100])
    with pytest.raises(DigestMismatch):
        add("digits", folder)
    plain.unlink()
    with pytest.raises(DataError, match="lacks t10k-images-idx3-ubyte"):
        add("digits", folder)
    assert store.objects == {}


def test_a_truncated_gzip_is_a_mismatch_and_writes_nothing(
    store: WatchedStore, add: Add, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    find_known(KNOWN["digits"], folder)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DigestMismatch, match="gzip stream is broken"):
        add("digits", folder)
    assert store.objects == {}


def test_known_name_with_other_pictures_is_refused(add: Add, make_pictures: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="fashion-mnist is four IDX files"):
        add("fashion-mnist", make_pictures(["a.png"]))


def test_pictures_beside_class_folders_are_refused(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    with pytest.raises(
        DataError, match=r"1 of 2 pictures cannot be used \(1 no label\), as 2\.png: it lies in 0"
    ):
        add("pets", make_pictures(["cats/1.png", "2.png"]))
    add("flat", make_pictures(["1.png"], "flat"))
    with pytest.raises(DataError, match="take it back with --replace"):
        add("flat", make_pictures(["cats/1.png"], "classed"))


def test_one_name_holds_one_format(
    add: Add, make_idx: Callable[..., Path], make_pictures: Callable[..., Path]
) -> None:
    add("mine", make_idx())
    with pytest.raises(ConfigError, match="both IDX files and pictures"):
        add("mine", make_pictures(["1.png"]))


def test_a_source_that_cannot_be_used_is_named(add: Add, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/no/such/folder does not exist"):
        add("pets", "/no/such/folder")
    file = tmp_path / "pictures.zip"
    file.write_bytes(b"PK")
    with pytest.raises(DataError, match=r"pictures\.zip is named \.zip, but begins with 50 4b"):
        add("pets", file)
    note = tmp_path / "note.txt"
    note.write_text("hello")
    with pytest.raises(ConfigError, match=r"note\.txt is a file that holds no pictures: give a folder"):
        add("pets", note)
    with pytest.raises(ConfigError, match="give a local folder or file, or s3://"):
        add("pets", "https://example.org/pets")
    with pytest.raises(ConfigError, match="names no bucket"):
        add("pets", "s3:///x")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "readme.txt").write_text("hello")
    with pytest.raises(DataError, match=r"holds no picture \(1 other files\)"):
        add("pets", empty)


@pytest.mark.parametrize("name", ["", "Pets", "a/b", "..", "-x", "a_b", "ä", "x" * 64, "a\n"])
def test_names_that_cannot_be_keys_are_refused(add: Add, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="lowercase letters, digits and dashes"):
        add(name, tmp_path)


def test_a_name_that_no_recipe_can_have_is_refused_before_anything_is_stored(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    with pytest.raises(ConfigError, match="cannot name a dataset"):
        add("flowers-", make_pictures(["1.png"]))
    assert store.puts == []


@pytest.mark.parametrize("name", ["2024", "no", "1e3", "2024-11-26"])
def test_a_name_that_looks_like_a_number_is_one_that_a_recipe_can_have(
    add: Add, make_pictures: Callable[..., Path], name: str
) -> None:
    assert add(name, make_pictures(["1.png"])).objects == 1
    overrides = {"dataset.name": read_value("dataset.name", name)}
    assert load_config("fashion-mnist-wgan", overrides).dataset.name == name


@pytest.mark.parametrize("source", ["", " "])
def test_an_empty_source_is_not_the_working_folder(store: WatchedStore, add: Add, source: str) -> None:
    with pytest.raises(ConfigError, match="--from is empty"):
        add("pets", source)
    assert store.puts == []


def test_folders_that_cannot_be_classes_are_refused(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    with pytest.raises(DataError, match=r"1 bad name\), as cats\\x1b\[2J/1\.png: it has control characters"):
        add("pets", make_pictures(["cats\x1b[2J/1.png", "dogs/1.png"]))
    assert store.puts == []


def test_files_are_passed_over_by_suffix(add: Add, make_pictures: Callable[..., Path]) -> None:
    folder = make_pictures(["a.jpg", "b.avif", "c.AVIF", "d.ppm"])
    (folder / "README").write_text("no picture")
    added = add("pets", folder)
    assert (added.objects, added.uploaded) == (1, 1)
    assert added.passed_over == {".avif": 2, ".ppm": 1, "without suffix": 1}


def test_replacing_leaves_the_source_alone(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    """Pictures without folders, then the same sorted into folders: the wrong add is taken back."""
    add("pets", make_pictures(["1.png", "2.png"], "flat"))
    make_pictures(["a/1.png", "b/2.png"], "sorted")
    with pytest.raises(DataError, match="take it back with --replace"):
        add("pets", make_pictures([], "sorted"))
    added = add("pets", make_pictures([], "sorted"), replace=True)
    assert (added.uploaded, added.removed, added.classes) == (2, 2, ("a", "b"))
    assert set(store.objects) == {"raw/pets/a/1.png", "raw/pets/b/2.png", "raw/pets/dataset.json"}
    assert describe_raw(store, "pets").sources == (added.source,)
    store.puts.clear()
    again = add("pets", make_pictures([], "sorted"), replace=True)
    assert (again.uploaded, again.removed, store.puts) == (0, 0, [])


def test_replacing_changes_the_format(
    store: WatchedStore, add: Add, make_idx: Callable[..., Path], make_pictures: Callable[..., Path]
) -> None:
    add("mine", make_idx())
    assert add("mine", make_pictures(["1.png"]), replace=True).removed == 4
    assert describe_raw(store, "mine").format == "pictures"


def test_an_interrupted_replacing_is_noticed_and_finished_by_repeating(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    add("pets", make_pictures(["1.png"], "one"))
    two = make_pictures(["2.png", "3.png"], "two")
    store.refuse = lambda key: key.endswith("3.png")
    with pytest.raises(ServiceError):
        add("pets", two, replace=True)
    with pytest.raises(DataError, match="adding it was interrupted"):
        describe_raw(store, "pets")
    store.refuse = lambda key: False
    add("pets", two, replace=True)
    assert set(store.objects) == {"raw/pets/2.png", "raw/pets/3.png", "raw/pets/dataset.json"}


def test_an_unknown_name_without_a_source_says_what_is_known(add: Add) -> None:
    with pytest.raises(UnknownName, match=r"close to it: fashion-mnist.*--from"):
        add("fashion-mnits", None)


def test_a_known_dataset_found_nowhere_writes_nothing(store: WatchedStore, add: Add) -> None:
    places = Places(debian_folder=Path("/nonexistent"), mirrors=(), apt_get="/nonexistent/apt-get")
    with pytest.raises(SourceUnavailable):
        add("fashion-mnist", None, places=places)
    assert store.objects == {}


def test_an_interrupted_add_is_noticed_and_finished_by_repeating(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path]
) -> None:
    folder = make_pictures([f"{number:02}.png" for number in range(12)])
    add("pets", folder)
    make_pictures([f"{number:02}.png" for number in range(12)], seed=5)
    store.refuse = lambda key: key.endswith("07.png")
    with pytest.raises(ServiceError):
        add("pets", folder)
    with pytest.raises(DataError, match="adding it was interrupted"):
        describe_raw(store, "pets")
    assert datasets(store) == []
    store.refuse = lambda key: False
    store.puts.clear()
    assert 0 < add("pets", folder).uploaded < 12
    assert describe_raw(store, "pets").format == "pictures"
    assert store.objects["raw/pets/07.png"] == (folder / "07.png").read_bytes()


def test_never_added_and_others_exist(store: WatchedStore, add: Add) -> None:
    add("digits", None)
    with pytest.raises(UnknownName, match="close to it: digits"):
        describe_raw(store, "digit")
    with pytest.raises(UnknownName, match="`ganlib dataset add fashion-mnist`"):
        describe_raw(store, "fashion-mnist")


def test_linked_folders_are_followed_once(
    store: WatchedStore, add: Add, make_pictures: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_pictures(["a/1.png"])
    elsewhere = make_pictures(["2.png"], "elsewhere")
    (folder / "b").symlink_to(elsewhere, target_is_directory=True)
    (folder / "a" / "loop").symlink_to(folder, target_is_directory=True)
    assert add("pets", folder).objects == 2
    assert "raw/pets/b/2.png" in store.objects


def test_work_that_a_killed_process_left_is_removed(add: Add, tmp_path: Path) -> None:
    abandoned = tmp_path / "scratch" / "add-x-abandoned"
    (abandoned / "work").mkdir(parents=True)
    (abandoned / ".lock").touch()
    (abandoned / "work" / "big").write_bytes(b"x" * 1000)
    add("digits", None)
    assert not abandoned.exists()


def test_a_scratch_that_cannot_be_written_is_named(add: Add, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(DataError, match="file cannot be worked in"):
        add("digits", None, scratch=blocked)
