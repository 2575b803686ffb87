from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_versions import made_picture, made_version
from PIL import Image
from watched_store import WatchedStore

from ganlib.data import version_files
from ganlib.data.folder_names import folder_names
from ganlib.data.shard_reader import stored_shards
from ganlib.data.version_files import Format, export_version
from ganlib.errors import ConfigError, DataError, DigestMismatch
from ganlib.records import DatasetVersion, Split

LABELS: dict[Split, list[int]] = {"train": [0, 1, 2, 0, 1, 2, 0], "held_out": [2, 0]}
CLASSES = ["a/b", "A_B", "=cmd|' /C calc'!A0"]
FOLDERS = ["a_b", "A_B-2", "=cmd_' _C calc'!A0"]


def version_of(store: WatchedStore, channels: int = 3, classes: list[str] | None = None) -> DatasetVersion:
    return made_version(store, (channels, 9, 6), CLASSES if classes is None else classes, LABELS, capacity=3)


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def wanted(split: Split, channels: int) -> np.ndarray:
    images = [made_picture(split, i, label, (channels, 9, 6)) for i, label in enumerate(LABELS[split])]
    return np.stack([image[0] if channels == 1 else image.transpose(1, 2, 0) for image in images])


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_of_png_hold_every_picture_as_it_is(
    store: WatchedStore, tmp_path: Path, channels: int
) -> None:
    version = version_of(store, channels)
    seen: list[tuple[int, int]] = []
    out = tmp_path / "deep" / "out"
    count = export_version(
        version, stored_shards(store, version), out, "png", progress=lambda *now: seen.append(now)
    )
    assert (count, seen[-1]) == (9, (9, 9))
    with (out / "labels.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["split"] for row in rows] == ["train"] * 7 + ["held_out"] * 2
    assert [row["label"] for row in rows] == [
        CLASSES[label] for label in LABELS["train"] + LABELS["held_out"]
    ]
    images = [picture(out / row["file"]) for row in rows]
    assert np.array_equal(images, np.concatenate([wanted("train", channels), wanted("held_out", channels)]))
    assert [row["file"] for row in rows[:4]] == [
        f"train/{FOLDERS[0]}/000000.png",
        f"train/{FOLDERS[1]}/000000.png",
        f"train/{FOLDERS[2]}/000000.png",
        f"train/{FOLDERS[0]}/000001.png",
    ]
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {
        "labels.csv",
        *(f"{number:06d}.png" for number in range(3)),
    }
    assert sorted(path.name for path in out.parent.iterdir()) == ["out"]


def test_pictures_without_classes_stand_in_their_split(store: WatchedStore, tmp_path: Path) -> None:
    version = made_version(store, (3, 9, 6), [], {"train": [0, 0], "held_out": [0]})
    export_version(version, stored_shards(store, version), tmp_path / "out", "png", ["held_out"])
    assert (tmp_path / "out" / "labels.csv").read_text() == (
        "file,label,split\nheld_out/000000.png,,held_out\n"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_read_without_pickle(store: WatchedStore, tmp_path: Path, channels: int) -> None:
    version = version_of(store, channels)
    for name in ("one.npz", "two.npz"):
        export_version(version, stored_shards(store, version), tmp_path / name, "npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as arrays:
        both = np.concatenate([wanted("train", channels), wanted("held_out", channels)])
        assert np.array_equal(arrays["images"], both)
        assert arrays["images"].dtype == np.uint8
        assert arrays["labels"].tolist() == LABELS["train"] + LABELS["held_out"]
        assert arrays["labels"].dtype == np.int64
        assert arrays["split"].tolist() == ["train"] * 7 + ["held_out"] * 2
        assert arrays["classes"].tolist() == CLASSES
    without = made_version(store, (3, 9, 6), [], {"train": [0, 0]}, name="plain")
    export_version(without, stored_shards(store, without), tmp_path / "plain.npz", "npz")
    with np.load(tmp_path / "plain.npz", allow_pickle=False) as arrays:
        assert arrays["classes"].shape == (0,)


@pytest.mark.parametrize(
    ("name", "kind"), [("full", "png"), ("file", "png"), ("file", "npz"), ("full", "npz"), ("link", "png")]
)
def test_what_is_there_stays(store: WatchedStore, tmp_path: Path, name: str, kind: Format) -> None:
    version = version_of(store)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="exists|not empty"):
        export_version(version, stored_shards(store, version), tmp_path / name, kind)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "mine").read_text() == "mine"


def test_an_empty_folder_is_filled(store: WatchedStore, tmp_path: Path) -> None:
    version = version_of(store)
    (tmp_path / "out").mkdir()
    export_version(version, stored_shards(store, version), tmp_path / "out", "png")
    assert (tmp_path / "out" / "labels.csv").exists()


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_nothing_is_left_of_a_version_that_is_damaged(
    store: WatchedStore, tmp_path: Path, kind: Format
) -> None:
    version = version_of(store)
    key = f"{version.prefix}/{version.shards[-1].path}"
    store.put(key, store.objects[key][:-1] + b"\x00")
    with pytest.raises(DigestMismatch, match="damaged or altered"):
        export_version(version, stored_shards(store, version), tmp_path / "out", kind)
    store.delete(key)
    with pytest.raises(DataError, match="holds no"):
        export_version(version, stored_shards(store, version), tmp_path / "out", kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["png", "npz"])
def test_a_full_disk_is_told_and_nothing_is_left(
    store: WatchedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Format
) -> None:
    version = version_of(store)

    def full(*_: object, **__: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(version_files, "_png" if kind == "png" else "_channels_last", full)
    with pytest.raises(DataError, match="No space left on device; .* Make room there"):
        export_version(version, stored_shards(store, version), tmp_path / "out", kind)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(store: WatchedStore, tmp_path: Path) -> None:
    version = version_of(store)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another place"):
        export_version(version, stored_shards(store, version), tmp_path / "file" / "out", "png")
    with pytest.raises(ConfigError, match="choose another place"):
        export_version(version, stored_shards(store, version), Path("/proc/none/out"), "npz")


def test_an_empty_split_is_told(store: WatchedStore, tmp_path: Path) -> None:
    version = made_version(store, (3, 9, 6), [], {"train": [0, 0]})
    with pytest.raises(DataError, match="no pictures in held_out"):
        export_version(version, stored_shards(store, version), tmp_path / "out", "png", ["held_out"])


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["..", ".", "...", "  "], ["_", "_-2", "_-3", "_-4"]),
        (["../../etc", "/etc", "\\\\host"], ["_._.._etc", "_etc", "__host"]),
        (["a", "A", "a-2", "A"], ["a", "A-2", "a-2-2", "A-3"]),
        (["con", "CON.png", "nul", "console"], ["_con", "_CON.png", "_nul", "console"]),
        (["é", "e\u0301"], ["é", "é-2"]),
        (["日本語" * 60], ["日本語" * 13 + "日"]),
        ([".hidden", "end. "], ["_hidden", "end"]),
    ],
)
def test_folders_are_safe_and_differ(classes: list[str], folders: list[str]) -> None:
    assert folder_names(classes) == folders


def test_many_classes_of_one_name_are_told_apart_soon() -> None:
    names = folder_names(["x" * 300] * 65_536)
    assert len({name.casefold() for name in names}) == 65_536
    assert all(len(name.encode()) <= 255 for name in names)
