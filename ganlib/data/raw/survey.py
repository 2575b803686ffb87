"""The content of a source before anything is stored: its pictures, their classes and groups."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ganlib.data.formats.entries import Refused
from ganlib.data.labelling.dataset_labels import (
    MAX_TABLES,
    DatasetLabels,
    check_dataset_labels,
    label_dataset,
    takes,
)
from ganlib.data.labelling.labels import Labelling
from ganlib.data.labelling.statefarm import find_statefarm
from ganlib.data.raw.candidates import Candidate
from ganlib.data.raw.contents import PassedOver, RawPicture, container_contents
from ganlib.data.raw.source_tables import SourceTables, is_near_top
from ganlib.errors import DataError

_SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation"}


@dataclass
class Inside:
    """The content of a container."""

    paths: list[str] = field(default_factory=list)
    """Paths of its pictures (:attr:`RawPicture.path`)."""
    own: list[str | None] = field(default_factory=list)
    """The class that it gives each of them."""
    refused: list[Refused] = field(default_factory=list)
    """Pictures that are refused by their name or size."""
    passed_over: Counter[str] = field(default_factory=Counter)


def look_inside(container: Candidate, tables: SourceTables) -> Inside:
    """Read a container's directory or, where it has none, all of it; its pictures are not decoded.

    Args:
        container: The container.
        tables: Takes the tables near its top.

    Raises:
        DataError: It is damaged, or not what its name says.
    """
    inside = Inside()
    for found in container_contents(container.relative, container.content, ""):
        if isinstance(found, RawPicture):
            inside.paths.append(found.path)
            inside.own.append(found.entry.label)
        elif isinstance(found, Refused):
            inside.refused.append(found)
        elif isinstance(found, PassedOver):
            inside.passed_over[found.kind] += 1
        elif is_near_top(found.entry.name):
            source = f"{container.relative}/{found.entry.name}"
            tables.look(source, found.path, found.entry.size, found.entry.read)
        else:
            inside.passed_over[PurePosixPath(found.path).suffix.lower()] += 1
    return inside


@dataclass(frozen=True)
class Survey:
    """The classes and groups of a dataset's pictures."""

    labels: DatasetLabels
    tables: Mapping[str, bytes]
    """Content of the tables that are used, by their names among the raw objects."""
    labelling: Labelling
    left_out: int
    """State Farm's pictures without a class, if they were not asked for."""
    foreign: int
    """Pictures that belong to neither of State Farm's folders, if the dataset is its archive."""
    unused_tables: int
    """Tables without the columns that are needed."""

    @property
    def by_class(self) -> dict[str, int]:
        """Pictures by class, in the order of the labels; without classes under an empty name."""
        counts = Counter(each.label or "" for each in self.labelling.pictures)
        return {name: counts[name] for name in self.labelling.classes or ("",) if counts[name]}

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len({each.group for each in self.labelling.pictures if each.group is not None})


def survey(
    labels: DatasetLabels,
    paths: Sequence[str],
    own: Sequence[str | None],
    found: SourceTables,
    kept: Mapping[str, bytes],
) -> Survey:
    """Find the classes and groups of pictures.

    Args:
        labels: The rules that were asked for; tables and State Farm's layout are added to them.
        paths: Paths of all pictures.
        own: The classes that their containers give them.
        found: Tables of the source, which were looked at for these rules.
        kept: Tables of earlier adds, by their paths in those sources.

    Raises:
        ConfigError: The rules cannot be used.
        DataError: As :func:`label_dataset`; or the first folders are those of a split and not of classes.
    """
    tables = found.kept
    asked = labels.class_level is not None or bool(labels.group)
    layout = labels.statefarm or (
        None if asked else find_statefarm([*paths, *(each.path for each in tables)])
    )
    if layout is not None:
        theirs = [each for each in tables if each.path == layout.table][:1]
        mine = {each.source: each.data for each in theirs} or dict(kept)
        unused = found.looked_at - len(theirs)
    else:
        usable = {each.source: each.data for each in tables if each.usable}
        mine, unused = {**kept, **usable}, found.looked_at - len(usable)
    if len(mine) > MAX_TABLES:
        raise DataError(f"{len(mine)} tables give classes; at most {MAX_TABLES} can. Join them")
    names_of = {source: _name(data) for source, data in sorted(mine.items())}
    contents = {names_of[source]: data for source, data in mine.items()}
    labels = labels.model_copy(update={"tables": names_of, "statefarm": layout})
    check_dataset_labels(labels)
    taken = [at for at, path in enumerate(paths) if takes(labels, path)]
    names, classes = [paths[at] for at in taken], [own[at] for at in taken]
    labelling = label_dataset(labels, names, classes, contents.__getitem__)
    if (
        labels.class_level is None
        and labelling.classes
        and _SPLITS.issuperset(name.lower() for name in labelling.classes)
    ):
        raise DataError(
            f"the outermost folders are {', '.join(labelling.classes)}, which are no classes; classes in the "
            "folders below are taken with --class-level 2, and none with --class-level 0"
        )
    everything = labels.model_copy(update={"unlabelled": True})
    foreign = sum(not takes(everything, path) for path in paths)
    left_out = len(paths) - len(taken) - foreign
    return Survey(labels, contents, labelling, left_out, foreign, unused)


def _name(data: bytes) -> str:
    return f".labels/{hashlib.sha256(data).hexdigest()}.csv"
