"""Zip and tar archives, sound and hostile ones, local and in the store."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ganlib.data.formats import tars
from ganlib.data.formats.entries import (
    BadName,
    ByteRange,
    Entry,
    FileRange,
    ObjectRange,
    Refused,
    check_name,
    shown_name,
)
from ganlib.data.formats.tars import tar_entries
from ganlib.data.formats.zips import zip_entries
from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryStore

LARGEST = 10_000
FILES = {"c0/a.jpg": b"first" * 100, "c1/b.jpg": bytes(range(256)), "ü/文.png": b"x"}


def in_memory(data: bytes) -> ByteRange:
    store = MemoryStore()
    store.put("archive", data)
    (info,) = store.list("archive")
    return ObjectRange(store, info)


def on_disk(data: bytes, folder: Path) -> ByteRange:
    path = folder / "archive"
    path.write_bytes(data)
    return FileRange.open(path)


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    compressed: bytes = pa.compress(data, "zstd", asbytes=True)
    return compressed


def contents(found: Iterator[Entry | Refused]) -> dict[str, bytes]:
    return {entry.name: entry.read() for entry in found if isinstance(entry, Entry)}


def refused(found: Iterator[Entry | Refused]) -> dict[str, str]:
    return {entry.name: entry.reason for entry in found if isinstance(entry, Refused)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_by_parts(method: int, tmp_path: Path) -> None:
    data = zipped(FILES, method)
    for source in (in_memory(data), on_disk(data, tmp_path)):
        assert contents(zip_entries(source, LARGEST)) == FILES


def test_only_the_directory_and_what_is_read_is_fetched_of_a_zip() -> None:
    store = MemoryStore()
    store.put(
        "archive", zipped({"large.jpg": bytes(range(256)) * 4000, "small.jpg": b"x"}, zipfile.ZIP_STORED)
    )
    (info,) = store.list("archive")
    fetched: list[int] = []

    class Counting(MemoryStore):
        def get_range(self, key: str, start: int, length: int, *, etag: str = "") -> bytes:
            fetched.append(length)
            return store.get_range(key, start, length, etag=etag)

    entries = {e.name: e for e in zip_entries(ObjectRange(Counting(), info), 2**21) if isinstance(e, Entry)}
    assert entries["small.jpg"].read() == b"x"
    assert sum(fetched) < 70_000, "the last 64 KiB, where a directory may begin"
    assert len(fetched) == 5, "one request for the file itself"


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_a_tar_is_read_as_a_stream(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data = pack(tarred(FILES))
    for source in (in_memory(data), on_disk(data, tmp_path)):
        assert contents(tar_entries(source, LARGEST)) == FILES


BAD_NAMES = [
    "../up.jpg",
    "/etc/passwd.jpg",
    "a/../../b.jpg",
    "C:/x.jpg",
    "a//b.jpg",
    "..\\up.jpg",
    "a/./b.jpg",
]


@pytest.mark.parametrize("name", [*BAD_NAMES, "line\nbreak.jpg", "bell\x07.jpg", "x" * 2000 + ".jpg"])
def test_a_name_that_must_not_become_a_path_is_refused(name: str) -> None:
    with pytest.raises(BadName):
        check_name(name)
    assert set(refused(tar_entries(in_memory(tarred({name: b"x", "good.jpg": b"x"})), LARGEST)).values()) == {
        "bad name"
    }
    found = list(zip_entries(in_memory(zipped({name: b"x", "good.jpg": b"x"})), LARGEST))
    assert [entry.name for entry in found if isinstance(entry, Entry)] == ["good.jpg"]


def test_names_in_any_alphabet_are_names() -> None:
    for name in ("ü.jpg", "文/字.png", "with space/é.jpg", "emoji 🙂.png", "عربي.jpg"):
        assert check_name(name)
    assert check_name("u\u0308.jpg") == "ü.jpg", "composed and decomposed letters are one name"
    assert shown_name("a\nb\x1b[0m").isprintable()
    assert len(shown_name("x" * 5000)) < 300


def test_what_cannot_be_used_is_refused_with_its_reason_and_the_rest_is_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.jpg", b"good")
        archive.writestr("empty.jpg", b"")
        archive.writestr("large.jpg", bytes(range(256)) * 100)
        archive.writestr("bomb.jpg", bytes(9_000))
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "good.jpg")
        archive.writestr(zipfile.ZipInfo("lzma.jpg"), b"x" * 50, zipfile.ZIP_LZMA)
    found = list(zip_entries(in_memory(out.getvalue()), LARGEST))
    assert contents(iter(found)) == {"good.jpg": b"good"}
    assert refused(iter(found)) == {
        "empty.jpg": "empty",
        "large.jpg": "too large",
        "bomb.jpg": "bomb",
        "link.jpg": "link",
        "lzma.jpg": "unreadable",
    }


def test_links_and_devices_in_a_tar_are_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (
            ("sym.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert refused(tar_entries(in_memory(out.getvalue()), LARGEST)) == {
        "sym.jpg": "link",
        "hard.jpg": "link",
        "pipe": "unreadable",
    }


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_files_of_one_name_the_second_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jpg", b"one")
        archive.writestr("a.jpg", b"two")
    found = list(zip_entries(in_memory(out.getvalue()), LARGEST))
    assert contents(iter(found)) == {"a.jpg": b"one"}
    assert refused(iter(found)) == {"a.jpg": "duplicate name"}


def test_an_encrypted_file_is_refused() -> None:
    data = bytearray(zipped({"a.jpg": b"secret"}))
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    assert refused(zip_entries(in_memory(bytes(data)), LARGEST)) == {"a.jpg": "encrypted"}


def test_a_file_without_a_name_is_refused() -> None:
    data = bytearray(zipped({"a.jpg": b"content"}))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<HH", data, at + 28, 0, 5)  # the name becomes an extra field
    struct.pack_into("<HH", data, at + 46, 7, 1)
    assert refused(zip_entries(in_memory(bytes(data)), LARGEST)) == {"": "bad name"}


@pytest.mark.parametrize("damage", ["size", "checksum", "offset"])
def test_a_directory_that_lies_is_found_out_when_the_file_is_read(damage: str) -> None:
    data = bytearray(zipped({"a.jpg": bytes(range(200))}, zipfile.ZIP_STORED))
    at = data.index(b"PK\x01\x02")
    if damage == "size":
        struct.pack_into("<II", data, at + 20, 100, 100)
    elif damage == "checksum":
        struct.pack_into("<I", data, at + 16, 1)
    else:
        struct.pack_into("<I", data, at + 42, 7)
    (entry,) = zip_entries(in_memory(bytes(data)), LARGEST)
    assert isinstance(entry, Entry)
    with pytest.raises(DataError, match=r"a\.jpg"):
        entry.read()


def test_an_entry_unpacks_no_further_than_it_announces() -> None:
    data = bytearray(zipped({"a.jpg": bytes(5_000_000)}))
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, at + 24, 9_000)
    (entry,) = zip_entries(in_memory(bytes(data)), LARGEST)
    if isinstance(entry, Entry):
        with pytest.raises(DataError, match="damaged"):
            entry.read()


@pytest.mark.parametrize("cut", [10, 100, 400])
def test_a_truncated_archive_is_an_error_that_names_it(cut: int) -> None:
    with pytest.raises(DataError, match="archive"):
        list(zip_entries(in_memory(zipped(FILES)[:-cut]), LARGEST))
    for pack in (gzip.compress, zstd):
        with pytest.raises(DataError, match="archive"):
            contents(tar_entries(in_memory(pack(tarred(FILES))[:-cut]), LARGEST))


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"nonsense" * 100, b"\x1f\x8b\x08nonsense", b"\x28\xb5\x2f\xfdrest"]
)
def test_what_is_no_archive_is_an_error(data: bytes) -> None:
    with pytest.raises(DataError):
        list(zip_entries(in_memory(data), LARGEST))
    if data:
        with pytest.raises(DataError):
            list(tar_entries(in_memory(data), LARGEST))


def test_a_tar_bomb_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "_SLACK_BYTES", 2**20)
    data = gzip.compress(tarred({"zeros.jpg": bytes(40 * 2**20), "last.jpg": b"x"}))
    with pytest.raises(DataError, match="bomb"):
        list(tar_entries(in_memory(data), LARGEST))
