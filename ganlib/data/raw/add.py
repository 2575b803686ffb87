"""Adding a dataset: pictures, containers of them, or IDX files go into the object store under ``raw/NAME/``.

Everything that can be checked without decoding a picture is checked before anything is written; pictures that
cannot be used are refused when the dataset is prepared. The description ``dataset.json`` is removed before
the first object changes and written after the last one, so an interrupted add is noticed; repeating it
uploads only what is missing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import Field

from ganlib.config.parts import MOST_REFUSED
from ganlib.data.formats.entries import ByteRange, FileRange, ObjectRange, Refused
from ganlib.data.formats.idx import IdxFile, check_idx_set, is_packed, pack
from ganlib.data.labelling.dataset_labels import AS_BEFORE, DatasetLabels, combined
from ganlib.data.layout import (
    BEFORE,
    DESCRIPTION,
    LABELS,
    RawDataset,
    RawFormat,
    datasets,
    find_description,
    format_of,
    raw_objects,
    raw_prefix,
)
from ganlib.data.licences import check_licence
from ganlib.data.raw.candidates import Candidate, Listing, list_source
from ganlib.data.raw.contents import is_container, kind_of, reads_at_random
from ganlib.data.raw.known import KNOWN, FoundFiles, Places, check_contents, find_known
from ganlib.data.raw.source_tables import SourceTables
from ganlib.data.raw.survey import Inside, Survey, look_inside, survey
from ganlib.data.scratch import scratch_folder
from ganlib.data.tallies import bounded_containers, bounded_kinds
from ganlib.data.threads import TRANSFER_THREADS, decode_threads, ordered_map
from ganlib.errors import ConfigError, DataError, UnknownName
from ganlib.names import UNKNOWN_LICENCE, check_dataset_name
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Record

__all__ = ["AddedDataset", "add_dataset", "datasets"]

MOST_NAMED = 5
"""Tables that were not looked at, and are named."""

FOREIGN = "pictures outside of imgs/train and imgs/test"
"""Pictures beside State Farm's that belong to neither of its folders."""

_PART_BYTES = 8 * 2**20


class AddedDataset(Record):
    """Counts of the files that were found, and of the changes that were made."""

    name: str
    source: str
    """The source, for people."""
    format: RawFormat
    objects: int
    """Pictures and containers, or the four IDX files, in the source."""
    bytes: int
    """Their size as stored."""
    uploaded: int
    """Objects that were not in the store already with this content."""
    removed: int = 0
    """Objects of earlier adds that were removed, since the source does not have them."""
    passed_over: dict[str, int] = Field(default_factory=dict)
    """Numbers of files in the source that are no pictures, by suffix."""
    by_suffix: dict[str, int] = Field(default_factory=dict)
    """Numbers of pictures in the source, by suffix."""
    by_class: dict[str, int] = Field(default_factory=dict)
    """Numbers of pictures that the dataset holds now, by class; without classes under an empty name."""
    classes: tuple[str, ...] = ()
    """Classes of all that the dataset holds now."""
    groups: int = 0
    """Groups of pictures, whole ones of which are held out."""
    left_out: int = 0
    """Pictures without a class that ``--unlabelled`` would take."""
    refused: tuple[Refused, ...] = ()
    """Pictures that have no class or group although others have, or that their container cannot give."""
    rows_without_picture: int = 0
    """Rows of the tables that no picture was found for."""
    unused_tables: int = 0
    """Tables that have not the columns of one that gives classes."""
    tables_not_looked_at: int = 0
    """Tables beyond what is read of them (:mod:`ganlib.data.raw.source_tables`)."""
    first_tables_not_looked_at: tuple[str, ...] = ()
    """Paths of the first of those."""


def add_dataset(
    store: ObjectStore,
    name: str,
    source: str | None,
    *,
    open_store: Callable[[str], ObjectStore],
    scratch: Path,
    labels: DatasetLabels = AS_BEFORE,
    places: Places | None = None,
    replace: bool = False,
    licence: str | None = None,
) -> AddedDataset:
    """Put a dataset's raw pictures into the object store.

    Adding again uploads what is new or changed. Pictures add up: those of an earlier add stay, unless
    ``replace`` is set. IDX files replace each other. Prepared versions always stay.

    Args:
        store: Where the dataset goes.
        name: As :func:`~ganlib.names.check_dataset_name` accepts it; under the name of a known dataset, only
            that dataset's own files are accepted.
        source: A folder, an ``s3://bucket/prefix`` or one file: pictures, archives, arrays and tables of
            pictures, or four IDX files; ``None`` for a known dataset.
        open_store: Given an ``s3://`` source, the store of what lies below it; its keys begin after the
            prefix.
        scratch: Folder for downloads and for nothing else; what is put there is removed.
        labels: Where classes and groups come from; defaults: as in an earlier add, or else by the folders,
            the tables, or the format itself.
        places: Where known datasets are looked for.
        replace: Remove raw objects that are not in the source, and forget the rules and the licence of
            earlier adds.
        licence: Licence of the pictures, as :func:`ganlib.data.licences.check_licence` accepts it; ``None``:
            as in an earlier add, or else unknown.

    Raises:
        ConfigError: The name, the source, the licence or the labels cannot be used, or the labels would not
            be heeded.
        UnknownName: There is no source and no known dataset of this name.
        DataError: The source holds no picture, a damaged container, or too many pictures without a class.
        DigestMismatch: A known dataset's file is truncated or altered.
        SourceUnavailable: A known dataset was found nowhere.
    """
    check_dataset_name(name)
    if licence is not None:
        check_licence(licence)
    if name in KNOWN:
        _refuse_rules(labels, licence, f"the files of {name} have their own classes, split and licence")
    with scratch_folder(scratch, f"add-{name}-") as work:
        if source is None:
            if name not in KNOWN:
                raise UnknownName(
                    "known dataset", name, KNOWN, "give the pictures of another one with --from"
                )
            return _add_idx(
                store, name, find_known(KNOWN[name], work, places), work, {}, None, replace=replace
            )
        listing = list_source(source, open_store)
        if listing.idx or name in KNOWN:
            _refuse_rules(labels, None, "IDX files have their own classes and split")
            found = FoundFiles(listing.source, _bring(listing.idx, work))
            if name in KNOWN:
                check_contents(KNOWN[name], found)
            else:
                check_idx_set(found.files)
            others = (*listing.pictures, *listing.containers, *listing.tables)
            passed_over = listing.passed_over + Counter(kind_of(one.relative) for one in others)
            return _add_idx(store, name, found, work, passed_over, licence, replace=replace)
        return _add_pictures(store, name, listing, labels, licence, replace=replace)


def _refuse_rules(labels: DatasetLabels, licence: str | None, why: str) -> None:
    """Refuse rules that would not be heeded. Raises ``ConfigError``."""
    given = {
        "--class-level": labels.class_level is not None,
        "--group": bool(labels.group),
        "--unlabelled": labels.unlabelled,
        "--licence": licence is not None,
    }
    refused = " and ".join(option for option, is_given in given.items() if is_given)
    if refused:
        raise ConfigError(f"{refused} cannot be used here: {why}; leave it out. Nothing was added")


def _add_idx(
    store: ObjectStore,
    name: str,
    found: FoundFiles,
    work: Path,
    passed_over: Mapping[str, int],
    licence: str | None,
    *,
    replace: bool,
) -> AddedDataset:
    candidates = []
    for idx, (path, what) in found.files.items():
        packed = path
        if not is_packed(path):
            packed = work / f"packed-{idx}.gz"
            pack(path, packed)
        candidates.append(Candidate(f"{idx}.gz", what, FileRange.open(packed)))
    change = _compare(store, name, candidates, {}, replace=replace)
    classes = KNOWN[name].classes if name in KNOWN else ()
    before = None if replace or name in KNOWN else find_description(store, name)
    raw = RawDataset(
        format="idx",
        sources=(found.source,),
        classes=classes,
        licence=licence or (before.licence if before else UNKNOWN_LICENCE),
    )
    _write(store, name, raw, change)
    return AddedDataset(
        name=name,
        source=found.source,
        format="idx",
        objects=len(candidates),
        bytes=sum(candidate.size for candidate in candidates),
        uploaded=len(change.fresh),
        removed=len(change.stale),
        passed_over=bounded_kinds(passed_over),
        classes=raw.classes,
    )


def _add_pictures(
    store: ObjectStore,
    name: str,
    listing: Listing,
    labels: DatasetLabels,
    licence: str | None,
    *,
    replace: bool,
) -> AddedDataset:
    before = None if replace else find_description(store, name) or find_description(store, name, BEFORE)
    earlier = before or RawDataset(format="pictures", sources=())
    present = raw_objects(store, name)
    given = {candidate.relative for candidate in (*listing.pictures, *listing.containers)}
    format_of(name, given if replace else present.keys() | given)
    rules = combined(earlier.labels, labels)
    tables = SourceTables(rules.group)
    tables.look_at_files(listing.tables)
    inside = {one.relative: look_inside(one, tables) for one in listing.containers}
    others = {} if replace else {key: info for key, info in present.items() if key not in given}
    everything = inside | _look_inside_earlier(store, others, tables)
    found = _survey(store, name, listing, rules, everything, others, tables)
    if labels.unlabelled and found.labels.statefarm is None:
        _refuse_rules(DatasetLabels(unlabelled=True), None, "the source is not State Farm's archive")
    refused = (*listing.refused, *(each for one in inside.values() for each in one.refused))
    _check_refused((*refused, *found.labelling.refused), len(refused) + len(found.labelling.outcomes))
    change = _compare(store, name, [*listing.pictures, *listing.containers], found.tables, replace=replace)
    raw = RawDataset(
        format="pictures",
        sources=tuple(dict.fromkeys((*earlier.sources, listing.source))),
        classes=found.labelling.classes,
        counts={name: count for name, count in found.by_class.items() if name},
        labels=found.labels,
        licence=licence or earlier.licence,
        containers=bounded_containers(
            {relative: len(each.paths) for relative, each in everything.items()}, reads_at_random
        ),
        passed_over=bounded_kinds(
            sum((each.passed_over for each in inside.values()), listing.passed_over + tables.passed_over)
            + Counter({FOREIGN: found.foreign} if found.foreign else {})
        ),
    )
    _write(store, name, raw, change)
    names = [one.relative for one in listing.pictures]
    names += [path for each in inside.values() for path in each.paths]
    return AddedDataset(
        name=name,
        source=listing.source,
        format="pictures",
        objects=len(given),
        bytes=sum(one.size for one in (*listing.pictures, *listing.containers)),
        uploaded=len(change.fresh),
        removed=len(change.stale),
        passed_over=raw.passed_over,
        by_suffix=dict(Counter(PurePosixPath(path).suffix.lower() or "without suffix" for path in names)),
        by_class=found.by_class,
        classes=raw.classes,
        groups=found.groups,
        left_out=found.left_out,
        refused=(*refused, *found.labelling.refused),
        rows_without_picture=found.labelling.rows_without_picture,
        unused_tables=found.unused_tables,
        tables_not_looked_at=len(tables.not_looked_at),
        first_tables_not_looked_at=tuple(tables.not_looked_at[:MOST_NAMED]),
    )


def _survey(
    store: ObjectStore,
    name: str,
    listing: Listing,
    labels: DatasetLabels,
    everything: Mapping[str, Inside],
    others: Mapping[str, ObjectInfo],
    tables: SourceTables,
) -> Survey:
    """The classes and groups of all pictures of the dataset, those of earlier adds included."""
    prefix = raw_prefix(name)
    loose = [one.relative for one in listing.pictures]
    loose += [relative for relative in others if not is_container(relative)]
    paths: list[str] = sorted(loose)
    own: list[str | None] = [None] * len(paths)
    for each in everything.values():
        paths += each.paths
        own += each.own
    kept = {source: store.get(prefix + table) for source, table in labels.tables.items()}
    return survey(labels, paths, own, tables, kept)


def _look_inside_earlier(
    store: ObjectStore, others: Mapping[str, ObjectInfo], tables: SourceTables
) -> dict[str, Inside]:
    """The content of containers of earlier adds."""
    return {
        relative: look_inside(Candidate(relative, info.key, ObjectRange(store, info)), tables)
        for relative, info in others.items()
        if is_container(relative)
    }


def _check_refused(refused: Sequence[Refused], pictures: int) -> None:
    """Refuse a source of which more pictures cannot be used than may be refused; none is decoded yet."""
    if len(refused) > MOST_REFUSED * pictures:
        counts = Counter(each.reason for each in refused)
        by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
        first = refused[0]
        raise DataError(
            f"{len(refused):,} of {pictures:,} pictures cannot be used ({by_reason}), as {first.name}: "
            f"{first.detail or first.reason}; at most {100 * MOST_REFUSED:g} % may be, and nothing was "
            "added. Choose the folder that names the class with --class-level (0: no classes), mend the "
            "table or the names, or, if an earlier add was wrong, take it back with --replace"
        )


@dataclass(frozen=True)
class _Change:
    """The difference between a source and the store."""

    fresh: Sequence[Candidate]
    """Files that are new or changed."""
    tables: Mapping[str, bytes]
    """Tables that are new, by their names among the raw objects."""
    stale: Sequence[str]
    """Keys of what goes."""


def _compare(
    store: ObjectStore,
    name: str,
    candidates: Sequence[Candidate],
    tables: Mapping[str, bytes],
    *,
    replace: bool,
) -> _Change:
    prefix = raw_prefix(name)
    present = {info.key[len(prefix) :]: info for info in store.list(prefix)}
    given = {candidate.relative for candidate in candidates}
    stale = [
        info.key
        for relative, info in present.items()
        if (replace or relative.startswith(LABELS)) and relative not in {*given, *tables, DESCRIPTION, BEFORE}
    ]
    if not replace:
        format_of(name, {*raw_objects(store, name), *given})

    def differs(candidate: Candidate) -> bool:
        return not _same(store, present.get(candidate.relative), candidate)

    # Threads beyond the processors wait for storage while others compute digests.
    threads = 2 * decode_threads()
    different = ordered_map(differs, candidates, threads=threads, name="ganlib-compare")
    fresh = [one for one, new in zip(candidates, different, strict=True) if new]
    return _Change(fresh, {table: data for table, data in tables.items() if table not in present}, stale)


def _write(store: ObjectStore, name: str, raw: RawDataset, change: _Change) -> None:
    prefix = raw_prefix(name)
    try:
        before = find_description(store, name)
    except DataError:
        # Whoever adds to it has read it before. Replaced, it need not be readable.
        before = None
    changes = bool(change.fresh or change.tables or change.stale)
    if changes:
        if before is not None:
            # Its rules are needed when this is interrupted and repeated.
            store.put(prefix + BEFORE, before.to_json().encode())
        store.delete(prefix + DESCRIPTION)

    def upload(candidate: Candidate) -> None:
        content, key = candidate.content, prefix + candidate.relative
        if isinstance(content, ObjectRange):
            store.copy(key, content.store, content.info)
        else:
            store.put(key, candidate.path or candidate.read())

    for _ in ordered_map(upload, change.fresh, threads=TRANSFER_THREADS, name="ganlib-upload"):
        pass
    for table, data in change.tables.items():
        store.put(prefix + table, data)
    for _ in ordered_map(store.delete, change.stale, threads=TRANSFER_THREADS, name="ganlib-remove"):
        pass
    if changes or raw != before:
        store.put(prefix + DESCRIPTION, raw.to_json().encode())
    if changes:
        store.delete(prefix + BEFORE)


def _same(store: ObjectStore, info: ObjectInfo | None, candidate: Candidate) -> bool:
    """Whether an object holds these bytes already."""
    content = candidate.content
    if info is None or info.size != content.size:
        return False
    if isinstance(content, ObjectRange) and content.info.etag == info.etag:
        return True
    # For objects that were not put in parts S3 answers with their MD5, which saves fetching them.
    md5 = hashlib.md5(usedforsecurity=False)
    for part in _parts(content):
        md5.update(part)
    if info.etag.strip('"') == md5.hexdigest():
        return True
    stored = _parts(ObjectRange(store, info))
    return all(ours == theirs for ours, theirs in zip(_parts(content), stored, strict=True))


def _parts(content: ByteRange) -> Iterator[bytes]:
    for start in range(0, content.size, _PART_BYTES):
        yield content.read_at(start, min(_PART_BYTES, content.size - start))


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
