from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_versions import made_picture, made_version
from safetensors.numpy import save_file
from watched_store import WatchedStore

from ganlib.data.formats.entries import FileRange
from ganlib.data.shard_reader import ShardReader, local_shards, stored_shards
from ganlib.errors import DataError, DigestMismatch, ObjectMissing
from ganlib.records import DatasetVersion, Shard

SHAPE = (3, 9, 5)
LABELS = [0, 1, 1, 0, 2, 2, 1]


@pytest.fixture
def version(store: WatchedStore) -> DatasetVersion:
    return made_version(store, SHAPE, "abc", {"train": LABELS})


@pytest.fixture
def data(store: WatchedStore, version: DatasetVersion) -> bytes:
    return store.objects[f"{version.prefix}/{version.shards[0].path}"]


def read(tmp_path: Path, shard: Shard, data: bytes, classes: int = 3) -> ShardReader:
    path = tmp_path / "shard"
    path.write_bytes(data)
    return ShardReader(FileRange.open(path), shard, SHAPE, classes)


@pytest.mark.parametrize("block_bytes", [1, 300, 2**20])
def test_a_shard_is_read_in_parts(store: WatchedStore, version: DatasetVersion, block_bytes: int) -> None:
    (shard,) = version.shards
    reader = ShardReader(stored_shards(store, version)(shard), shard, SHAPE, 3)
    wanted = np.stack([made_picture("train", index, label, SHAPE) for index, label in enumerate(LABELS)])
    assert reader.labels.tolist() == LABELS
    assert (reader.chosen([6, 2]) == wanted[[6, 2]]).all()
    blocks = list(reader.blocks(block_bytes))
    assert (np.concatenate([block.images for block in blocks]) == wanted).all()
    assert np.concatenate([block.labels for block in blocks]).tolist() == LABELS
    assert len(blocks) == {1: 7, 300: 4, 2**20: 1}[block_bytes]


def test_tensors_may_lie_in_another_order(tmp_path: Path, version: DatasetVersion, data: bytes) -> None:
    (shard,) = version.shards
    images = np.zeros((7, *SHAPE), np.uint8)
    images[3] = 9
    parts = {
        "images": {"dtype": "U8", "shape": [7, *SHAPE], "data_offsets": [0, images.nbytes]},
        "labels": {"dtype": "I64", "shape": [7], "data_offsets": [images.nbytes, images.nbytes + 56]},
        "__metadata__": {"by": "hand"},
    }
    text = json.dumps(parts).encode()
    other = struct.pack("<Q", len(text)) + text + images.tobytes() + np.array(LABELS).tobytes()
    reader = read(tmp_path, shard.model_copy(update={"bytes": len(other)}), other)
    assert reader.labels.tolist() == LABELS
    assert (reader.images(3, 4) == 9).all()


def test_a_pixel_that_was_altered_is_noticed_at_the_end(
    tmp_path: Path, version: DatasetVersion, data: bytes
) -> None:
    altered = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(DigestMismatch, match="damaged or altered"):
        list(read(tmp_path, version.shards[0], altered).blocks())


def test_what_is_not_there_or_not_of_this_size_is_refused(
    tmp_path: Path, store: WatchedStore, version: DatasetVersion, data: bytes
) -> None:
    (shard,) = version.shards
    with pytest.raises(DataError, match=r"has 1,\d+ bytes, its manifest says 1,\d+"):
        read(tmp_path, shard, data[:-1])
    with pytest.raises(DataError, match="labels from 0 to 2, its manifest has 2 classes"):
        read(tmp_path, shard, data, classes=2)
    with pytest.raises(DataError, match="cannot be read"):
        local_shards(tmp_path)(shard)
    store.delete(f"{version.prefix}/{shard.path}")
    with pytest.raises(ObjectMissing):
        stored_shards(store, version)(shard)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"images": np.zeros((7, 3, 5, 9), np.uint8), "labels": np.zeros(7, np.int64)}, "its manifest says"),
        ({"images": np.zeros((7, *SHAPE), np.int8), "labels": np.zeros(7, np.int64)}, "its manifest says"),
        ({"images": np.zeros((7, *SHAPE), np.uint8)}, "its manifest says"),
        ({"images": np.zeros((7, *SHAPE), np.uint8), "labels": -np.ones(7, np.int64)}, "labels from -1"),
    ],
)
def test_other_tensors_are_refused(
    tmp_path: Path, version: DatasetVersion, tensors: dict[str, Any], told: str
) -> None:
    save_file(tensors, tmp_path / "other")
    other = (tmp_path / "other").read_bytes()
    with pytest.raises(DataError, match=told):
        read(tmp_path, version.shards[0].model_copy(update={"bytes": len(other)}), other)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 40) + b"[" * 40,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 13) + b'{"images":{}}',
        struct.pack("<Q", 2**16) + b"[" * 2**16,
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, version: DatasetVersion, header: bytes) -> None:
    data = header + bytes(max(0, 1 if not header else 200))
    with pytest.raises(DataError, match="is no shard"):
        read(tmp_path, version.shards[0].model_copy(update={"bytes": len(data)}), data)


def test_mutated_bytes_are_read_or_refused(tmp_path: Path, version: DatasetVersion, data: bytes) -> None:
    chance, outcomes = random.Random(7), {"read": 0, "refused": 0}
    for _ in range(2000):
        mutated = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            mutated[chance.randrange(min(len(data), 250))] = chance.randrange(256)
        try:
            list(read(tmp_path, version.shards[0], bytes(mutated)).blocks())
        except DataError:
            outcomes["refused"] += 1
        else:
            assert bytes(mutated) == data
            outcomes["read"] += 1
    assert outcomes["refused"] > 1900
