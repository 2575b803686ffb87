from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pytest
from made_versions import made_picture, made_version
from PIL import Image
from watched_store import WatchedStore

from ganlib.data import contact_sheet as sheets
from ganlib.data.contact_sheet import MOST_CLASSES, contact_sheet
from ganlib.data.shard_reader import OpenShard, stored_shards
from ganlib.data.sheet_pictures import choose_pictures
from ganlib.errors import DataError
from ganlib.ports import ObjectInfo
from ganlib.records import Shard, Split

WANTED: dict[Split, int] = {"train": 3, "held_out": 2}
CLASSES = ["safe driving", "日本語", "Ελληνικά", "عربي", "🙂", "\u0301\u0301", "W" * 255, "a/b"]


def drawn(png: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(png))
    picture.load()
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    return picture


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 28, 28), (3, 100, 40), (1, 1024, 1024), (3, 1, 1024), (3, 1, 1)]
)
@pytest.mark.parametrize("classes", [CLASSES, []])
def test_any_shape_and_any_name_is_drawn(
    store: WatchedStore, shape: tuple[int, int, int], classes: list[str]
) -> None:
    labels = [label for label in range(max(1, len(classes))) for _ in range(2)]
    version = made_version(store, shape, classes, {"train": labels, "held_out": labels[:3]}, capacity=5)
    png = contact_sheet(version, stored_shards(store, version))
    assert png == contact_sheet(version, stored_shards(store, version))
    width, height = drawn(png).size
    assert 800 < width < 1700
    assert height < 1100


def test_pictures_stand_in_the_row_of_their_class_and_in_the_part_of_their_split(store: WatchedStore) -> None:
    shape = (3, 64, 64)
    version = made_version(store, shape, ["a", "b", "c"], {"train": [0, 1, 2], "held_out": [2, 1]})
    pixels = np.asarray(drawn(contact_sheet(version, stored_shards(store, version))))

    def place_of(picture: np.ndarray) -> tuple[int, int]:
        wanted = picture.transpose(1, 2, 0)
        corners = np.argwhere((pixels[:-63, :-63] == wanted[0, 0]).all(axis=2))
        (found,) = [(y, x) for y, x in corners if (pixels[y : y + 64, x : x + 64] == wanted).all()]
        return found

    train = [place_of(made_picture("train", index, label, shape)) for index, label in enumerate([0, 1, 2])]
    held_out = [place_of(made_picture("held_out", index, label, shape)) for index, label in enumerate([2, 1])]
    assert [y for y, _ in train] == sorted({y for y, _ in train})
    assert [y for y, _ in held_out] == [train[2][0], train[1][0]]
    assert max(x for _, x in train) < min(x for _, x in held_out)


def test_classes_beyond_the_limit_are_told(store: WatchedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = sheets._write
    monkeypatch.setattr(sheets, "_write", lambda *given: (written.append(given[2]), real(*given)))
    names = [f"class {number}" for number in range(MOST_CLASSES + 3)]
    labels = [*range(len(names)), 5]
    version = made_version(store, (1, 8, 8), names, {"train": labels, "held_out": [5]})
    contact_sheet(version, stored_shards(store, version))
    assert f"class {MOST_CLASSES - 1}" in written
    assert f"class {MOST_CLASSES}" not in written
    assert "3 more of 43 classes are not shown" in written
    assert "label 5: 2 + 1 held out" in written


def watched(open_shard: OpenShard, opened: list[str]) -> OpenShard:
    def open_and_note(shard: Shard) -> object:
        opened.append(shard.path)
        return open_shard(shard)

    return open_and_note  # type: ignore[return-value]


def labels_of(shape: tuple[int, int, int], pictures: Sequence[np.ndarray]) -> set[int]:
    # The mean of a made picture is 25 and 20 for its label.
    return {round((picture.mean() - 24.5) / 20) for picture in pictures}


def test_few_shards_are_read_when_the_counts_are_known(store: WatchedStore) -> None:
    shape = (1, 8, 8)
    labels = [0] * 1000 + [1] * 990 + [2] * 10
    version = made_version(store, shape, "abc", {"train": labels, "held_out": [1]}, capacity=5)
    assert len(version.shards) == 401
    open_shard, opened = stored_shards(store, version), list[str]()
    counts: dict[Split, list[int]] = {"train": [1000, 990, 10], "held_out": [0, 1, 0]}
    some = choose_pictures(version, watched(open_shard, opened), WANTED, [0, 1], counts)
    assert len(opened) < 50
    every = choose_pictures(version, open_shard, WANTED, [0, 1, 2])
    for row, other in zip(some, every, strict=False):
        assert row.counts == other.counts
        for split in WANTED:
            assert np.array_equal(row.chosen.get(split, []), other.chosen.get(split, []))
    assert [labels_of(shape, row.chosen["train"]) for row in every] == [{0}, {1}, {2}]
    assert [len(row.chosen.get("held_out", [])) for row in every] == [0, 1, 0]
    # A rare class is found, wherever it is, and pictures are not all neighbours.
    assert [len(row.chosen["train"]) for row in every] == [3, 3, 3]


def test_a_spoiled_shard_is_an_error(store: WatchedStore) -> None:
    version = made_version(store, (1, 8, 8), [], {"train": [0] * 9})
    key = f"{version.prefix}/{version.shards[0].path}"
    info: ObjectInfo = next(iter(store.list(key)))
    store.put(key, b"\xff" * info.size)
    with pytest.raises(DataError, match="is no shard"):
        contact_sheet(version, stored_shards(store, version))
