"""Pictures inside of something else: entries of archives and arrays, and those that are refused.

Names and sizes come from whoever made the archive: nothing here is trusted before it is checked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ganlib.errors import DataError
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Record

MAX_NAME_BYTES = 1024
"""Longest name of an entry in UTF-8; S3 takes no longer keys."""

MAX_LABEL = 200
"""Longest name of a class, in characters."""

MAX_DETAIL = 400
"""Longest explanation of a refused picture, in characters."""

READ_AHEAD_BYTES = 2**20
"""Bytes that are fetched from an object at once, at least."""

Reason = Literal[
    "bad name",
    "empty",
    "too large",
    "bomb",
    "unreadable",
    "truncated",
    "link",
    "encrypted",
    "nested archive",
    "duplicate name",
    "no label",
    "no group",
]
"""Why a picture cannot be used, in the words of the manifest."""


class Refused(Record):
    """A picture that cannot be used."""

    name: Annotated[str, Field(max_length=4 * MAX_NAME_BYTES)]
    reason: Reason
    detail: Annotated[str, Field(max_length=MAX_DETAIL)] = ""
    """For a person."""


class PictureRefused(DataError):
    """A picture that cannot be used, while others of its dataset can.

    Args:
        what: Its path or key.
        reason: For the manifest.
        detail: For a person: the value and its limit; longer than 200 characters it is cut.
        remedy: What helps.
    """

    def __init__(
        self, what: str, reason: Reason, detail: str, remedy: str = "repair it or leave it out"
    ) -> None:
        self.what, self.reason, self.detail = what, reason, shown_name(detail)
        super().__init__(f"{what} cannot be opened as a picture, {reason}: {self.detail}; {remedy}")

    def refused(self, name: str) -> Refused:
        """The refusal for the manifest, under the picture's name there."""
        return Refused(name=shown_name(name), reason=self.reason, detail=self.detail)


class ZipMember(NamedTuple):
    """Where a file lies in a zip archive, enough to read it without the archive's directory."""

    name: str
    """As :func:`check_name` accepts it."""
    offset: int
    """Position of its header."""
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes of the content."""
    crc: int
    method: int
    """How it is compressed: 0 not at all, 8 deflate."""

    @property
    def stamp(self) -> str:
        """Changes when its content does."""
        return f"{self.crc:08x}-{self.size}"


class Entry(NamedTuple):
    """A picture file inside of an archive or a table, or a picture of an array.

    A picture file has ``pixels`` None, and ``read`` gives the bytes of the file, to be decoded. A picture of
    an array (npy, npz, IDX) has both: ``pixels`` gives the picture, which needs no decoding, and ``read`` the
    same values as bytes, row by row, which are no picture file (they serve for a digest, beside the shape).
    An entry keeps its block of the array, some MiB, in memory for as long as it lives.
    """

    name: str
    """Relative path with slashes, as :func:`check_name` accepts it."""
    size: int
    """Bytes, as announced; of a picture of an array, its values."""
    read: Callable[[], bytes]
    """Its content, of at most ``size`` bytes. Raises ``DataError``."""
    label: str | None = None
    """Its class, where the format itself carries one, as :func:`check_label` accepts it: a text, no path."""
    pixels: Callable[[], NDArray[np.uint8]] | None = None
    """A picture of an array: uint8 [height, width] (grey) or [height, width, 3] (RGB), 0 to 255, not to be
    written to. None for a picture file."""
    member: ZipMember | None = None
    """Where it lies in its zip archive, if in one."""


def array_entry(name: str, picture: NDArray[np.uint8], label: str | None = None) -> Entry:
    """A picture of an array, uint8 [height, width] or [height, width, 3] in any memory layout."""

    def pixels() -> NDArray[np.uint8]:
        return np.ascontiguousarray(picture)

    return Entry(name, picture.size, lambda: pixels().tobytes(), label, pixels)


class UnusableContent(DataError):
    """An entry whose content shows, when it is read, that it cannot be used.

    Args:
        message: For a person.
        reason: The same in the words of the manifest.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class BadName(ValueError):
    """A name that must not become a path, or a label that must not become a class; its text says why."""


def check_name(name: str) -> str:
    """A name from an archive as a relative path in Unicode's composed form.

    Raises:
        BadName: It is absolute or begins with a drive, leaves its folder, is too long, or has control
            characters.
    """
    name = unicodedata.normalize("NFC", name)
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise BadName("it has control characters")
    parts = name.replace("\\", "/").split("/")
    # On Windows, C:x lies in whichever folder is the current one of that drive.
    if parts[0] == "" or (parts[0][1:2] == ":" and "a" <= parts[0][0].lower() <= "z"):
        raise BadName("it is absolute or begins with a drive")
    if any(part in ("", ".", "..") for part in parts):
        raise BadName("it has an empty part, '.' or '..'")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise BadName(f"it has more than {MAX_NAME_BYTES} bytes")
    return "/".join(parts)


def check_label(label: str) -> str:
    """A class from a file as one line of text in Unicode's composed form, without spaces around it.

    Raises:
        BadName: It is empty, has more than :data:`MAX_LABEL` characters, or has control characters.
    """
    label = unicodedata.normalize("NFC", label[: 4 * MAX_LABEL]).strip()
    if not label:
        raise BadName("its label is empty")
    if len(label) > MAX_LABEL:
        raise BadName(f"its label has more than {MAX_LABEL} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in label):
        raise BadName("its label has control characters")
    return label


def shown_name(name: str) -> str:
    """A name for messages and manifests, whatever it holds: escaped and at most 200 characters."""
    escaped = (
        name.encode("unicode_escape", "surrogatepass").decode("ascii") if not name.isprintable() else name
    )
    return escaped if len(escaped) <= 200 else f"{escaped[:200]}…"


class ByteRange(Protocol):
    """Bytes that can be read at any position: a local file, or an object."""

    @property
    def what(self) -> str:
        """Its path or key, for messages."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read_at(self, start: int, length: int) -> bytes:
        """Read exactly this part. Raises ``DataError`` where it ends before."""
        ...


@dataclass(frozen=True)
class FileRange:
    """A local file."""

    path: Path
    size: int

    @classmethod
    def open(cls, path: Path) -> FileRange:
        """The file as it is now. Raises ``DataError``."""
        try:
            return cls(path, path.stat().st_size)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error

    @property
    def what(self) -> str:
        """Its path."""
        return str(self.path)

    def read_at(self, start: int, length: int) -> bytes:
        """Read exactly this part. Raises ``DataError``."""
        check_range(self, start, length)
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                data = file.read(length)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error
        if len(data) != length:
            raise DataError(f"{self.path} was shortened while it was read; repeat the command")
        return data


@dataclass(frozen=True)
class ObjectRange:
    """An object of the store, which must stay the same object."""

    store: ObjectStore
    info: ObjectInfo

    @property
    def what(self) -> str:
        """Its key."""
        return self.info.key

    @property
    def size(self) -> int:
        """Bytes, as listed."""
        return self.info.size

    def read_at(self, start: int, length: int) -> bytes:
        """Read exactly this part. Raises ``DataError``."""
        check_range(self, start, length)
        if length == 0:
            return b""
        data = self.store.get_range(self.info.key, start, length, etag=self.info.etag)
        if len(data) != length:
            raise DataError(f"{self.info.key} ended after {start + len(data):,} bytes; repeat the command")
        return data


def check_range(source: ByteRange, start: int, length: int) -> None:
    """Refuse a part that does not lie within. Raises ``DataError``."""
    if start < 0 or length < 0 or start + length > source.size:
        raise DataError(
            f"{source.what} announces bytes {start:,} to {start + length:,} and has {source.size:,}: it is "
            "truncated or damaged"
        )


class Stream:
    """A byte range read from its beginning to its end, in large parts.

    Args:
        source: What to read.
        ahead: Bytes to fetch at once.
    """

    def __init__(self, source: ByteRange, ahead: int = READ_AHEAD_BYTES) -> None:
        self._source, self._ahead = source, ahead
        self._at, self._buffer = 0, b""
        self.closed = False

    def close(self) -> None:
        """Do nothing but say so: there is nothing to release."""
        self.closed = True

    def read(self, length: int = -1) -> bytes:
        """Read the next bytes; fewer at the end. Without a length, all that is left."""
        wanted = self._source.size if length < 0 else length
        parts, got = [], 0
        while got < wanted:
            if not self._buffer:
                step = min(max(self._ahead, wanted - got if length >= 0 else 0), self._source.size - self._at)
                if step <= 0:
                    break
                self._buffer = self._source.read_at(self._at, step)
                self._at += step
            take = self._buffer[: wanted - got]
            self._buffer = self._buffer[len(take) :]
            parts.append(take)
            got += len(take)
        return b"".join(parts)
