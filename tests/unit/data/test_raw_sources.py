"""The same pictures from whatever holds them: folders, archives, arrays, tables."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from watched_store import WatchedStore

from ganlib.data.labelling.dataset_labels import DatasetLabels
from ganlib.data.layout import describe_raw
from ganlib.data.preparation import Preparation, PreparationReport
from ganlib.data.prepare import begin_work, prepare
from ganlib.data.raw.add import FOREIGN, AddedDataset, add_dataset
from ganlib.data.raw.remove import plan_removal, remove_dataset
from ganlib.data.versions import find_report
from ganlib.errors import ConfigError, DataError, ServiceError
from ganlib.fakes.stores import MemoryStore
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion

SIZE = Preparation(size=8)
Add = Callable[..., AddedDataset]
Made = Callable[..., tuple[DatasetVersion, PreparationReport]]


@pytest.fixture
def add(store: WatchedStore, no_store: Callable[[str], ObjectStore], tmp_path: Path) -> Add:
    def run(source: Path | str, name: str = "pets", replace: bool = False, **rules: object) -> AddedDataset:
        labels = DatasetLabels.model_validate(rules)
        scratch = tmp_path / "scratch"
        return add_dataset(
            store, name, str(source), open_store=no_store, scratch=scratch, labels=labels, replace=replace
        )

    return run


@pytest.fixture
def made(store: WatchedStore) -> Made:
    """Prepares a dataset and finds its report."""

    def run(name: str = "pets", preparation: Preparation = SIZE, **options: float):
        version = prepare(store, name, preparation, **options)
        report = find_report(store, name, begin_work(store, name, preparation)[0].key)
        assert report is not None
        return version, report

    return run


def png(seed: int, size: tuple[int, int] = (10, 8)) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def files(count: int = 60) -> dict[str, bytes]:
    return {f"{'cats' if number % 2 else 'dogs'}/{number:03}.png": png(number) for number in range(count)}


def write_folder(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, content: dict[str, bytes], mode: Literal["w", "w:gz"] = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, content: dict[str, bytes]) -> Path:
    rows = [{"bytes": data, "path": name.rpartition("/")[2]} for name, data in content.items()]
    labels = [name.partition("/")[0] for name in content]
    pq.write_table(pa.table({"image": rows, "label": labels}), path)
    return path


def write_npz(path: Path, content: dict[str, bytes]) -> Path:
    images = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in content.values()])
    np.savez(path, images=images, labels=np.array([name.partition("/")[0] for name in content]))
    return path


def test_the_same_pictures_are_the_same_version_whatever_holds_them(
    add: Add, made: Made, tmp_path: Path
) -> None:
    content = files()
    backwards = dict(reversed(content.items()))
    sources = {
        "folder": write_folder(tmp_path / "folder", content),
        "zip": write_zip(tmp_path / "a.zip", content),
        "tar": write_tar(tmp_path / "a.tar", backwards, "w"),
        "tar-gz": write_tar(tmp_path / "a.tar.gz", content),
        "parquet": write_parquet(tmp_path / "a.parquet", backwards),
        "npz": write_npz(tmp_path / "a.npz", content),
        "renamed": write_folder(
            tmp_path / "renamed", {name.replace("/0", "/z"): data for name, data in backwards.items()}
        ),
    }
    found = {}
    for name, source in sources.items():
        added = add(source, name)
        assert (added.by_class, sum(added.by_suffix.values())) == ({"cats": 30, "dogs": 30}, 60)
        version, report = made(name)
        found[name] = version.digest
        assert version.classes == ("cats", "dogs")
        assert version.count("train") + version.count("held_out") == report.pictures == report.decoded == 60
        assert {side: sum(counts.values()) for side, counts in report.counts.items()} == {
            "train": version.count("train"),
            "held_out": version.count("held_out"),
        }
    assert len(set(found.values())) == 1


def test_pictures_that_are_added_later_are_decoded_alone(
    add: Add,
    made: Made,
    store: WatchedStore,
    tmp_path: Path,
) -> None:
    content = files(60)
    first, rest = dict(list(content.items())[:50]), dict(list(content.items())[50:])
    add(write_folder(tmp_path / "first", first))
    made()
    add(write_folder(tmp_path / "rest", rest))
    store.gets.clear()
    version, report = made()
    assert report.decoded == 10
    assert report.pictures == 60
    other = MemoryStore()
    add_dataset(
        other,
        "pets",
        str(write_folder(tmp_path / "all", content)),
        open_store=lambda uri: other,
        scratch=tmp_path / "other",
    )
    assert prepare(other, "pets", SIZE).digest == version.digest
    # A new way of fitting makes other pixels.
    assert made(preparation=Preparation(size=8, fit="pad"))[1].decoded == 60


def test_a_zip_that_grew_is_decoded_where_it_is_new(add: Add, made: Made, tmp_path: Path) -> None:
    content = files(60)
    path = tmp_path / "a.zip"
    add(write_zip(path, dict(list(content.items())[:50])))
    made()
    changed = content | {"cats/001.png": png(1000)}
    add(write_zip(path, changed))
    version, report = made()
    assert (report.decoded, report.pictures) == (11, 60)
    add(write_folder(tmp_path / "folder", changed), "other")
    assert made("other")[0].digest == version.digest


def test_a_container_that_is_a_stream_is_taken_over_whole(add: Add, made: Made, tmp_path: Path) -> None:
    content = files(60)
    add(write_tar(tmp_path / "one.tar.gz", dict(list(content.items())[:40])))
    made()
    add(write_tar(tmp_path / "two.tar.gz", dict(list(content.items())[40:])))
    assert made()[1].decoded == 20


@pytest.mark.parametrize("gone", ["version", "rows"])
def test_known_pictures_are_decoded_again_when_their_version_or_rows_are_gone(
    add: Add,
    made: Made,
    store: WatchedStore,
    tmp_path: Path,
    gone: str,
) -> None:
    content = files(60)
    add(write_folder(tmp_path / "first", dict(list(content.items())[:50])))
    version, _ = made()
    add(write_folder(tmp_path / "all", content))
    if gone == "version":
        store.delete(f"{version.prefix}/manifest.json")
    else:
        [rows] = [key for key in store.objects if key.endswith(".parquet")]
        store.put(rows, store.get(rows)[:-100])
    assert made()[1].decoded == 60


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar, write_parquet, write_npz])
def test_pixels_in_the_store_that_were_altered_are_decoded_again(
    add: Add,
    made: Made,
    store: WatchedStore,
    tmp_path: Path,
    write: Callable[[Path, dict[str, bytes]], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = files(60)
    suffixes = {write_zip: ".zip", write_tar: ".tar", write_parquet: ".parquet", write_npz: ".npz"}
    suffix = suffixes.get(write, "")  # type: ignore[call-overload]
    add(write(tmp_path / f"first{suffix}", dict(list(content.items())[:50])))
    version, _ = made()
    add(write(tmp_path / f"more{suffix}", dict(list(content.items())[50:])))
    key = f"{version.prefix}/{version.shards[0].path}"
    data = bytearray(store.get(key))
    data[-1] ^= 1
    store.put(key, bytes(data))
    again, report = made()
    lost = 50 if suffix in (".tar", ".parquet", ".npz") else version.shards[0].images
    assert report.decoded == 10 + lost
    assert f"{version.shards[0].images} pictures of dataset pets are decoded again" in caplog.text
    assert key in caplog.text
    add(write_folder(tmp_path / "all", content), "all")
    assert made("all")[0].digest == again.digest


def test_a_shard_that_was_altered_is_stored_anew_where_the_version_is_the_same(
    add: Add, made: Made, store: WatchedStore, tmp_path: Path
) -> None:
    content = files(60)
    add(write_folder(tmp_path / "first", content))
    version, _ = made()
    key = f"{version.prefix}/{version.shards[0].path}"
    whole = store.get(key)
    store.put(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    add(write_folder(tmp_path / "copies", {"cats/copy.png": content["cats/001.png"]}))
    assert made()[0].digest == version.digest
    assert store.get(key) == whole


def test_what_cannot_be_used_is_refused_and_listed(add: Add, made: Made, tmp_path: Path) -> None:
    content = files(400) | {
        "cats/cut.png": png(7)[:60],
        "cats/empty.jpg": b"",
        "dogs/text.gif": b"no picture",
        "dogs/._001.png": b"attributes",
        "Thumbs.db": b"x",
        "readme.md": b"hello",
    }
    added = add(write_folder(tmp_path / "folder", content))
    assert added.passed_over == {"left by file managers": 2, ".md": 1}
    _, report = made()
    assert report.pictures == 403
    assert [(each.name, each.reason) for each in report.refused] == [
        ("cats/cut.png", "truncated"),
        ("cats/empty.jpg", "empty"),
        ("dogs/text.gif", "unreadable"),
    ]
    assert report.refused_by_reason == {"truncated": 1, "empty": 1, "unreadable": 1}
    assert report.passed_over == added.passed_over
    # In an archive, too, where a name can be worse.
    hostile = content | {"../../escape.png": png(3), "inner.zip": b"PK\x03\x04"}
    add(write_zip(tmp_path / "a.zip", hostile), "zipped")
    _, zipped = made("zipped", most_refused=0.02)
    assert zipped.refused_by_reason == {
        **report.refused_by_reason,
        "bad name": 1,
        "nested archive": 1,
    }


def test_too_many_refused_pictures_end_it_before_anything_is_made(
    add: Add,
    made: Made,
    store: WatchedStore,
    tmp_path: Path,
) -> None:
    content = files(60) | {"cats/cut.png": png(7)[:60], "cats/text.png": b"no picture"}
    add(write_folder(tmp_path / "folder", content))
    with pytest.raises(
        DataError, match=r"2 of the 62 pictures of dataset 'pets' .*\(1 truncated, 1 unreadable\).*most 1 %"
    ):
        made()
    assert not [key for key in store.objects if key.startswith("datasets/")]
    assert made(most_refused=0.04)[1].refused_count == 2


@pytest.mark.parametrize("inside", [False, True])
def test_classes_and_groups_come_from_a_table_beside_the_pictures(
    add: Add,
    made: Made,
    store: WatchedStore,
    tmp_path: Path,
    inside: bool,
) -> None:
    pictures = {f"{number:03}.png": png(number) for number in range(60)}
    lines = [f"{name},{'even' if at % 2 == 0 else 'odd'},p{at // 6}" for at, name in enumerate(pictures)]
    content = pictures | {"labels.csv": "\n".join(["file,label,group", *lines, "gone.png,odd,p1"]).encode()}
    source = write_zip(tmp_path / "a.zip", content) if inside else write_folder(tmp_path / "f", content)
    added = add(source)
    assert (added.by_class, added.groups) == ({"even": 30, "odd": 30}, 10)
    assert added.rows_without_picture == 1
    version, report = made()
    assert version.classes == ("even", "odd")
    assert report.split_by == "groups"
    assert 6 <= version.count("held_out") == 6 * len(report.held_out_groups) <= 12
    # Adding it again changes nothing, and the table stays when pictures are added without one.
    store.puts.clear()
    add(source)
    assert store.puts == []
    assert describe_raw(store, "pets").labels.tables


def test_groups_come_from_a_pattern_on_the_path(add: Add, made: Made, tmp_path: Path) -> None:
    content = {f"cats/p{number // 6}_{number:03}.png": png(number) for number in range(60)}
    folder = write_folder(tmp_path / "folder", content)
    with pytest.raises(ConfigError, match="names a column, but there is no table"):
        add(folder, group="patient")
    assert add(folder, group="p([0-9]+)_").groups == 10
    version, report = made()
    assert (report.split_by, version.count("held_out")) == ("groups", 6 * len(report.held_out_groups))


def test_classes_come_from_another_folder_or_none(add: Add, made: Made, tmp_path: Path) -> None:
    content = {
        f"{'test' if at % 5 == 0 else 'train'}/{name}": data
        for at, (name, data) in enumerate(files().items())
    }
    folder = write_folder(tmp_path / "folder", content)
    with pytest.raises(DataError, match="outermost folders are test, train, .*--class-level 2"):
        add(folder)
    assert add(folder, class_level=2).by_class == {"cats": 30, "dogs": 30}
    assert made()[0].classes == ("cats", "dogs")
    assert add(folder, "flat", class_level=0).by_class == {"": 60}
    assert made("flat")[0].classes == ()


def test_a_split_that_the_source_has_is_kept(add: Add, made: Made, tmp_path: Path) -> None:
    content = list(files().items())
    data = tmp_path / "data"
    data.mkdir()
    write_parquet(data / "train-00000-of-00001.parquet", dict(content[:48]))
    write_parquet(data / "test-00000-of-00001.parquet", dict(content[48:]))
    add(tmp_path / "data")
    version, report = made()
    assert (report.split_by, version.count("train"), version.count("held_out")) == ("source", 48, 12)


def test_the_state_farm_archive_is_taken_as_it_comes(add: Add, made: Made, tmp_path: Path) -> None:
    names = [(f"c{number % 10}", f"img_{number}.jpg", f"p{number // 10:03}") for number in range(200)]
    content = {f"imgs/train/{label}/{name}": png(at) for at, (label, name, _) in enumerate(names)}
    content |= {f"imgs/test/img_{number}.jpg": png(number) for number in range(1000, 1030)}
    content |= {"notes/plan.png": png(2000), "imgs/train/c1/deep/x.jpg": png(2001)}
    table = "\n".join(["subject,classname,img", *(f"{who},{label},{name}" for label, name, who in names)])
    path = write_zip(tmp_path / "state-farm.zip", content | {"driver_imgs_list.csv": table.encode()})
    added = add(path)
    assert (len(added.classes), added.classes[0], added.groups, added.left_out) == (
        10,
        "safe driving",
        20,
        30,
    )
    version, report = made()
    assert (report.split_by, report.pictures, report.decoded) == ("groups", 200, 200)
    assert version.count("held_out") == 10 * len(report.held_out_groups) > 0
    everything = add(path, "all", unlabelled=True)
    assert (everything.classes[-1], everything.left_out) == ("unlabelled", 0)
    assert everything.passed_over == added.passed_over == {FOREIGN: 2}
    assert made("all")[0].count("train") == version.count("train") + 30


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files_in_an_archive_are_refused_by_name_with_the_remedy(
    add: Add, store: WatchedStore, tmp_path: Path, write: Callable[..., Path], ending: str
) -> None:
    names = ["raw/train-images-idx3-ubyte", "raw/t10k-labels.idx1-ubyte"]
    idx = {f"{name}{ending}": b"\0\0\x08\3" for name in names}
    suffix = ".zip" if write is write_zip else ".tar"
    with pytest.raises(
        DataError, match=r"2 nested archive.*unpack it, and add the folder with its four files"
    ):
        add(write(tmp_path / f"a{suffix}", idx))
    assert store.objects == {}
    added = add(write(tmp_path / f"b{suffix}", files(300) | idx))
    assert {each.name for each in added.refused} == {f"b{suffix}/{name}{ending}" for name in names}


def test_objects_of_a_bucket_are_copied_by_the_store(store: WatchedStore, tmp_path: Path) -> None:
    bucket = MemoryStore()
    for name, data in (files() | {"more.zip": write_zip(tmp_path / "a.zip", files(4)).read_bytes()}).items():
        bucket.put(name, data)
    opened = []

    def open_store(uri: str) -> ObjectStore:
        opened.append(uri)
        return bucket

    added = add_dataset(store, "pets", "s3://photos/x", open_store=open_store, scratch=tmp_path / "scratch")
    assert (added.objects, sum(added.by_class.values())) == (61, 64)
    one = add_dataset(
        store, "one", "s3://photos/x/more.zip", open_store=open_store, scratch=tmp_path / "scratch"
    )
    assert (one.objects, opened) == (1, ["s3://photos/x", "s3://photos/x"])
    assert store.objects["raw/one/more.zip"] == bucket.objects["more.zip"]


def test_rules_survive_an_interrupted_second_add(add: Add, store: WatchedStore, tmp_path: Path) -> None:
    content = {f"x/{name}": data for name, data in files().items()}
    add(write_folder(tmp_path / "one", content), class_level=2, group="([0-9])[.]png")
    more = write_folder(tmp_path / "two", {"x/cats/200.png": png(200)})
    store.refuse = lambda key: key.endswith("200.png")
    with pytest.raises(ServiceError):
        add(more)
    store.refuse = lambda key: False
    added = add(more)
    assert (added.classes, added.groups) == (("cats", "dogs"), 10)
    # One rule that is given changes no other.
    assert add(more, group="([0-9])[0-9][.]png").classes == ("cats", "dogs")


def test_of_two_entries_of_one_name_the_first_is_kept_and_the_other_told(
    add: Add, made: Made, tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "a.tar", files(200), "w")
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("cats/001.png")
        info.size = len(png(999))
        archive.addfile(info, io.BytesIO(png(999)))
    add(path)
    version, report = made()
    assert version.count("train") + version.count("held_out") == 200
    assert [(each.name, each.reason) for each in report.refused] == [("a.tar/cats/001.png", "duplicate name")]


def test_pictures_of_a_stream_that_had_no_class_are_found_when_their_table_is_mended(
    add: Add, made: Made, tmp_path: Path
) -> None:
    pictures = {f"{number:03}.png": png(number) for number in range(200)}
    rows = [f"{name},{'even' if at % 2 == 0 else 'odd'}" for at, name in enumerate(pictures)]
    folder = write_folder(tmp_path / "f", {"labels.csv": "\n".join(["file,label", *rows[:-1]]).encode()})
    write_tar(folder / "a.tar", pictures, "w")
    add(folder)
    version, report = made()
    assert (version.count("train") + version.count("held_out"), report.refused_count) == (199, 1)
    write_folder(folder, {"labels.csv": "\n".join(["file,label", *rows]).encode()})
    add(folder, replace=True)
    version, report = made()
    assert (version.count("train") + version.count("held_out"), report.refused_count) == (200, 0)


def test_a_table_that_grows_replaces_the_one_before(
    add: Add, made: Made, store: WatchedStore, tmp_path: Path
) -> None:
    folder = tmp_path / "f"
    for day in range(1, 20):
        pictures = {f"{number:03}.png": png(number) for number in range(3 * day)}
        # The first picture's class is corrected on the last day.
        rows = [
            f"{name},{'odd' if at % 2 or (at == 0 and day < 19) else 'even'}"
            for at, name in enumerate(pictures)
        ]
        table = {"labels.csv": "\n".join(["file,label", *rows]).encode()}
        added = add(write_folder(folder, pictures | table))
    assert added.by_class == {"even": 29, "odd": 28}
    assert len([key for key in store.objects if "/.labels/" in key]) == 1


def test_each_of_two_archives_has_its_own_table(add: Add, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for start, name in ((0, "a"), (10, "b")):
        pictures = {f"{number:03}.png": png(number) for number in range(start, start + 10)}
        rows = [f"{picture},{name}" for picture in pictures]
        write_zip(
            folder / f"{name}.zip", pictures | {"labels.csv": "\n".join(["file,label", *rows]).encode()}
        )
    assert add(folder).by_class == {"a": 10, "b": 10}


def test_removing_versions_leaves_nothing_of_their_preparations(
    add: Add, made: Made, store: WatchedStore, tmp_path: Path
) -> None:
    add(write_folder(tmp_path / "f", files()))
    made()
    store.put(f"datasets/pets/preparing/{'0' * 64}/task.json", b"{}")
    remove_dataset(store, plan_removal(store, "pets", versions=True))
    assert store.objects == {}


def test_a_version_with_more_refused_pictures_than_now_accepted_is_not_taken(
    add: Add, made: Made, tmp_path: Path
) -> None:
    add(write_folder(tmp_path / "f", files() | {"cats/text.png": b"no picture"}))
    version, _ = made(most_refused=0.02)
    with pytest.raises(DataError, match=r"1 of the 61 pictures .*\(1 unreadable\); at most 1 %"):
        made()
    assert made(most_refused=0.02)[0] == version


def test_a_description_that_cannot_be_read_ends_an_add_but_not_a_replacement(
    add: Add, store: WatchedStore, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "f", files())
    add(folder)
    store.put("raw/pets/dataset.json", b"{}")
    with pytest.raises(DataError, match=r"raw/pets/dataset\.json is not a RawDataset"):
        add(folder)
    assert store.get("raw/pets/dataset.json") == b"{}"
    assert add(folder, replace=True).classes == ("cats", "dogs")
    assert describe_raw(store, "pets").classes == ("cats", "dogs")
