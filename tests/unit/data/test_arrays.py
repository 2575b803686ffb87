"""Pictures in npy and npz files, sound and hostile ones."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from byte_sources import entries, stored
from numpy.typing import NDArray

from ganlib.data.formats import npy
from ganlib.data.formats.arrays import npy_entries
from ganlib.data.formats.entries import ByteRange, Entry, FileRange, Refused
from ganlib.data.formats.npz import npz_entries
from ganlib.errors import DataError

LARGEST = 2**20
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (50, 9, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (20, 8, 6, 3), dtype=np.uint8)


def saved(array: NDArray[Any], **how: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **how)
    return out.getvalue()


def zipped(packed: bool = False, **arrays: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    save: Any = np.savez_compressed if packed else np.savez
    save(out, **arrays)
    return out.getvalue()


def written(header: str | bytes, values: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + struct.pack("<H" if version == 1 else "<I", len(text))
        + text
        + values
    )


def from_npy(array: NDArray[Any]) -> NDArray[np.uint8]:
    return pixels(entries(npy_entries(stored(saved(array)), LARGEST)))


def pixels(found: list[Entry]) -> NDArray[np.uint8]:
    return np.stack([entry.pixels() for entry in found if entry.pixels is not None])


@pytest.mark.parametrize("block", [100, npy.BLOCK_BYTES], ids=["small-blocks", "one-block"])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, GREY),
        (GREY[..., None], GREY),
        (GREY[:, None], GREY),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR),
        (GREY.astype(">f4"), GREY),
    ],
    ids=["nhw", "nhw1", "n1hw", "nhw3", "n3hw", "floats"],
)
def test_arrays_of_every_shape_and_order_are_read(
    array: NDArray[Any],
    expected: NDArray[np.uint8],
    fortran: bool,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(npy, "BLOCK_BYTES", block)
    array = np.asfortranarray(array) if fortran else np.ascontiguousarray(array)
    np.save(tmp_path / "x.npy", array)
    found = entries(npy_entries(FileRange.open(tmp_path / "x.npy"), LARGEST))
    np.testing.assert_array_equal(pixels(found), expected)
    assert found[3].name == "0000003"
    assert found[3].label is None
    assert found[3].read() == expected[3].tobytes()
    assert found[3].size == expected[3].nbytes


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floats_are_scaled_by_their_range(kind: type) -> None:
    exact = GREY.astype(np.float64)
    for array in (exact / 255, exact / 127.5 - 1, exact):
        values = from_npy(array.astype(kind)).astype(int)
        assert np.abs(values - GREY).max() <= (0 if kind != np.float16 else 1)


def test_the_range_of_floats_is_one_for_the_file_and_rounding_errors_are_none() -> None:
    values = np.zeros((2, 4, 4), np.float32)
    values[1, 0, 0], values[1, 0, 1] = -1, 1.00001
    found = from_npy(values)
    assert found[0, 0, 0] == 128, "0 is grey, for a later picture has -1"
    assert list(found[1, 0, :2]) == [0, 255]
    values[1, 0, 0] = -0.00001
    assert from_npy(values)[1, 0, 0] == 0
    npz = zipped(x_train=np.zeros((2, 4, 4), np.float32), x_test=np.full((2, 4, 4), -1, np.float32))
    assert pixels(entries(npz_entries(stored(npz), LARGEST)))[0, 0, 0] == 128
    with pytest.raises(DataError, match=r"from 0 to 1000.*\[0, 255\]"):
        from_npy(np.full((1, 4, 4), 1000.0) * np.eye(4))


def test_a_picture_that_is_not_finite_is_refused_and_the_rest_is_read() -> None:
    values = np.zeros((4, 4, 4))
    values[1, 2, 2], values[2, 2, 2] = np.nan, 1
    found = list(npy_entries(stored(saved(values)), LARGEST))
    assert isinstance(found[1], Refused)
    assert (found[1].name, found[1].reason) == ("0000001", "unreadable")
    assert pixels([entry for entry in found if isinstance(entry, Entry)]).max() == 255


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((5, 3, 9, 3), np.uint8), "its second or its last axis"),
        (np.zeros((5, 1, 9, 3), np.uint8), "its second or its last axis"),
        (np.zeros((5, 8, 9, 4), np.uint8), "alpha"),
        (np.zeros((28, 28, 3), np.uint8), r"one colour picture.*x\[None\]"),
        (np.zeros((3, 28, 28), np.uint8), r"x\[\.\.\., None\]"),
        (np.zeros((5, 784), np.uint8), "reshape"),
        (np.uint8(3), "reshape"),
        (np.zeros((0, 28, 28), np.uint8), "1 to"),
        (np.zeros((5, 0, 28), np.uint8), "not empty"),
        (np.zeros((2, 5000, 2), np.uint8), "sides of at most 4,096"),
        (np.zeros((1, 2000, 600), np.uint8), "at most 1,048,576"),
        (np.zeros((5, 8, 8), np.int64), r"int64.*astype"),
        (np.zeros((5, 8, 8), np.complex64), r"<c8.*astype"),
        (np.zeros((5, 8, 8), "datetime64[s]"), "accepted"),
        (np.zeros((5, 8, 8), [("r", "u1"), ("g", "u1")]), "accepted"),
        (np.array(["x"] * 5), "reshape|type"),
    ],
)
def test_what_is_no_array_of_pictures_is_an_error_with_a_remedy(array: NDArray[Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        list(npy_entries(stored(saved(array)), LARGEST))


def test_pickled_objects_are_refused_unread() -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("pickle was loaded",))

    objects = np.empty(3, object)
    objects[:] = Trap()
    data = saved(objects, allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        list(npy_entries(stored(data), LARGEST))
    with pytest.raises(DataError, match="Python objects"):
        list(npz_entries(stored(zipped(x=GREY, y=objects)), LARGEST))


SHAPE = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 4)}\n"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "truncated"),
        (b"\x93NUM", "truncated"),
        (b"GIF89a..", "no .npy file"),
        (written(SHAPE, bytes(32), version=9)[:64], "version 9"),
        (written(SHAPE)[:30], "truncated"),
        (written(SHAPE, bytes(31)), "truncated"),
        (written(SHAPE, bytes(33)), "damaged"),
        (written(SHAPE.replace("2, 4, 4", "2**62, 4, 4")), "cannot be understood"),
        (written(SHAPE.replace("2, 4", str(2**62) + ", 4")), "shape"),
        (written(SHAPE.replace("2, 4", str(2**40) + ", 4")), "truncated"),
        (written(SHAPE.replace("2, 4", "-2, 4")), "shape"),
        (written(SHAPE.replace("2, 4", "True, 4")), "shape"),
        (written(SHAPE.replace("(2, 4, 4)", "[2, 4, 4]")), "shape"),
        (written(SHAPE.replace("(2, 4, 4)", "(" + "1, " * 300 + ")")), "shape"),
        (written(SHAPE.replace("False", "'no'")), "fortran_order"),
        (written(SHAPE.replace("|u1", "|V9999999999")), "V9999"),
        (written(SHAPE.replace("'|u1'", "[('a', '|O')]")), "accepted"),
        (written(SHAPE.replace("'|u1'", "7")), "accepted"),
        (written("{'descr': '|u1'}"), "without descr"),
        (written("__import__('os').abort()"), "cannot be understood"),
        (written(SHAPE.replace("|u1", "\\|u1")), "without descr"),
        (written("(" * 5000), "cannot be understood"),
        (written("-" * 9000 + "1"), "cannot be understood"),
        (written("{" + SHAPE + ": 1}"), "cannot be understood"),
        (written(b"\xff\xfe\x00" * 30, version=3), "cannot be understood"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100), "header of 4,294,967,295 bytes"),
    ],
)
def test_a_header_that_lies_or_cannot_be_understood_is_an_error(data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        list(npy_entries(stored(data), LARGEST))


def test_a_large_array_in_fortrans_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npy, "MAX_FORTRAN_BYTES", 1000)
    with pytest.raises(DataError, match="ascontiguousarray"):
        from_npy(np.asfortranarray(GREY))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("pictures", "labels"),
    [
        ("images", "labels"),
        ("x", "y"),
        ("X_train", "Y_train"),
        ("train_images", "train_labels"),
        ("val_images", "val_labels"),
        ("arr_0", "arr_1"),
    ],
)
def test_labels_lie_beside_the_pictures(pictures: str, labels: str, packed: bool) -> None:
    data = zipped(packed, **{pictures: GREY, labels: np.arange(50) % 3})
    found = entries(npz_entries(stored(data), LARGEST))
    np.testing.assert_array_equal(pixels(found), GREY)
    assert [entry.label for entry in found] == [str(i % 3) for i in range(50)]
    assert found[49].name == f"{pictures.lower()}-0000049"


def test_all_splits_of_an_npz_are_read_and_labels_are_of_many_kinds() -> None:
    words = np.array(["Katze ", "Hünd"])
    data = zipped(
        train_images=GREY,
        train_labels=np.arange(50, dtype=np.uint8)[:, None] % 2,
        val_images=GREY[:2],
        val_labels=words,
        test_images=GREY[:4],
        test_labels=np.array([b"a", b"b", b"", b"\xff"]),
        note=np.arange(7),
    )
    found = list(npz_entries(stored(data), LARGEST))
    made = [entry for entry in found if isinstance(entry, Entry)]
    assert [entry.label for entry in made[49:]] == ["1", "Katze", "Hünd", "a", "b"]
    assert [(entry.name, entry.reason) for entry in found if isinstance(entry, Refused)] == [
        ("test_images-0000002", "no label"),
        ("test_images-0000003", "no label"),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_label_of_numbers_that_are_no_characters_is_refused_with_its_picture(order: str) -> None:
    labels = np.array(["cat", "dog", "ünï", "emu"], f"{order}U3")
    data = bytearray(zipped(x=GREY[:4], y=labels))
    at = data.index(labels.tobytes())
    struct.pack_into(f"{order}I", data, at + 12, 0x110000)
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        (info,) = [info for info in archive.infolist() if info.filename == "y.npy"]
    content = bytes(data[at - 128 : at + labels.nbytes])
    data = bytearray(bytes(data).replace(struct.pack("<I", info.CRC), struct.pack("<I", zlib.crc32(content))))
    first, second, third, _ = npz_entries(stored(bytes(data)), LARGEST)
    assert isinstance(first, Entry)
    assert isinstance(third, Entry)
    assert (first.label, third.label) == ("cat", "ünï")
    assert isinstance(second, Refused)
    assert (second.reason, second.detail) == ("no label", "its label has control characters")


def test_what_is_no_label_is_no_label() -> None:
    assert len(entries(npz_entries(stored(zipped(anything=GREY)), LARGEST))) == 50
    assert entries(npz_entries(stored(zipped(arr_0=GREY, arr_1=COLOUR)), LARGEST))[0].label is None
    for labels in (np.zeros(49, int), np.zeros((50, 14), int), np.zeros(50, float)):
        with pytest.raises(DataError, match="a label for each of the 50 pictures"):
            list(npz_entries(stored(zipped(x=GREY, y=labels)), LARGEST))
    with pytest.raises(DataError, match="holds a, b; pictures are looked for as images"):
        list(npz_entries(stored(zipped(a=GREY, b=GREY)), LARGEST))
    with pytest.raises(DataError, match="no array"):
        list(npz_entries(stored(zipped()), LARGEST))


def member(name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def test_a_bomb_an_encrypted_and_a_damaged_member_are_errors() -> None:
    zeros = saved(np.zeros((5000, 28, 28), np.uint8))
    with pytest.raises(DataError, match="bomb"):
        list(npz_entries(stored(member("x.npy", zeros)), LARGEST))
    sorted_labels = zipped(True, x=RANDOM.integers(0, 256, (9000, 2, 2), np.uint8), y=np.arange(9000) // 4500)
    assert len(entries(npz_entries(stored(sorted_labels), LARGEST))) == 9000, "sorted labels are no bomb"
    with pytest.raises(DataError, match="compression method 14"):
        list(npz_entries(stored(member("x.npy", saved(GREY), zipfile.ZIP_LZMA)), LARGEST))
    data = bytearray(member("x.npy", saved(GREY)))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="encrypted"):
        list(npz_entries(stored(bytes(data)), LARGEST))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("damage", ["content", "checksum", "size", "offset"])
def test_a_member_that_is_not_what_the_directory_says_is_found_out(method: int, damage: str) -> None:
    data = bytearray(member("x.npy", saved(GREY), method))
    at = data.index(b"PK\x01\x02")
    if damage == "content":
        data[at - 40] ^= 0xFF
    elif damage == "checksum":
        struct.pack_into("<I", data, at + 16, 1)
    elif damage == "size":
        struct.pack_into("<I", data, at + 24, len(saved(GREY)) + 10)
    else:
        struct.pack_into("<I", data, at + 42, 7)
    with pytest.raises(DataError, match=r"x\.npy"):
        list(npz_entries(stored(bytes(data)), LARGEST))


@pytest.mark.parametrize("packed", [False, True])
def test_memory_stays_flat(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    noise = np.random.default_rng(1).integers(0, 256, (600, 128, 128, 3), np.uint8)
    path.write_bytes(zipped(packed, images=noise, labels=np.arange(600)))
    del noise
    tracemalloc.start()
    try:
        total = sum(
            int(entry.pixels()[0, 0, 0]) >= 0
            for entry in npz_entries(FileRange.open(path), LARGEST)
            if isinstance(entry, Entry) and entry.pixels is not None
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 600
    assert peak < 16 * 2**20, "29 MB were read"


class Counting:
    """Counts the reads of a source."""

    def __init__(self, source: ByteRange) -> None:
        self._source, self.reads = source, 0
        self.what, self.size = source.what, source.size

    def read_at(self, start: int, length: int) -> bytes:
        self.reads += 1
        return self._source.read_at(start, length)


def test_an_object_is_fetched_in_large_parts() -> None:
    source = Counting(stored(saved(np.zeros((1000, 128, 128), np.uint8))))
    assert len(entries(npy_entries(source, LARGEST))) == 1000
    assert source.reads <= 8, "16 MB in blocks of 4 MiB"
