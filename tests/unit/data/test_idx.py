from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from ganlib.data.formats.idx import IDX_NAMES, IdxFile, check_idx_set, open_idx, pack, write_idx
from ganlib.errors import DataError


def idx(magic: int, dims: tuple[int, ...], payload: bytes) -> bytes:
    return struct.pack(f">{1 + len(dims)}I", magic, *dims) + payload


@pytest.mark.parametrize("packed", [False, True])
def test_pictures_come_in_blocks_and_in_order(tmp_path: Path, packed: bool) -> None:
    values = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
    data = idx(0x803, (5, 2, 3), values.tobytes())
    path = tmp_path / "pictures"
    path.write_bytes(gzip.compress(data) if packed else data)
    with open_idx(path, 3) as reader:
        assert reader.shape == (5, 2, 3)
        blocks = list(reader.blocks(2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate(blocks), values)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x00", "cut short"),
        (idx(0x801, (4,), b"abcd"), "begins with 00 00 08 01, expected 00 00 08 03"),
        (idx(0xD03, (1, 1, 1), b"\0" * 4), "begins with 00 00 0d 03"),
        (idx(0x803, (2, 2, 2), b"\0" * 7), "cut short"),
        (idx(0x803, (2, 2, 2), b"\0" * 9), "goes on after the 2 items"),
        (idx(0x803, (0, 2, 2), b""), "announces the shape"),
        (idx(0x803, (1, 2**31, 2**31), b""), "sides from 1 to 4096"),
        (gzip.compress(idx(0x803, (2, 2, 2), b"\0" * 8), mtime=0)[:-9], "damaged|cut short"),
        (b"\x1f\x8bnot gzip at all", "damaged"),
    ],
)
def test_files_that_are_not_idx_are_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught, open_idx(path, 3, "raw/x/file") as reader:
        list(reader.blocks(1))
    assert "raw/x/file" in str(caught.value)


def test_written_files_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    for name in ("one.gz", "two.gz"):
        write_idx(tmp_path / name, values)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert gzip.decompress((tmp_path / "one.gz").read_bytes()) == idx(0x803, (3, 2, 2), values.tobytes())
    (tmp_path / "plain").write_bytes(idx(0x803, (3, 2, 2), values.tobytes()))
    pack(tmp_path / "plain", tmp_path / "three.gz")
    assert gzip.decompress((tmp_path / "three.gz").read_bytes()) == (tmp_path / "plain").read_bytes()


def test_a_set_must_fit_together(tmp_path: Path) -> None:
    shapes = [(3, 2, 2), (3,), (2, 2, 2), (2,)]
    files = {}
    for name, shape in zip(IDX_NAMES, shapes, strict=True):
        write_idx(tmp_path / name, np.zeros(shape, np.uint8))
        files[name] = IdxFile(tmp_path / name, name)
    check_idx_set(files)
    write_idx(tmp_path / IDX_NAMES[3], np.zeros(5, np.uint8))
    with pytest.raises(DataError, match="2 pictures, but t10k-labels-idx1-ubyte 5 labels"):
        check_idx_set(files)
    write_idx(tmp_path / IDX_NAMES[3], np.zeros(2, np.uint8))
    write_idx(tmp_path / IDX_NAMES[2], np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(DataError, match="must agree"):
        check_idx_set(files)
    del files[IDX_NAMES[1]]
    with pytest.raises(DataError, match="missing: train-labels-idx1-ubyte"):
        check_idx_set(files)
