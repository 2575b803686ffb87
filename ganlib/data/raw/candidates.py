"""Pictures and IDX files to add, in a local folder or under an S3 prefix, before any is stored."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ganlib.data.formats.decode import ACCEPTED, check_size, is_dropping, is_picture
from ganlib.data.formats.idx import IDX_NAMES
from ganlib.errors import ConfigError, DataError
from ganlib.ports import ObjectStore


@dataclass(frozen=True)
class Candidate:
    """One file or object that could become a raw object."""

    relative: str
    """Path below the folder or prefix, with slashes."""
    what: str
    """Its path or URI, for messages."""
    size: int
    """Bytes, as listed."""
    read: Callable[[], bytes]
    """Its content. Raises ``DataError``."""
    path: Path | None = None
    """Its path, if it is a local file."""


class Listing(NamedTuple):
    """The files under a source, by kind."""

    source: str
    """The source, for people."""
    pictures: list[Candidate]
    idx: list[Candidate]
    """IDX files at the top, gzipped or plain."""
    passed_over: Counter[str]
    """Numbers of files that are neither, by suffix, or as ``left by file managers``, ``hidden`` or
    ``without suffix``."""


def list_source(source: str, open_store: Callable[[str], ObjectStore]) -> Listing:
    """List a source without reading what it holds.

    Args:
        source: A local folder, or ``s3://bucket/prefix``.
        open_store: Given the ``s3://`` address, the store of what lies below it; its keys begin after the
            prefix.

    Raises:
        ConfigError: It is neither, or empty.
        DataError: It holds nothing that can be added.
    """
    if not source.strip():
        raise ConfigError("--from is empty: give a local folder or s3://BUCKET/PREFIX")
    if source.startswith("s3://"):
        name, candidates = source, _objects(source, open_store)
    elif "://" in source:
        raise ConfigError(f"{source} cannot be read: give a local folder or s3://BUCKET/PREFIX")
    else:
        folder = Path(source).expanduser()
        if not folder.is_dir():
            reason = "is not a folder" if folder.exists() else "does not exist"
            raise ConfigError(
                f"{source} {reason}: give a folder with {ACCEPTED} or IDX files, or s3://BUCKET/PREFIX"
            )
        name, candidates = str(folder.resolve()), _files(folder)
    listing = Listing(name, [], [], Counter())
    packed = {f"{idx}.gz" for idx in IDX_NAMES}
    for candidate in candidates:
        if candidate.relative in packed or candidate.relative in IDX_NAMES:
            listing.idx.append(candidate)
        elif is_picture(candidate.relative):
            check_size(candidate.size, candidate.what)
            listing.pictures.append(candidate)
        else:
            listing.passed_over[kind_of(candidate.relative)] += 1
    if not listing.pictures and not listing.idx:
        raise DataError(
            f"{source} holds no picture ({listing.passed_over.total()} other files). Accepted: {ACCEPTED}, "
            "or four IDX files"
        )
    return listing


def kind_of(relative: str) -> str:
    """The suffix of a relative path in lower case, or what else tells why it is passed over."""
    if is_dropping(relative):
        return "left by file managers"
    path = PurePosixPath(relative)
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    return path.suffix.lower() or "without suffix"


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
            size = path.stat().st_size
        except UnicodeEncodeError as error:
            raise DataError(f"{path!r} has a name that is not UTF-8; rename it") from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        yield Candidate(relative, str(path), size, partial(read_file, path), path)


def _objects(uri: str, open_store: Callable[[str], ObjectStore]) -> Iterator[Candidate]:
    if not uri.removeprefix("s3://").partition("/")[0]:
        raise ConfigError(f"{uri} names no bucket: give s3://BUCKET/PREFIX")
    store = open_store(uri)
    for info in store.list(""):
        # Some tools mark folders with empty objects.
        if info.key and not info.key.endswith("/"):
            what = f"{uri.rstrip('/')}/{info.key}"
            yield Candidate(info.key, what, info.size, partial(store.get, info.key))


def read_file(path: Path) -> bytes:
    """A local file's bytes. Raises ``DataError`` where the system refuses."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
