"""Files with many pictures told by their content, archives inside of archives, and IDX files as entries."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from byte_sources import entries, stored

from ganlib.data.formats import zips
from ganlib.data.formats.containers import open_container, split_of
from ganlib.data.formats.entries import Entry, FileRange, Refused, UnusableContent, array_entry, check_label
from ganlib.data.formats.idx import idx_entries, write_idx
from ganlib.data.formats.tars import tar_entries
from ganlib.data.formats.zips import zip_entries
from ganlib.errors import DataError

LARGEST = 2**20
PICTURE = b"\x89PNG not really"
GREY = np.random.default_rng(0).integers(0, 256, (12, 5, 4), dtype=np.uint8)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def saved(save: Callable[..., Any], *args: Any, **named: Any) -> bytes:
    out = io.BytesIO()
    save(out, *args, **named)
    return out.getvalue()


def tabled() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array([PICTURE])}), out)
    return out.getvalue()


ZIP, TAR = zipped({"c0/a.png": PICTURE}), tarred({"c0/a.png": PICTURE})
OLD_TAR = bytearray(tarred({"c0/a.png": PICTURE}, tarfile.USTAR_FORMAT))
OLD_TAR[257:265] = bytes(8)
OLD_TAR[148:156] = b"%06o\x00 " % (sum(OLD_TAR[:148]) + 8 * 32 + sum(OLD_TAR[156:512]))
NPZ, NPY = saved(np.savez, x=GREY), saved(np.save, GREY)
ZSTD: bytes = pa.compress(TAR, "zstd", asbytes=True)
IDX = b"\x00\x00\x08\x03" + struct.pack(">III", *GREY.shape) + GREY.tobytes()


@pytest.mark.parametrize(
    ("data", "first"),
    [
        (ZIP, "c0/a.png"),
        (TAR, "c0/a.png"),
        (bytes(OLD_TAR), "c0/a.png"),
        (gzip.compress(TAR, mtime=0), "c0/a.png"),
        (ZSTD, "c0/a.png"),
        (NPZ, "x-0000000"),
        (NPY, "0000000"),
        (tabled(), "0000000"),
    ],
    ids=["zip", "tar", "old-tar", "tar.gz", "tar.zst", "npz", "npy", "parquet"],
)
@pytest.mark.parametrize("name", ["folder/archive", "wrong.jpg"])
def test_a_container_is_known_by_its_content(data: bytes, first: str, name: str) -> None:
    found = open_container(name, stored(data), LARGEST)
    assert found is not None
    entry = next(found)
    assert isinstance(entry, Entry)
    assert entry.name == first
    assert entry.read() == (PICTURE if entry.pixels is None else GREY[0].tobytes())


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"P", PICTURE, b"file,label\n", IDX, gzip.compress(IDX, mtime=0), gzip.compress(b"", mtime=0)),
        *(b"\x1f\x8b\x08damaged", b"\x28\xb5\x2f\xfddamaged", b"\x01" * 2000),
    ],
)
def test_what_is_no_container_is_none_unless_its_name_says_so(data: bytes) -> None:
    assert open_container("some/file.gz", stored(data), LARGEST) is None
    for name in ("a.zip", "A.NPZ", "a.npy", "a.parquet"):
        with pytest.raises(DataError, match="is named .*but begins with"):
            open_container(name, stored(data), LARGEST)
    with pytest.raises(DataError):
        list(open_container("a.tar.gz", stored(data), LARGEST) or [])


def test_a_zip_is_an_npz_when_all_in_it_are_arrays_or_its_name_says_so() -> None:
    mixed = zipped({"a.npy": NPY, "b.png": PICTURE})
    assert [type(entry) for entry in open_container("a.zip", stored(mixed), LARGEST) or []] == [
        Refused,
        Entry,
    ]
    named = list(open_container("a.npz", stored(mixed), LARGEST) or [])
    assert len(named) == len(GREY)
    assert list(open_container("empty.zip", stored(zipped({})), LARGEST) or []) == []


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("inner", [ZIP, TAR, gzip.compress(b"x", mtime=0), ZSTD, NPZ, NPY, tabled()])
def test_an_archive_inside_of_an_archive_is_refused(
    pack: Callable[[dict[str, bytes]], bytes], inner: bytes
) -> None:
    read: Callable[..., Iterator[Entry | Refused]] = zip_entries if pack is zipped else tar_entries
    files = {"a.ZIP": inner, "b.tar.gz": inner, "c.jpg": inner, "d.png": PICTURE}
    refused, good = {}, {}
    for entry in read(stored(pack(files)), LARGEST):
        if isinstance(entry, Refused):
            refused[entry.name] = entry.reason
            continue
        try:
            good[entry.name] = entry.read()
        except UnusableContent as error:
            refused[entry.name] = error.reason
    assert refused == dict.fromkeys(("a.ZIP", "b.tar.gz", "c.jpg"), "nested archive")
    assert good == {"d.png": PICTURE}


def test_a_file_without_a_name_is_refused() -> None:
    data = bytearray(zipped({"a": PICTURE}))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<HH", data, at + 28, 0, 1)
    (entry,) = zip_entries(stored(bytes(data)), LARGEST)
    assert isinstance(entry, Refused)
    assert entry.reason == "bad name"


def test_a_directory_of_zip64_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    at = ZIP.index(b"PK\x05\x06")
    directory = ZIP.index(b"PK\x01\x02")
    sizes = (1, 1, at - directory, directory)
    record = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, *sizes)
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, at, 1)
    data = ZIP[:at] + record + locator + ZIP[at:]
    assert [entry.name for entry in entries(zip_entries(stored(data), LARGEST))] == ["c0/a.png"]
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 20)
    with pytest.raises(DataError, match="directory of 54 bytes"):
        list(zip_entries(stored(data), LARGEST))


def test_a_zip64_record_without_its_locator_hides_no_large_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    # The standard library then goes by the older record, which announces 54 bytes.
    at = ZIP.index(b"PK\x05\x06")
    record = b"PK\x06\x06" + struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, 1, 1, 7, 0)
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 20)
    with pytest.raises(DataError, match="directory of 54 bytes; at most 20 .*several archives"):
        list(zip_entries(stored(ZIP[:at] + record + bytes(20) + ZIP[at:]), LARGEST))


@pytest.mark.parametrize("announced", [60, 1])
@pytest.mark.parametrize("step", [46, 2**20])
def test_too_many_files_are_refused_before_their_records_are_made(
    announced: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(zipped({f"{number:02}.png": PICTURE for number in range(60)}))
    struct.pack_into("<HH", data, len(data) - 14, announced, announced)
    monkeypatch.setattr(zips, "READ_AHEAD_BYTES", step)
    monkeypatch.setattr(zips, "MAX_ENTRIES", 60)
    assert len(entries(zip_entries(stored(bytes(data)), LARGEST))) == 60
    monkeypatch.setattr(zips, "MAX_ENTRIES", 59)
    monkeypatch.setattr(zipfile, "ZipInfo", None)
    with pytest.raises(DataError, match="60 files; at most 59 are accepted. Pack its files into several"):
        list(zip_entries(stored(bytes(data)), LARGEST))


def test_a_full_directory_stays_below_a_gigabyte() -> None:
    least = 2**12
    data = zipped({f"imgs/train/c3/img_{number:06}.jpg": b"" for number in range(least)})
    tracemalloc.start()
    try:
        infos = zips.zip_directory(stored(data))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(infos) == least
    assert held / least * zips.MAX_ENTRIES < 2**30
    assert zips.MAX_ENTRIES * (46 + 96 + 36) <= zips.MAX_DIRECTORY_BYTES


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.tar.bz2", bz2.compress(TAR), "bzip2"),
        ("a.tbz2", bz2.compress(TAR), "bzip2"),
        ("misnamed.tar.gz", bz2.compress(TAR), "bzip2"),
        ("a.tar.xz", lzma.compress(TAR), "xz"),
        ("A.TXZ", lzma.compress(TAR), "xz"),
        ("misnamed.zip", lzma.compress(TAR), "xz"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\x00\x04", "7z"),
        ("a.rar", b"Rar!\x1a\x07\x01\x00", "RAR"),
        ("no-suffix", b"Rar!\x1a\x07\x01\x00", "RAR"),
        ("a.tar.bz2", b"damaged", ".bz2"),
        ("a.txz", b"damaged", ".txz"),
        ("a.rar", b"", ".rar"),
    ],
)
def test_a_compression_that_is_not_read_is_named_with_what_helps(name: str, data: bytes, kind: str) -> None:
    words = (
        f"^{name} cannot be read: {re.escape(kind)} is a compression that is not supported. Unpack it, .*zst$"
    )
    with pytest.raises(DataError, match=words):
        open_container(name, stored(data), LARGEST)


def test_a_tar_that_begins_like_another_compression_is_a_tar() -> None:
    found = open_container("a", stored(tarred({"BZh91AY&SY/a.png": PICTURE})), LARGEST)
    assert [entry.name for entry in found or []] == ["BZh91AY&SY/a.png"]


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_given_as_entries(packed: bool, tmp_path: Path) -> None:
    labels = np.arange(12, dtype=np.uint8) % 5
    write_idx(tmp_path / "images", GREY)
    write_idx(tmp_path / "labels", labels)
    if not packed:
        for name in ("images", "labels"):
            (tmp_path / name).write_bytes(gzip.decompress((tmp_path / name).read_bytes()))
    images, classes = FileRange.open(tmp_path / "images"), FileRange.open(tmp_path / "labels")
    found = list(idx_entries(images, classes, LARGEST, "train-"))
    assert [entry.name for entry in found[:2]] == ["train-0000000", "train-0000001"]
    assert [entry.label for entry in found] == [str(label) for label in labels]
    assert [entry.read() for entry in found] == [picture.tobytes() for picture in GREY]
    np.testing.assert_array_equal(np.stack([entry.pixels() for entry in found if entry.pixels]), GREY)
    assert next(idx_entries(images, None, LARGEST)).label is None
    with pytest.raises(DataError, match="20 bytes; at most 19"):
        list(idx_entries(images, None, 19))
    write_idx(tmp_path / "fewer", labels[:5])
    with pytest.raises(DataError, match="12 pictures, but .*fewer 5 labels"):
        list(idx_entries(images, FileRange.open(tmp_path / "fewer"), LARGEST))


def test_an_idx_file_that_lies_is_an_error() -> None:
    header = b"\x00\x00\x08\x03" + struct.pack(">III", 1_000_000, 28, 28)
    with pytest.raises(DataError, match="truncated or a bomb"):
        list(idx_entries(stored(header + bytes(784)), None, LARGEST))
    for data, match in ((IDX[:-1], "cut short"), (IDX + b"x", "goes on"), (IDX[:7], "cut short")):
        with pytest.raises(DataError, match=match):
            list(idx_entries(stored(data), None, LARGEST))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "held_out"),
        ("x_train-0000012", "train"),
        ("test_images-0000001", "held_out"),
        ("train/cats/a.jpg", "train"),
        ("train/valid/a.jpg", "held_out"),
        ("TEST/a.jpg", "held_out"),
        ("train_test.npz", None),
        ("trains/contest/a.jpg", None),
    ],
)
def test_names_speak_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_a_picture_of_an_array_is_contiguous_whatever_its_block_is() -> None:
    entry = array_entry("x", GREY.transpose(0, 2, 1)[3])
    assert entry.pixels is not None
    assert entry.pixels().flags.c_contiguous
    assert entry.read() == GREY[3].T.tobytes()
    assert entry.size == 20
    assert check_label(" u\u0308 ") == "ü"
