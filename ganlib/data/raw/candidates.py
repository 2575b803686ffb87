"""Files to add, in a local folder or under an S3 prefix, before any is stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ganlib.data.formats.accepted import ACCEPTED, is_picture
from ganlib.data.formats.containers import SUFFIXES
from ganlib.data.formats.entries import (
    BadName,
    ByteRange,
    FileRange,
    ObjectRange,
    Refused,
    check_name,
    shown_name,
)
from ganlib.data.formats.idx import IDX_NAMES
from ganlib.data.raw.contents import is_container, is_table, kind_of
from ganlib.errors import ConfigError, DataError
from ganlib.ports import ObjectStore

REMEDY = (
    f"give a folder, s3://BUCKET/PREFIX, or one file, with {ACCEPTED}, archives or tables of them "
    f"({', '.join(SUFFIXES)}), or four IDX files"
)


@dataclass(frozen=True)
class Candidate:
    """One file or object that could become a raw object."""

    relative: str
    """Path below the folder or prefix, with slashes."""
    what: str
    """Its path or URI, for messages."""
    content: ByteRange

    @property
    def size(self) -> int:
        """Bytes, as listed."""
        return self.content.size

    @property
    def path(self) -> Path | None:
        """Its path, if it is a local file."""
        return self.content.path if isinstance(self.content, FileRange) else None

    def read(self) -> bytes:
        """Its content, in memory. Raises ``DataError``."""
        return self.content.read_at(0, self.size)


class Listing(NamedTuple):
    """The files under a source, by kind."""

    source: str
    """The source, for people."""
    pictures: list[Candidate]
    containers: list[Candidate]
    """Archives, arrays and tables that hold pictures."""
    tables: list[Candidate]
    """Tables that may give classes and groups."""
    idx: list[Candidate]
    """IDX files at the top, gzipped or plain."""
    refused: list[Refused]
    """Pictures and containers with names that must not become keys."""
    passed_over: Counter[str]
    """Numbers of files that are none of these, by suffix, or as ``left by file managers``, ``hidden`` or
    ``without suffix``."""


def list_source(source: str, open_store: Callable[[str], ObjectStore]) -> Listing:
    """List a source without reading what it holds.

    Args:
        source: A local folder or file, or ``s3://bucket/prefix``, where the prefix may be that of one object.
        open_store: Given an ``s3://`` address, the store of what lies below it; its keys begin after the
            prefix.

    Raises:
        ConfigError: It is neither, or empty.
        DataError: It holds nothing that can be added.
    """
    if not source.strip():
        raise ConfigError("--from is empty: give a local folder or file, or s3://BUCKET/PREFIX")
    if source.startswith("s3://"):
        name, candidates = source, _objects(source, open_store)
    elif "://" in source:
        raise ConfigError(f"{source} cannot be read: give a local folder or file, or s3://BUCKET/PREFIX")
    else:
        path = Path(source).expanduser()
        if not path.exists():
            raise ConfigError(f"{source} does not exist: {REMEDY}")
        if path.is_file() and not is_container(path.name):
            raise ConfigError(f"{source} is a file that holds no pictures: {REMEDY}")
        name, candidates = str(path.resolve()), _files(path) if path.is_dir() else _one_file(path)
    listing = Listing(name, [], [], [], [], [], Counter())
    packed = {f"{idx}.gz" for idx in IDX_NAMES}
    seen: set[str] = set()
    for found in candidates:
        candidate = _named(found, seen)
        if isinstance(candidate, Refused):
            if is_picture(found.relative) or is_container(found.relative):
                listing.refused.append(candidate)
            continue
        relative = candidate.relative
        if relative in packed or relative in IDX_NAMES:
            listing.idx.append(candidate)
        elif is_picture(relative):
            listing.pictures.append(candidate)
        elif is_container(relative):
            listing.containers.append(candidate)
        elif is_table(relative):
            listing.tables.append(candidate)
        else:
            listing.passed_over[kind_of(relative)] += 1
    if not listing.pictures and not listing.idx and not listing.containers:
        others = listing.passed_over.total() + len(listing.tables)
        raise DataError(f"{source} holds no picture ({others} other files): {REMEDY}")
    return listing


def _named(candidate: Candidate, seen: set[str]) -> Candidate | Refused:
    """The candidate under a name that can be a key, in Unicode's composed form, or why it has none."""
    shown = shown_name(candidate.relative)
    try:
        name = check_name(candidate.relative)
    except BadName as error:
        return Refused(name=shown, reason="bad name", detail=str(error))
    if name in seen:
        return Refused(name=shown, reason="duplicate name", detail="another name is the same text to people")
    seen.add(name)
    return replace(candidate, relative=name)


def _one_file(path: Path) -> Iterator[Candidate]:
    yield Candidate(path.name, str(path), FileRange.open(path))


def _files(folder: Path) -> Iterator[Candidate]:
    """Every file below a folder, in the order of the relative paths; linked folders are entered once."""
    found: list[tuple[str, Path]] = []
    entered: set[str] = set()

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error

    for where, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [((path := Path(where, name)).relative_to(folder).as_posix(), path) for name in files]
    for relative, path in sorted(found):
        try:
            relative.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"{path!r} has a name that is not UTF-8; rename it") from error
        yield Candidate(relative, str(path), FileRange.open(path))


def _objects(uri: str, open_store: Callable[[str], ObjectStore]) -> Iterator[Candidate]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise ConfigError(f"{uri} names no bucket: give s3://BUCKET/PREFIX")
    folder, _, last = prefix.rstrip("/").rpartition("/")
    if is_container(last):
        store = open_store(f"s3://{bucket}/{folder}")
        for info in store.list(last):
            if info.key == last:
                yield Candidate(last, uri, ObjectRange(store, info))
                return
    store = open_store(uri)
    for info in store.list(""):
        # Some tools mark folders with empty objects.
        if info.key and not info.key.endswith("/"):
            yield Candidate(info.key, f"{uri.rstrip('/')}/{info.key}", ObjectRange(store, info))
