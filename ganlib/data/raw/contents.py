"""The pictures of a raw dataset: objects that are pictures, and those inside of objects that hold many.

A container is a zip or tar archive, an ``.npy`` or ``.npz`` file, or a Parquet table. It stays as it is in
the object store and is read there by parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from ganlib.data.formats.accepted import is_dropping, is_picture
from ganlib.data.formats.containers import SUFFIXES, open_container, split_of
from ganlib.data.formats.decode import MAX_FILE_BYTES
from ganlib.data.formats.entries import ByteRange, Entry, ObjectRange, Refused, shown_name
from ganlib.data.formats.idx import IDX_NAMES
from ganlib.data.labelling.label_table import MAX_TABLE_BYTES
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Split

TABLE_SUFFIXES = (".csv", ".tsv")
"""Ends of the names of tables that may give classes and groups."""

_IDX_REMEDY = (
    "an IDX file inside of an archive is not read: unpack it, and add the folder with its four files"
)

_WITHOUT_NAMES = (".npz", ".npy", ".parquet")
"""Containers whose pictures are no files: all of their entries are pictures."""
_ARCHIVES = tuple(suffix for suffix in SUFFIXES if suffix not in _WITHOUT_NAMES)
# Refusals that a file deserves only as a picture; any other file with such a fault is passed over.
_ONLY_PICTURES = frozenset({"empty", "too large", "unreadable", "encrypted", "bomb"})


class RawPicture(NamedTuple):
    """A picture before it is read."""

    name: str
    """Its name in the dataset: the relative path of its object, or the container's, a slash, and its own."""
    path: str
    """The path by which its class, its group and its row in a table are found: in a container its own name
    there, below the folder that the container lies in."""
    stamp: str
    """Changes when its content does."""
    entry: Entry
    split: Split | None = None
    """The side of the split that its source puts it on, if any."""


class PassedOver(NamedTuple):
    """A file that is no picture."""

    kind: str
    """Its suffix in lower case, or ``left by file managers``, ``hidden`` or ``without suffix``."""


class FoundTable(NamedTuple):
    """A table in an archive that may give classes and groups."""

    path: str
    """As :attr:`RawPicture.path`."""
    entry: Entry


Found = RawPicture | Refused | PassedOver | FoundTable


def is_container(relative: str) -> bool:
    """Whether a relative path names a container, by its suffix, and nothing on the way to it is hidden."""
    path = PurePosixPath(relative)
    hidden = any(part.startswith(".") for part in path.parts)
    return relative.lower().endswith(SUFFIXES) and not hidden and not is_dropping(relative)


def reads_at_random(relative: str) -> bool:
    """Whether the pictures of a container can be read in any order: those of a zip archive."""
    return relative.lower().endswith(".zip")


def kind_of(relative: str) -> str:
    """The suffix of a relative path in lower case, or what else tells why it is passed over."""
    if is_dropping(relative):
        return "left by file managers"
    path = PurePosixPath(relative)
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    return path.suffix.lower() or "without suffix"


def object_picture(store: ObjectStore, relative: str, info: ObjectInfo) -> RawPicture:
    """An object that is a picture."""
    read = partial(ObjectRange(store, info).read_at, 0, info.size)
    return RawPicture(relative, relative, f"{info.etag}-{info.size}", Entry(relative, info.size, read))


def container_contents(relative: str, source: ByteRange, stamp: str) -> Iterator[Found]:
    """Everything in a container, in its order.

    The pictures of an archive are its files with a picture's suffix; those of an array or a table are all.
    IDX files in an archive are refused.
    A picture of a tar, an array or a table can be read until the next one is asked for.

    Args:
        relative: The container's relative path.
        source: Its bytes.
        stamp: Changes when the container does.

    Raises:
        DataError: It is no container, or is damaged.
    """
    entries = open_container(relative, source, MAX_FILE_BYTES)
    archive = relative.lower().endswith(_ARCHIVES)
    for found in entries or ():
        name = f"{relative}/{found.name}"
        if archive and is_idx(found.name):
            yield Refused(name=shown_name(name), reason="nested archive", detail=_IDX_REMEDY)
            continue
        if isinstance(found, Refused):
            picture = not archive or is_picture(found.name) or found.reason not in _ONLY_PICTURES
            if picture and not is_dropping(found.name):
                yield found.model_copy(update={"name": shown_name(name)})
            else:
                yield PassedOver(kind_of(found.name))
            continue
        path = path_inside(relative, found.name)
        file = archive and found.pixels is None
        if not file or is_picture(found.name):
            split = None if file else split_of(found.name) or split_of(relative)
            yield RawPicture(name, path, found.member.stamp if found.member else stamp, found, split)
        elif is_table(found.name) and found.size <= MAX_TABLE_BYTES:
            yield FoundTable(path, found)
        else:
            yield PassedOver(kind_of(found.name))


def path_inside(relative: str, name: str) -> str:
    """The path of something in a container; see :attr:`RawPicture.path`."""
    folder = relative.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name


def is_idx(relative: str) -> bool:
    """Whether a relative path names one of the four files of an IDX dataset, plain or gzipped."""
    name = PurePosixPath(relative).name.lower().removesuffix(".gz")
    return name.replace(".idx", "-idx") in IDX_NAMES and not is_dropping(relative)


def is_table(relative: str) -> bool:
    """Whether a relative path names a table, and nothing on the way to it is hidden."""
    hidden = any(part.startswith(".") for part in PurePosixPath(relative).parts)
    return relative.lower().endswith(TABLE_SUFFIXES) and not hidden and not is_dropping(relative)
