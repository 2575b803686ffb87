"""Fetched generators on this machine's disk, by version; verified each time they are used.

::

    REGISTRY/MODEL/aliases.json         where aliases pointed when they were last asked for
    REGISTRY/MODEL/VERSION/entry.json   the version as the registry described it
    REGISTRY/MODEL/VERSION/content/     its files

A version is written beside and renamed, so one that is there is whole.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from ganlib.data.scratch import locked
from ganlib.errors import DataError, RegistryError
from ganlib.records import Record, RegisteredGenerator
from ganlib.registry.checksums import DIGEST_TAG, listing_digest, verify_listing


class CachedVersion(Record):
    """Description of a cached version, kept beside its files."""

    generator: RegisteredGenerator
    listing: str
    """Digest of its ``files.json`` when it was fetched."""


class Aliases(Record):
    """Versions by alias, as the registry last gave them."""

    versions: dict[str, int] = Field(default_factory=dict)


class GeneratorCache:
    """Fetched versions below one folder, for any number of processes.

    Args:
        folder: Of one registry; made when something is stored.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def remember(self, generator: RegisteredGenerator) -> None:
        """Remember where the alias by which the version was resolved points."""
        if not generator.alias:
            return
        model = self._model(generator.model)
        with self._writing():
            model.mkdir(parents=True, exist_ok=True)
            with locked(model / "lock"):
                versions = {**self._aliases(model).versions, generator.alias: generator.version}
                _write(model / "aliases.json", Aliases(versions=versions))

    def remembered(self, model: str, alias_or_version: str) -> RegisteredGenerator | None:
        """Return the version as it was last known, if the cache has a sound copy of it."""
        alias = "" if alias_or_version.isdecimal() else alias_or_version
        version = self._aliases(self._model(model)).versions.get(alias) if alias else int(alias_or_version)
        if version is None:
            return None
        entry = self._entry(self._model(model) / str(version))
        return None if entry is None else entry.generator.model_copy(update={"alias": alias})

    def content(self, generator: RegisteredGenerator, download: Callable[[Path], None] | None) -> Path | None:
        """The folder with a version's files.

        Args:
            generator: The version, as the registry describes it now.
            download: Brings its files into an empty folder; called when there is no sound copy. With
                ``None`` the copy that is here has to do.

        Returns:
            ``None`` when there is no sound copy and no way to one.

        Raises:
            DataError: The cache cannot be written.
        """
        where = self._model(generator.model) / str(generator.version)
        known = self._entry(where)
        if known is not None and (download is None or _same(known.generator, generator)):
            return where / "content"
        if download is None:
            return None
        with self._writing():
            where.parent.mkdir(parents=True, exist_ok=True)
            with locked(where.parent / "lock"):
                known = self._entry(where)  # another process may have fetched it meanwhile
                if known is None or not _same(known.generator, generator):
                    self._fetch(where, generator, download)
        return where / "content"

    def _fetch(self, where: Path, generator: RegisteredGenerator, download: Callable[[Path], None]) -> None:
        beside = where.with_name(f".{where.name}.part")
        for leftover in (beside, where):
            shutil.rmtree(leftover, ignore_errors=True)
        (beside / "content").mkdir(parents=True)
        try:
            download(beside / "content")
            described = generator.model_copy(update={"alias": "", "aliases": ()})
            entry = CachedVersion(generator=described, listing=listing_digest(beside / "content"))
            _write(beside / "entry.json", entry)
            beside.rename(where)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _entry(self, where: Path) -> CachedVersion | None:
        try:
            entry = CachedVersion.from_json((where / "entry.json").read_bytes(), source=str(where))
            verify_listing(where / "content", entry.listing, str(where))
        except (OSError, DataError, RegistryError):
            # Missing, damaged, or written by another version of ganlib: fetch it again if possible.
            return None
        return entry

    def _aliases(self, model: Path) -> Aliases:
        try:
            return Aliases.from_json((model / "aliases.json").read_bytes())
        except (OSError, DataError):
            return Aliases()

    def _model(self, name: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:60]
        return self._folder / f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"

    def _writing(self) -> _Writing:
        return _Writing(self._folder)


class _Writing:
    """Turns an ``OSError`` in its body into a ``DataError``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise DataError(
                f"the cache {self._folder} cannot be used: {error.strerror or error}. "
                "Make room there, or set GANLIB_HOME to another folder"
            ) from error


def _same(cached: RegisteredGenerator, now: RegisteredGenerator) -> bool:
    """Whether the copy is this version, and not a deleted one that had the same number."""
    return (cached.created, cached.tags.get(DIGEST_TAG)) == (now.created, now.tags.get(DIGEST_TAG))


def _write(path: Path, record: Record) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(record.to_json())
    beside.replace(path)
