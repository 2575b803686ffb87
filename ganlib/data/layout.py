"""Object keys of a dataset, and the description of its raw objects.

::

    raw/NAME/…                              what was added, under its relative path
    raw/NAME/.labels/SHA256.csv             tables of classes and groups
    raw/NAME/.labels/before.json            the description before, while raw objects change
    raw/NAME/dataset.json                   written last: the dataset is whole when this exists
    datasets/NAME/DIGEST/shards/…           a prepared version
    datasets/NAME/DIGEST/manifest.json      written last: the version exists when this does
    datasets/NAME/prepared/KEY.json         what became of these raw objects, and the digest of the version
    datasets/NAME/prepared/KEY.parquet      a row for each raw picture
    datasets/NAME/latest/WAY.json           which preparation with this size and fit was the last one
    datasets/NAME/preparing/KEY/…           pixels and rows while a preparation runs
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from ganlib.data.formats.accepted import is_picture
from ganlib.data.formats.idx import IDX_NAMES
from ganlib.data.labelling.dataset_labels import DatasetLabels
from ganlib.data.raw.contents import is_container
from ganlib.data.raw.known import KNOWN
from ganlib.data.tallies import MOST_CONTAINERS, MOST_KINDS
from ganlib.errors import ConfigError, DataError, ObjectMissing, UnknownName
from ganlib.names import MAX_CLASSES, UNKNOWN_LICENCE, ClassName, Count, Licence, check_dataset_name
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Record

RawFormat = Literal["idx", "pictures"]

Classes = Annotated[tuple[ClassName, ...], Field(max_length=MAX_CLASSES)]

DESCRIPTION = "dataset.json"
"""Name of the object that describes a raw dataset."""

LABELS = ".labels/"
"""Folder of the tables that give classes and groups; it is hidden, so no user's file can be there."""

BEFORE = ".labels/before.json"
"""Name of the description before, while raw objects change."""


class RawDataset(Record):
    """A raw dataset, as its ``dataset.json`` describes it."""

    format: RawFormat
    sources: tuple[str, ...]
    """Sources of the raw objects, for people; several when pictures were added more than once."""
    classes: Classes = ()
    """Class names in the order of the labels, as far as they are known without the pictures: those of the
    known datasets, and of pictures those that were found when they were added."""
    counts: dict[ClassName, Count] = Field(default_factory=dict, max_length=MAX_CLASSES)
    """Pictures by class when they were added, as far as no decoding is needed to know."""
    labels: DatasetLabels = DatasetLabels()
    """Where the classes and groups of pictures come from."""
    licence: Licence = UNKNOWN_LICENCE
    """Licence of the pictures, as whoever added them stated it."""
    containers: dict[str, Count] = Field(default_factory=dict, max_length=MOST_CONTAINERS)
    """How many pictures each archive, array or table of pictures holds, by relative path; of very many, those
    of the further ones together under :data:`~ganlib.data.tallies.REST_OF_CONTAINERS`."""
    passed_over: dict[str, Count] = Field(default_factory=dict, max_length=10 * MOST_KINDS)
    """Files of the last source that are no pictures, by what they are; of many kinds, the rarest together."""


def raw_prefix(name: str) -> str:
    """Key prefix of a dataset's raw objects, with its final slash."""
    return f"raw/{name}/"


def datasets(store: ObjectStore) -> list[str]:
    """Names of the datasets that were added, sorted; it lists every raw object."""
    ending = f"/{DESCRIPTION}"
    keys = (info.key for info in store.list("raw/"))
    return sorted({key.split("/")[1] for key in keys if key.count("/") == 2 and key.endswith(ending)})


def describe_raw(store: ObjectStore, name: str) -> RawDataset:
    """The description of a raw dataset.

    Raises:
        UnknownName: It was never added.
        DataError: It was added in part only, or its description cannot be read.
    """
    key = raw_prefix(name) + DESCRIPTION
    try:
        return RawDataset.from_json(store.get(key), source=key)
    except ObjectMissing:
        if next(iter(store.list(raw_prefix(name))), None) is None:
            raise unknown_dataset(store, name) from None
        raise DataError(
            f"{raw_prefix(name)} holds objects but no {DESCRIPTION}: adding it was interrupted. "
            f"Repeat `ganlib dataset add {name}` with the same --from; what is there already is kept"
        ) from None


def find_description(store: ObjectStore, name: str, which: str = DESCRIPTION) -> RawDataset | None:
    """The description of a raw dataset, or the one before; ``None`` where there is none."""
    key = raw_prefix(name) + which
    try:
        return RawDataset.from_json(store.get(key), source=key)
    except ObjectMissing:
        return None


def unknown_dataset(store: ObjectStore, name: str) -> UnknownName:
    """The error for a dataset that was never added; each command in it runs as it is printed."""
    try:
        check_dataset_name(name)
    except ConfigError:
        remedy = "`ganlib dataset list` lists all"
    else:
        remedy = f"add it with `ganlib dataset add {name}`"
        if name not in KNOWN:
            remedy += " and --from, the folder, archive or s3:// address of its pictures"
    return UnknownName("dataset", name, datasets(store), remedy)


def raw_objects(store: ObjectStore, name: str) -> dict[str, ObjectInfo]:
    """The raw objects that are or hold pictures, by relative path, in the order of their keys."""
    prefix = raw_prefix(name)
    packed = {f"{idx}.gz" for idx in IDX_NAMES}
    listing = sorted((info.key[len(prefix) :], info) for info in store.list(prefix))
    return {relative: info for relative, info in listing if relative in packed or holds_pictures(relative)}


def format_of(name: str, relatives: Iterable[str]) -> RawFormat:
    """Whether raw objects are IDX files or pictures.

    Raises:
        ConfigError: They are both.
    """
    pictures = [holds_pictures(relative) for relative in relatives]
    if any(pictures) and not all(pictures):
        raise ConfigError(
            f"dataset {name!r} would hold both IDX files and pictures, which cannot be one dataset; "
            "add one of them under another name"
        )
    return "pictures" if any(pictures) else "idx"


def holds_pictures(relative: str) -> bool:
    """Whether a relative path names a picture or a container of pictures."""
    return is_picture(relative) or is_container(relative)
