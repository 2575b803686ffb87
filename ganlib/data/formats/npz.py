"""Pictures in ``.npz`` files: zip archives of NumPy's arrays, with labels beside the pictures.

Members of an ``.npz`` that are read, in any case of letters, with the labels beside them:

- of each of train, val, valid, validation and test: ``x_train``, ``train_images``, ``train_x`` or
  ``images_train`` with ``y_train``, ``train_labels``, ``train_y`` or ``labels_train`` (Keras and MedMNIST
  name them so);
- ``images``, ``image``, ``x``, ``data`` (the first of them that is there) with ``labels``, ``label``, ``y``,
  ``targets`` (likewise);
- ``arr_0`` with ``arr_1``, as ``numpy.savez(path, x, y)`` writes them, when ``arr_1`` looks like labels;
- where none of these is there, the only member.

Labels are integers or strings, [n] or [n, 1]. A picture's name is its member's and its position, as in
``x_train-0000012``. What makes an array one of pictures is said in :mod:`.arrays`.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.arrays import pictures_entries, pictures_of
from ganlib.data.formats.entries import ByteRange, Entry, Refused, shown_name
from ganlib.data.formats.npy import BLOCK_BYTES, NpyArray, open_npy
from ganlib.data.formats.zips import MAX_RATIO, MemberStream, check_member, zip_directory
from ganlib.errors import DataError

MAX_LABEL_BYTES = 256 * 2**20
"""Largest array of labels; it is in memory while its pictures are read."""

_DEFLATE_RATIO = 1_100
"""Sorted labels shrink as far as deflate can shrink anything, which is to a 1,032nd."""
_ANY_SIZE = 2**62
"""The size is compared with the header; the values are read in blocks."""

SPLITS = ("train", "val", "valid", "validation", "test")
PICTURES, LABELS = ("images", "image", "x", "data"), ("labels", "label", "y", "targets")
NAMES: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    *(
        (
            (f"x_{split}", f"{split}_images", f"{split}_x", f"images_{split}"),
            (f"y_{split}", f"{split}_labels", f"{split}_y", f"labels_{split}"),
        )
        for split in SPLITS
    ),
    (PICTURES, LABELS),
    (("arr_0",), ("arr_1",)),
)
"""Names of members with pictures, and those of their labels; of each group the first that is there."""


def npz_entries(source: ByteRange, largest: int) -> Iterator[Entry | Refused]:
    """The pictures of an ``.npz`` file with their labels; each holds its block of some MiB in memory.

    Args:
        source: The file; its members are stored or deflated, and are read in blocks.
        largest: Most bytes of a picture, as stored.

    Raises:
        DataError: It is no zip archive; no member has a name that is known (see the module); a member is no
            array of pictures or of as many labels, is damaged, or unpacks to far more than it has.
    """
    members = _members(source)
    found = []
    for pictures, labels in _chosen(source, members):
        array = _open(source, members[pictures], MAX_RATIO)
        if labels == "arr_1" and not _like_labels(_open(source, members[labels], _DEFLATE_RATIO), array):
            labels = ""
        values = _labels(_open(source, members[labels], _DEFLATE_RATIO), array) if labels else None
        found.append(pictures_of(array, f"{pictures}-", values, largest))
    yield from pictures_entries(found)


def _members(source: ByteRange) -> dict[str, zipfile.ZipInfo]:
    """The arrays by their names in small letters, without ``.npy``."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in zip_directory(source):
        name = info.filename.lower()
        if not name.endswith(".npy"):
            continue
        if (name := name.removesuffix(".npy")) in members:
            raise DataError(
                f"{source.what} has two arrays named {shown_name(name)}; give each a name of its own"
            )
        members[name] = info
    return members


def _chosen(source: ByteRange, members: dict[str, zipfile.ZipInfo]) -> list[tuple[str, str]]:
    """Names of the members with pictures, each with that of its labels or an empty one."""
    chosen = []
    for pictures, labels in NAMES:
        if name := next((name for name in pictures if name in members), ""):
            chosen.append((name, next((name for name in labels if name in members), "")))
    if not chosen and len(members) == 1:
        chosen = [(next(iter(members)), "")]
    if not chosen:
        there = ", ".join(shown_name(name) for name in list(members)[:10]) or "no array"
        raise DataError(
            f"{source.what} holds {there}; pictures are looked for as images, x, x_train, train_images, … "
            "(numpy.savez(path, images=…, labels=…))"
        )
    return chosen


def _open(source: ByteRange, info: zipfile.ZipInfo, most_ratio: int) -> NpyArray:
    made = check_member(info, _ANY_SIZE, most_ratio)
    what = f"{source.what}: {shown_name(info.filename)}"
    if isinstance(made, Refused):
        raise DataError(f"{what} cannot be read ({made.reason}{': ' if made.detail else ''}{made.detail})")
    return open_npy(what, info.file_size, partial(MemberStream, source, info, BLOCK_BYTES))


def _like_labels(array: NpyArray, pictures: NpyArray) -> bool:
    count = pictures.shape[:1]
    return array.shape in (count, (*count, 1)) and array.dtype.kind in "biuSU"


def _labels(array: NpyArray, pictures: NpyArray) -> NDArray[Any]:
    """Labels as [n]."""
    if not _like_labels(array, pictures):
        raise DataError(
            f"{array.what} holds {array.dtype} {list(array.shape)}; a label for each of the "
            f"{pictures.shape[0]:,} pictures is expected, [n] or [n, 1], of integers or strings. Convert it, "
            "or leave it out for pictures without classes"
        )
    if array.shape[0] * array.item_bytes > MAX_LABEL_BYTES:
        raise DataError(
            f"{array.what} has {array.shape[0] * array.item_bytes:,} bytes of labels; at most "
            f"{MAX_LABEL_BYTES:,} are accepted. Save them as small integers"
        )
    values = np.concatenate([block.reshape(-1) for block in array.blocks()])
    if values.dtype.kind == "U" and values.dtype.itemsize:
        # NumPy makes strings of any numbers, on which Python raises SystemError. With a control character in
        # place of a number that is no character, a label is refused with its picture.
        values = values.astype(values.dtype.newbyteorder("="))
        numbers = values.view(np.uint32)
        numbers[numbers > sys.maxunicode] = 1
    return values
