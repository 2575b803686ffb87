"""Adding a dataset: raw pictures or IDX files go into the object store under ``raw/NAME/``.

Everything that can be checked is checked before anything is written. The description
``dataset.json`` is removed before the first object changes and written after the last one, so an
interrupted add is noticed; repeating it uploads only what is missing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pydantic import Field

from ganlib.data.formats.decode import check_decodable
from ganlib.data.formats.idx import IdxFile, check_idx_set, is_packed, pack
from ganlib.data.layout import (
    DESCRIPTION,
    RawDataset,
    RawFormat,
    class_folders,
    datasets,
    format_of,
    raw_objects,
    raw_prefix,
)
from ganlib.data.raw.candidates import Candidate, Listing, kind_of, list_source, read_file
from ganlib.data.raw.known import KNOWN, FoundFiles, Places, check_contents, find_known
from ganlib.data.scratch import scratch_folder
from ganlib.data.threads import TRANSFER_THREADS, decode_threads, ordered_map
from ganlib.errors import ObjectMissing, UnknownName
from ganlib.names import check_dataset_name
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Record

__all__ = ["AddedDataset", "add_dataset", "datasets"]


class AddedDataset(Record):
    """Counts of the files that were found, and of the changes that were made."""

    name: str
    source: str
    """The source, for people."""
    format: RawFormat
    objects: int
    """Pictures, or the four IDX files, in the source."""
    bytes: int
    """Their size as stored."""
    uploaded: int
    """Objects that were not in the store already with this content."""
    removed: int = 0
    """Objects of earlier adds that were removed, since the source does not have them."""
    passed_over: dict[str, int] = Field(default_factory=dict)
    """Numbers of files in the source that were not added, by suffix."""
    classes: tuple[str, ...] = ()
    """Classes of all that the dataset holds now."""


def add_dataset(
    store: ObjectStore,
    name: str,
    source: str | None,
    *,
    open_store: Callable[[str], ObjectStore],
    scratch: Path,
    places: Places | None = None,
    replace: bool = False,
) -> AddedDataset:
    """Put a dataset's raw pictures into the object store.

    Adding again uploads what is new or changed. Pictures add up: those of an earlier add stay, unless
    ``replace`` is set. IDX files replace each other. Prepared versions always stay.

    Args:
        store: Where the dataset goes.
        name: As :func:`~ganlib.names.check_dataset_name` accepts it; under the name of a known dataset, only
            that dataset's own files are accepted.
        source: A folder of JPEG and PNG pictures (class = first folder, or none) or of four IDX
            files, the same as ``s3://bucket/prefix``, or ``None`` for a known dataset.
        open_store: Given an ``s3://`` source, the store of what lies below it; its keys begin after the
            prefix.
        scratch: Folder for downloads and for nothing else; what is put there is removed.
        places: Where known datasets are looked for.
        replace: Remove raw objects that are not in the source.

    Raises:
        ConfigError: The name or the source cannot be used.
        UnknownName: There is no source and no known dataset of this name.
        DataError: The source holds no picture, or one that cannot be opened.
        DigestMismatch: A known dataset's file is truncated or altered.
        SourceUnavailable: A known dataset was found nowhere.
    """
    check_dataset_name(name)
    with scratch_folder(scratch, f"add-{name}-") as work:
        if source is None:
            if name not in KNOWN:
                raise UnknownName(
                    "known dataset", name, KNOWN, "give the pictures of another one with --from"
                )
            return _add_idx(store, name, find_known(KNOWN[name], work, places), work, replace=replace)
        listing = list_source(source, open_store)
        if listing.idx or name in KNOWN:
            found = FoundFiles(listing.source, _bring(listing.idx, work))
            if name in KNOWN:
                check_contents(KNOWN[name], found)
            else:
                check_idx_set(found.files)
            passed_over = listing.passed_over + Counter(kind_of(one.relative) for one in listing.pictures)
            return _add_idx(store, name, found, work, passed_over, replace=replace)
        return _add_pictures(store, name, listing, replace=replace)


def _add_idx(
    store: ObjectStore,
    name: str,
    found: FoundFiles,
    work: Path,
    passed_over: Mapping[str, int] | None = None,
    *,
    replace: bool,
) -> AddedDataset:
    candidates = []
    for idx, (path, what) in found.files.items():
        packed = path
        if not is_packed(path):
            packed = work / f"packed-{idx}.gz"
            pack(path, packed)
        candidates.append(Candidate(f"{idx}.gz", what, packed.stat().st_size, partial(read_file, packed)))
    classes = KNOWN[name].classes if name in KNOWN else ()
    raw = RawDataset(format="idx", sources=(found.source,), classes=classes)
    return _store(store, name, raw, candidates, passed_over or {}, check=None, replace=replace)


def _add_pictures(store: ObjectStore, name: str, listing: Listing, *, replace: bool) -> AddedDataset:
    raw = RawDataset(format="pictures", sources=(listing.source,))
    return _store(
        store, name, raw, listing.pictures, listing.passed_over, check=check_decodable, replace=replace
    )


def _store(
    store: ObjectStore,
    name: str,
    raw: RawDataset,
    candidates: list[Candidate],
    passed_over: Mapping[str, int],
    *,
    check: Callable[[bytes, str], None] | None,
    replace: bool,
) -> AddedDataset:
    """Compare with the store, check everything, then upload the differences and describe the dataset."""
    (source,) = raw.sources
    present = raw_objects(store, name)
    given = {candidate.relative for candidate in candidates}
    everything = given if replace else present.keys() | given
    format_of(name, everything)
    stale = [info.key for relative, info in present.items() if relative not in everything]
    before = None if replace else _description(store, name)
    if raw.format == "pictures":
        earlier = () if before is None else before.sources
        raw = raw.model_copy(
            update={
                "classes": class_folders(sorted(everything)),
                "sources": tuple(dict.fromkeys((*earlier, *raw.sources))),
            }
        )

    def differs(candidate: Candidate) -> bool:
        data = candidate.read()
        if check is not None:
            check(data, candidate.what)
        return not _same(store, present.get(candidate.relative), data)

    # Threads beyond the processors wait for storage while others decode.
    threads = 2 * decode_threads()
    fresh = [
        candidate
        for candidate, new in zip(
            candidates, ordered_map(differs, candidates, threads=threads, name="ganlib-check"), strict=True
        )
        if new
    ]
    _write(store, name, raw, fresh, stale)
    return AddedDataset(
        name=name,
        source=source,
        format=raw.format,
        objects=len(candidates),
        bytes=sum(candidate.size for candidate in candidates),
        uploaded=len(fresh),
        removed=len(stale),
        passed_over=dict(passed_over),
        classes=raw.classes,
    )


def _write(store: ObjectStore, name: str, raw: RawDataset, fresh: list[Candidate], stale: list[str]) -> None:
    description, prefix = raw_prefix(name) + DESCRIPTION, raw_prefix(name)
    before = _description(store, name)
    if (fresh or stale) and before is not None:
        store.delete(description)

    def upload(candidate: Candidate) -> None:
        store.put(prefix + candidate.relative, candidate.read())

    for _ in ordered_map(upload, fresh, threads=TRANSFER_THREADS, name="ganlib-upload"):
        pass
    for _ in ordered_map(store.delete, stale, threads=TRANSFER_THREADS, name="ganlib-remove"):
        pass
    if fresh or stale or raw != before:
        store.put(description, raw.to_json().encode())


def _same(store: ObjectStore, info: ObjectInfo | None, data: bytes) -> bool:
    """Whether an object holds these bytes already."""
    if info is None or info.size != len(data):
        return False
    # For objects that were not put in parts S3 answers with their MD5, which saves fetching them.
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return info.etag.strip('"') == md5 or store.get(info.key) == data


def _description(store: ObjectStore, name: str) -> RawDataset | None:
    key = raw_prefix(name) + DESCRIPTION
    try:
        return RawDataset.from_json(store.get(key), source=key)
    except ObjectMissing:
        return None


def _bring(candidates: list[Candidate], work: Path) -> dict[str, IdxFile]:
    """IDX candidates as local files, by name without ``.gz``; the gzipped one of two is taken."""
    files: dict[str, IdxFile] = {}
    for candidate in sorted(candidates, key=lambda candidate: not candidate.relative.endswith(".gz")):
        idx = candidate.relative.removesuffix(".gz")
        if idx not in files:
            path = candidate.path
            if path is None:
                path = work / candidate.relative
                path.write_bytes(candidate.read())
            files[idx] = IdxFile(path, candidate.what)
    return files
