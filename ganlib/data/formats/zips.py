"""Zip archives read by parts: the directory at the end, then each entry by itself, without unpacking.

The directory is the standard library's work. An entry is read by its own offset, so that many can be read at
once from an object, and is unpacked only as far as the size that the directory announces.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import cast

from ganlib.data.formats.entries import (
    READ_AHEAD_BYTES,
    BadName,
    ByteRange,
    Entry,
    Refused,
    Stream,
    ZipMember,
    check_name,
    check_range,
    shown_name,
)
from ganlib.data.formats.nested import nested_by_name, refuse_nested
from ganlib.data.formats.parts import PartRange, Seekable
from ganlib.errors import DataError

MAX_ENTRIES = 1_500_000
"""Most files in one archive. The standard library's ZipInfo of one takes about 640 bytes of memory, its name
included (measured with Python 3.11 and ``imgs/train/c3/img_000001.jpg``), so that this many take 0.96 GB."""

MAX_DIRECTORY_BYTES = 256 * 2**20
"""Largest directory of an archive; the standard library reads it as a whole before it makes ZipInfos. A file
has 46 bytes, its name, and mostly 24 to 36 bytes of times and owners there: about 110 bytes with a name as
above. :data:`MAX_ENTRIES` files therefore fit with names of up to 96 bytes: 46 + 96 + 36 = 178 bytes each."""

MAX_RATIO = 200
"""Most bytes that a byte of an entry may unpack to; pictures hardly shrink, and deflate reaches 1,032."""

_MOST_OVERHEAD_BYTES = 2**16
"""Most packed bytes beyond a member's own size: deflate adds some bytes to what it cannot shrink."""

_LOCAL = struct.Struct("<4s5H3I2H")
_MEMBER, _MEMBER_BYTES = b"PK\x01\x02", 46
"""Beginning of a file's record in the directory, and the record's least length."""
_END = b"PK\x05\x06"
_END_BYTES, _LONGEST_COMMENT = 22, 2**16
_END64, _END64_BYTES = b"PK\x06\x06", 56
_LOCATOR64, _LOCATOR64_BYTES = b"PK\x06\x07", 20
"""Zip64's record of the directory's end, and its locator, which lies between that record and the end."""
_EXTRA_BYTES = 64
_STEP_BYTES = 2**18
"""Packed bytes that are given to the unpacker at once."""
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1
_DIRECTORY_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    OSError,
    ValueError,
    struct.error,
    OverflowError,
)
_LINK, _TYPE = 0o120000, 0o170000


def zip_entries(source: ByteRange, largest: int) -> Iterator[Entry | Refused]:
    """The files of a zip archive, in the order of their names.

    Args:
        source: The archive.
        largest: Most bytes of an unpacked entry.

    Raises:
        DataError: It is no zip archive, is truncated, or its directory is too large.
    """
    seen: set[str] = set()
    for info in sorted(zip_directory(source), key=lambda info: info.filename):
        # Python's own is_dir fails for an empty name.
        if info.filename.endswith("/"):
            continue
        made = _entry(source, info, largest)
        if isinstance(made, Entry):
            if made.name in seen:
                made = Refused(name=shown_name(made.name), reason="duplicate name")
            else:
                seen.add(made.name)
        yield made


def zip_directory(source: ByteRange) -> list[zipfile.ZipInfo]:
    """The directory of a zip archive, whose names and sizes are not checked yet.

    Raises:
        DataError: As :func:`zip_entries`.
    """
    _check_directory(source)
    try:
        with zipfile.ZipFile(Seekable(source)) as archive:
            return archive.infolist()
    except _DIRECTORY_ERRORS as error:
        raise DataError(f"{source.what} cannot be read as a zip archive: {error}") from error


def first_name(source: ByteRange) -> str:
    """The name in the header at the archive's beginning; empty for an archive without files."""
    begin = source.read_at(0, min(_LOCAL.size + 256, source.size))
    if len(begin) < _LOCAL.size or not begin.startswith(b"PK\x03\x04"):
        return ""
    length = _LOCAL.unpack_from(begin)[-2]
    return begin[_LOCAL.size : _LOCAL.size + length].decode("utf-8", "replace")


def _check_directory(source: ByteRange) -> None:
    """Refuse a directory by its size and its number of files, before the standard library reads it."""
    start, size = _find_directory(source)
    if size > MAX_DIRECTORY_BYTES:
        raise DataError(
            f"{source.what} has a directory of {size:,} bytes; at most {MAX_DIRECTORY_BYTES:,} are accepted. "
            "Pack its files into several archives"
        )
    # A smaller directory has no room for too many; a start before the beginning is the library's to refuse.
    if size <= MAX_ENTRIES * _MEMBER_BYTES or start < 0:
        return
    # The announced number of files may be a lie. Each record begins with this mark, so that there are at most
    # as many records as marks; a mark that lies across the border of two parts is found by the overlap.
    marks, before, directory = 0, b"", Stream(PartRange(source, start, size))
    while part := directory.read(READ_AHEAD_BYTES):
        marks += (before + part).count(_MEMBER)
        before = part[1 - len(_MEMBER) :]
    if marks > MAX_ENTRIES:
        raise DataError(
            f"{source.what} has {marks:,} files; at most {MAX_ENTRIES:,} are accepted. "
            "Pack its files into several archives"
        )


def _find_directory(source: ByteRange) -> tuple[int, int]:
    """Start and size of the directory in bytes, by the records that the standard library goes by."""
    length = min(source.size, _END64_BYTES + _LOCATOR64_BYTES + _END_BYTES + _LONGEST_COMMENT)
    tail = source.read_at(source.size - length, length)
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise DataError(f"{source.what} cannot be read as a zip archive: it has no directory at its end")
    end, size = at, int(struct.unpack_from("<I", tail, at + 12)[0])
    # Zip64 announces its size in a record before, which counts wherever its locator is there too.
    locator = at - _LOCATOR64_BYTES
    end64 = locator - _END64_BYTES
    if end64 >= 0 and tail.startswith(_LOCATOR64, locator) and tail.startswith(_END64, end64):
        end, size = end64, int(struct.unpack_from("<Q", tail, end64 + 40)[0])
    return source.size - length + end - size, size


def _entry(source: ByteRange, info: zipfile.ZipInfo, largest: int) -> Entry | Refused:
    made = check_member(info, largest)
    if isinstance(made, Refused):
        return made
    nested = nested_by_name(made)
    if nested is not None:
        return nested
    member = ZipMember(
        made, info.header_offset, info.compress_size, info.file_size, info.CRC, info.compress_type
    )
    return member_entry(source, member)


def check_member(info: zipfile.ZipInfo, largest: int, most_ratio: int = MAX_RATIO) -> str | Refused:
    """The name of a member as a relative path, or why the member cannot be read.

    Args:
        info: As the directory announces it.
        largest: Most bytes of the unpacked member.
        most_ratio: Most bytes that a byte of it may unpack to.
    """
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
    if info.file_size > most_ratio * max(1, info.compress_size):
        return Refused(
            name=shown, reason="bomb", detail=f"{info.compress_size:,} bytes unpack to {info.file_size:,}"
        )
    if info.compress_size > info.file_size + _MOST_OVERHEAD_BYTES:
        detail = f"{info.compress_size:,} packed bytes for {info.file_size:,}"
        return Refused(name=shown, reason="unreadable", detail=detail)
    if info.compress_type not in (_STORED, _DEFLATED):
        return Refused(name=shown, reason="unreadable", detail=f"compression method {info.compress_type}")
    return name


def member_entry(source: ByteRange, member: ZipMember) -> Entry:
    """The file of an archive that lies at a known place."""
    return Entry(member.name, member.size, partial(_read, source, member), member=member)


def _read(source: ByteRange, member: ZipMember) -> bytes:
    """An entry's content, checked against the size and checksum of the directory."""
    what = f"{source.what}: {shown_name(member.name)}"
    # One request where the header has the length that most have, and a second one for the rest otherwise.
    guess = _LOCAL.size + len(member.name.encode()) + _EXTRA_BYTES + member.packed
    begin = source.read_at(member.offset, min(guess, max(0, source.size - member.offset)))
    if len(begin) < _LOCAL.size or not begin.startswith(b"PK\x03\x04"):
        raise DataError(f"{what} does not begin where the archive's directory says")
    *_, name_bytes, extra_bytes = _LOCAL.unpack_from(begin)
    start = _LOCAL.size + name_bytes + extra_bytes
    packed = begin[start : start + member.packed]
    if missing := member.packed - len(packed):
        packed += source.read_at(member.offset + start + len(packed), missing)
    if member.method == _STORED:
        data = packed
    else:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = unpacker.decompress(packed, member.size + 1)
        except zlib.error as error:
            raise DataError(f"{what} is damaged: {error}") from error
    if len(data) != member.size or zlib.crc32(data) != member.crc:
        raise DataError(f"{what} is damaged: its content is not what the archive's directory announces")
    return refuse_nested(data, what)


class MemberStream:
    """A member of a zip archive that is unpacked while it is read, never more of it than is asked for.

    Args:
        source: The archive.
        info: The member: one that :func:`check_member` accepts.
        ahead: Packed bytes to fetch at once.

    Raises:
        DataError: The member does not begin where the directory says.
    """

    def __init__(self, source: ByteRange, info: zipfile.ZipInfo, ahead: int) -> None:
        self._what = f"{source.what}: {shown_name(info.filename)}"
        check_range(source, info.header_offset, _LOCAL.size)
        begin = source.read_at(info.header_offset, _LOCAL.size)
        if not begin.startswith(b"PK\x03\x04"):
            raise DataError(f"{self._what} does not begin where the archive's directory says")
        *_, name_bytes, extra_bytes = _LOCAL.unpack(begin)
        start = info.header_offset + _LOCAL.size + name_bytes + extra_bytes
        check_range(source, start, info.compress_size)
        self._packed = Stream(PartRange(source, start, info.compress_size), ahead)
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS) if info.compress_type == _DEFLATED else None
        self._step, self._rest = min(ahead, _STEP_BYTES), b""
        self._left, self._crc, self._announced = info.file_size, 0, info.CRC

    def read(self, length: int) -> bytes:
        """Read the next bytes; fewer at the end.

        Raises:
            DataError: It ends early, or it ends here and its checksum is not that of the directory.
        """
        wanted = min(length, self._left)
        parts = []
        while wanted:
            part = self._packed.read(wanted) if self._unpacker is None else self._unpack(wanted)
            if not part:
                raise DataError(f"{self._what} is truncated: {self._left:,} more bytes are announced")
            parts.append(part)
            wanted -= len(part)
            self._left -= len(part)
            self._crc = zlib.crc32(part, self._crc)
            if self._left == 0 and self._crc != self._announced:
                raise DataError(
                    f"{self._what} is damaged: its content is not what the archive's directory announces"
                )
        return b"".join(parts)

    def _unpack(self, most: int) -> bytes:
        """Some bytes, at most ``most``; none at the end."""
        unpacker = cast("zlib._Decompress", self._unpacker)
        while not unpacker.eof:
            packed = self._rest or self._packed.read(self._step)
            try:
                data = unpacker.decompress(packed, most)
            except zlib.error as error:
                raise DataError(f"{self._what} is damaged: {error}") from error
            self._rest = unpacker.unconsumed_tail
            if data or not packed:
                return data
        return b""
