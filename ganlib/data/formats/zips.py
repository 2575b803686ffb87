"""Zip archives read by parts: the directory at the end, then each entry by itself, without unpacking.

The directory is the standard library's work. An entry is read by its own offset, so that many can be read at
once from an object, and is unpacked only as far as the size that the directory announces.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial

from ganlib.data.formats.entries import BadName, ByteRange, Entry, Refused, check_name, shown_name
from ganlib.errors import DataError

MAX_ENTRIES = 20_000_000
"""Most files in one archive."""

MAX_DIRECTORY_BYTES = 2 * 2**30
"""Largest directory of an archive; it is in memory while the archive is read."""

MAX_RATIO = 200
"""Most bytes that a byte of an entry may unpack to; pictures hardly shrink, and deflate reaches 1,032."""

_LOCAL = struct.Struct("<4s5H3I2H")
_END = b"PK\x05\x06"
_END_BYTES, _LONGEST_COMMENT = 22, 2**16
_EXTRA_BYTES = 64
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1
_LINK, _TYPE = 0o120000, 0o170000


def zip_entries(source: ByteRange, largest: int) -> Iterator[Entry | Refused]:
    """The files of a zip archive, in the order of their names.

    Args:
        source: The archive.
        largest: Most bytes of an unpacked entry.

    Raises:
        DataError: It is no zip archive, is truncated, or its directory is too large.
    """
    _check_directory(source)
    try:
        with zipfile.ZipFile(_Seekable(source)) as archive:
            found = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
        raise DataError(f"{source.what} cannot be read as a zip archive: {error}") from error
    if len(found) > MAX_ENTRIES:
        raise DataError(f"{source.what} has {len(found):,} files; at most {MAX_ENTRIES:,} are accepted")
    seen: set[str] = set()
    for info in sorted(found, key=lambda info: info.filename):
        # Not `is_dir`, which fails for an empty name.
        if info.filename.endswith("/"):
            continue
        made = _entry(source, info, largest)
        if isinstance(made, Entry):
            if made.name in seen:
                made = Refused(name=shown_name(made.name), reason="duplicate name")
            else:
                seen.add(made.name)
        yield made


def _check_directory(source: ByteRange) -> None:
    """Refuse a directory by its announced size, before it is read into memory."""
    length = min(source.size, _END_BYTES + _LONGEST_COMMENT)
    tail = source.read_at(source.size - length, length)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise DataError(f"{source.what} cannot be read as a zip archive: it has no directory at its end")
    size = int(struct.unpack_from("<I", tail, at + 12)[0])
    # Zip64 announces its size elsewhere; no directory is larger than what lies before its end.
    size = source.size if size == 0xFFFFFFFF else size
    if min(size, source.size) > MAX_DIRECTORY_BYTES and size != source.size:
        raise DataError(
            f"{source.what} has a directory of {size:,} bytes; at most {MAX_DIRECTORY_BYTES:,} are accepted"
        )


def _entry(source: ByteRange, info: zipfile.ZipInfo, largest: int) -> Entry | Refused:
    shown = shown_name(info.filename)
    try:
        name = check_name(info.filename)
    except BadName as error:
        return Refused(name=shown, reason="bad name", detail=str(error))
    if info.flag_bits & _ENCRYPTED:
        return Refused(name=shown, reason="encrypted")
    if (info.external_attr >> 16) & _TYPE == _LINK:
        return Refused(name=shown, reason="link")
    if info.file_size == 0:
        return Refused(name=shown, reason="empty")
    if info.file_size > largest:
        return Refused(name=shown, reason="too large", detail=f"{info.file_size:,} bytes")
    if info.file_size > MAX_RATIO * max(1, info.compress_size):
        return Refused(
            name=shown, reason="bomb", detail=f"{info.compress_size:,} bytes unpack to {info.file_size:,}"
        )
    if info.compress_type not in (_STORED, _DEFLATED):
        return Refused(name=shown, reason="unreadable", detail=f"compression method {info.compress_type}")
    return Entry(name, info.file_size, partial(_read, source, info))


def _read(source: ByteRange, info: zipfile.ZipInfo) -> bytes:
    """An entry's content, checked against the size and checksum of the directory."""
    what = f"{source.what}: {shown_name(info.filename)}"
    # One request where the header has the length that most have, and a second one for the rest otherwise.
    guess = _LOCAL.size + len(info.filename.encode()) + _EXTRA_BYTES + info.compress_size
    begin = source.read_at(info.header_offset, min(guess, max(0, source.size - info.header_offset)))
    if len(begin) < _LOCAL.size or not begin.startswith(b"PK\x03\x04"):
        raise DataError(f"{what} does not begin where the archive's directory says")
    *_, name_bytes, extra_bytes = _LOCAL.unpack_from(begin)
    start = _LOCAL.size + name_bytes + extra_bytes
    packed = begin[start : start + info.compress_size]
    if missing := info.compress_size - len(packed):
        packed += source.read_at(info.header_offset + start + len(packed), missing)
    if info.compress_type == _STORED:
        data = packed
    else:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(packed, info.file_size + 1)
        except zlib.error as error:
            raise DataError(f"{what} is damaged: {error}") from error
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise DataError(f"{what} is damaged: its content is not what the archive's directory announces")
    return data


class _Seekable(io.RawIOBase):
    """A byte range as a file, for the standard library."""

    def __init__(self, source: ByteRange) -> None:
        self._source, self._at = source, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} lies before the beginning")
        self._at = base + offset
        return self._at

    def read(self, length: int | None = -1) -> bytes:
        left = max(0, self._source.size - self._at)
        wanted = left if length is None or length < 0 else min(length, left)
        data = self._source.read_at(self._at, wanted) if wanted else b""
        self._at += len(data)
        return data
