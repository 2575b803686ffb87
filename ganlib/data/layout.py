"""Object keys of a dataset, and the description of its raw objects.

::

    raw/NAME/…                              what was added, under its relative path
    raw/NAME/dataset.json                   written last: the dataset is whole when this exists
    datasets/NAME/DIGEST/shards/…           a prepared version
    datasets/NAME/DIGEST/manifest.json      written last: the version exists when this does
    datasets/NAME/prepared/KEY.json         the digest of the version made of these raw objects in this way
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from ganlib.data.formats.decode import is_picture
from ganlib.data.formats.idx import IDX_NAMES
from ganlib.data.raw.known import KNOWN
from ganlib.errors import ConfigError, DataError, ObjectMissing, UnknownName
from ganlib.names import MAX_CLASSES, ClassName
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Record

RawFormat = Literal["idx", "pictures"]

Classes = Annotated[tuple[ClassName, ...], Field(max_length=MAX_CLASSES)]
_CLASSES = TypeAdapter(Classes)

DESCRIPTION = "dataset.json"
"""Name of the object that describes a raw dataset."""


class RawDataset(Record):
    """A raw dataset, as its ``dataset.json`` describes it."""

    format: RawFormat
    sources: tuple[str, ...]
    """Sources of the raw objects, for people; several when pictures were added more than once."""
    classes: Classes = ()
    """Class names in the order of the labels, as far as they are known without the pictures: those of the
    known datasets, and the folders of pictures."""


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


def unknown_dataset(store: ObjectStore, name: str) -> UnknownName:
    """The error for a dataset that was never added."""
    given = name if name in KNOWN else "NAME --from FOLDER_OR_S3_PREFIX"
    return UnknownName("dataset", name, datasets(store), f"add it with `ganlib dataset add {given}`")


def raw_objects(store: ObjectStore, name: str) -> dict[str, ObjectInfo]:
    """The raw objects that are pictures or IDX files, by relative path, in the order of their keys."""
    prefix = raw_prefix(name)
    packed = {f"{idx}.gz" for idx in IDX_NAMES}
    listing = ((info.key[len(prefix) :], info) for info in store.list(prefix))
    return {relative: info for relative, info in listing if relative in packed or is_picture(relative)}


def format_of(name: str, relatives: Iterable[str]) -> RawFormat:
    """Whether raw objects are IDX files or pictures.

    Raises:
        ConfigError: They are both.
    """
    pictures = [is_picture(relative) for relative in relatives]
    if any(pictures) and not all(pictures):
        raise ConfigError(
            f"dataset {name!r} would hold both IDX files and pictures, which cannot be one dataset; "
            "add one of them under another name"
        )
    return "pictures" if any(pictures) else "idx"


def class_folders(relatives: Iterable[str]) -> tuple[str, ...]:
    """Class names of pictures, sorted: the first folder of each; none when no picture is in a folder.

    Raises:
        DataError: Some pictures are in folders and some are not, or a folder cannot be a class.
    """
    inside: dict[str, str] = {}
    outside: str | None = None
    for relative in relatives:
        first, slash, _ = relative.partition("/")
        if slash:
            inside.setdefault(first, relative)
        else:
            outside = outside or relative
    if inside and outside is not None:
        raise DataError(
            f"{next(iter(inside.values()))} is in a class folder, but {outside} is not: put every picture "
            "into a folder named for its class, or none"
        )
    try:
        return _CLASSES.validate_python(tuple(sorted(inside)))
    except ValidationError as error:
        reason = error.errors()[0]
        raise DataError(
            f"folders cannot be classes: {reason['input']!r:.80}: {reason['msg']}; at most {MAX_CLASSES:,} "
            "folders with names of 1 to 255 characters and no control characters are accepted"
        ) from error
