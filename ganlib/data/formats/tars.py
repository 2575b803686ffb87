"""Tar archives, plain or compressed by gzip or Zstandard, read once from their beginning to their end.

A tar has no directory: each file is known when the stream comes to it, and can be read only then.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, cast

import pyarrow as pa

from ganlib.data.formats.entries import (
    BadName,
    ByteRange,
    Entry,
    Refused,
    Stream,
    check_name,
    shown_name,
)
from ganlib.data.formats.nested import nested_by_name, refuse_nested
from ganlib.errors import DataError

MAX_UNPACKED_RATIO = 200
"""Most bytes that a byte of the archive may unpack to, over the whole stream."""

_SLACK_BYTES = 64 * 2**20
UNPACK_ERRORS = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, OverflowError)
"""Errors of a tar, or of its compression, that is damaged or is none."""


def tar_entries(source: ByteRange, largest: int) -> Iterator[Entry | Refused]:
    """The files of a tar archive, in its own order; each can be read until the next is asked for.

    Args:
        source: The archive.
        largest: Most bytes of a file.

    Raises:
        DataError: It is no tar archive, is truncated or damaged, or unpacks to far more than it has.
    """
    seen: set[str] = set()
    try:
        # ``|`` reads a stream: tarfile never seeks, nor does it trust a file's size for memory.
        with tarfile.open(fileobj=cast("IO[bytes]", Unpacked(source)), mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                made = _entry(source, archive, member, largest)
                if isinstance(made, Entry):
                    if made.name in seen:
                        made = Refused(name=shown_name(made.name), reason="duplicate name")
                    else:
                        seen.add(made.name)
                yield made
    except UNPACK_ERRORS as error:
        raise DataError(f"{source.what} cannot be read as a tar archive: {error}") from error


def _entry(
    source: ByteRange, archive: tarfile.TarFile, member: tarfile.TarInfo, largest: int
) -> Entry | Refused:
    shown = shown_name(member.name)
    try:
        name = check_name(member.name.removeprefix("./"))
    except BadName as error:
        return Refused(name=shown, reason="bad name", detail=str(error))
    if nested := nested_by_name(name):
        return nested
    if not member.isfile():
        return Refused(name=shown, reason="link" if member.issym() or member.islnk() else "unreadable")
    if member.size == 0:
        return Refused(name=shown, reason="empty")
    if member.size > largest:
        return Refused(name=shown, reason="too large", detail=f"{member.size:,} bytes")

    def read() -> bytes:
        try:
            file = archive.extractfile(member)
            data = b"" if file is None else file.read(member.size)
        except UNPACK_ERRORS as error:
            raise DataError(f"{source.what}: {shown} is damaged: {error}") from error
        if len(data) != member.size:
            raise DataError(f"{source.what}: {shown} is truncated")
        return refuse_nested(data, f"{source.what}: {shown}")

    return Entry(name, member.size, read)


class Unpacked:
    """The stream of a tar, unpacked as its first bytes say; far more than the archive's size is an error."""

    def __init__(self, source: ByteRange) -> None:
        stream = Stream(source)
        start = source.read_at(0, min(4, source.size))
        if start.startswith(b"\x1f\x8b"):
            self._file: object = gzip.GzipFile(fileobj=cast("IO[bytes]", stream))
        elif start == b"\x28\xb5\x2f\xfd":
            # Its unpacker refuses windows of more than 128 MiB.
            self._file = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
        else:
            self._file = stream
        self._left = source.size * MAX_UNPACKED_RATIO + _SLACK_BYTES

    def read(self, length: int) -> bytes:
        """Read the next bytes. Raises ``DataError`` for a bomb, and :data:`UNPACK_ERRORS`."""
        data: bytes = self._file.read(length)  # type: ignore[attr-defined]
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"the archive unpacks to more than {MAX_UNPACKED_RATIO} times its size: it is a bomb"
            )
        return data
