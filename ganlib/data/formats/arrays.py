"""Pictures in NumPy's arrays, as ``.npy`` and ``.npz`` files hold them (see also :mod:`.npz`).

An array of pictures has the shape [n, height, width], [n, height, width, c] or [n, c, height, width], c 1 or
3; its values are uint8, or floats. Floats are scaled by one rule for all pictures of a file, by their least
and greatest value: within [0, 1] they are multiplied by 255; else within [−1, 1], where −1 is black; else
within [0, 255] they are taken as they are; then they are rounded. The range is found in a pass of its own
over all values, so floats are read twice.

A picture's name is its position, after the name of the member in an ``.npz``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganlib.data.formats.entries import (
    BadName,
    ByteRange,
    Entry,
    Refused,
    Stream,
    array_entry,
    check_label,
)
from ganlib.data.formats.idx import MAX_ITEMS, MAX_SIDE
from ganlib.data.formats.npy import BLOCK_BYTES, NpyArray, open_npy
from ganlib.errors import DataError

_TOLERANCE = 1e-4
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
"""Ranges of floats, and a part of their width by which values may lie outside and are clipped."""


class PictureArray(NamedTuple):
    """An array that has the shape and type of pictures."""

    array: NpyArray
    prefix: str
    """Begins the pictures' names."""
    first: bool
    """Whether the channels come before the height and width."""
    labels: NDArray[Any] | None


def npy_entries(source: ByteRange, largest: int) -> Iterator[Entry | Refused]:
    """The pictures of an ``.npy`` file, in order; each holds its block of some MiB in memory.

    Args:
        source: The file.
        largest: Most bytes of a picture, as stored.

    Raises:
        DataError: It is no array of pictures (see the module), is truncated, or its size is not that which
            its header announces.
    """
    array = open_npy(source.what, source.size, partial(Stream, source, BLOCK_BYTES))
    yield from pictures_entries([pictures_of(array, "", None, largest)])


def pictures_of(array: NpyArray, prefix: str, labels: NDArray[Any] | None, largest: int) -> PictureArray:
    """An array as pictures, by its header alone.

    Args:
        array: The array.
        prefix: Begins the pictures' names.
        labels: [n], or None.
        largest: Most bytes of a picture, as stored.

    Raises:
        DataError: Its type is no picture's, or its shape is no picture's or can be read in two ways; a side
            is above :data:`MAX_SIDE`; there are none or more than :data:`MAX_ITEMS`.
    """
    shape = array.shape
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise DataError(
            f"{array.what} has values of type {array.dtype}; pictures are uint8 from 0 to 255, or floats. "
            "Save x.astype('uint8')"
        )
    if len(shape) not in (3, 4):
        raise DataError(
            f"{array.what} has the shape {list(shape)}; pictures are [n, height, width] or [n, height, "
            "width, channels]. Save x.reshape(…)"
        )
    first = _channels_first(array.what, shape)
    height, width = shape[2:] if first else shape[1:3]
    if not 1 <= shape[0] <= MAX_ITEMS or max(height, width) > MAX_SIDE:
        raise DataError(
            f"{array.what} has the shape {list(shape)}; 1 to {MAX_ITEMS:,} pictures with sides of at most "
            f"{MAX_SIDE:,} are accepted"
        )
    if array.item_bytes > largest:
        raise DataError(
            f"{array.what} has pictures of {array.item_bytes:,} bytes; at most {largest:,} are accepted. "
            "Scale them down"
        )
    return PictureArray(array, prefix, first, labels)


def _channels_first(what: str, shape: tuple[int, ...]) -> bool:
    """Whether the channels come before the sides; refuses shapes that can be read in two ways."""
    if len(shape) == 3:
        if 3 in (shape[0], shape[2]) or shape[2] == 1:
            raise DataError(
                f"{what} has the shape {list(shape)}, one colour picture or {shape[0]} grey ones: which? "
                "Save x[None] for one picture, x[..., None] for grey ones"
            )
        return False
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first == last:
        raise DataError(
            f"{what} has the shape {list(shape)}; either its second or its last axis must be the channels, 1 "
            "or 3. Save it as [n, height, width, channels] without alpha and with larger sides"
        )
    return first


def pictures_entries(found: list[PictureArray]) -> Iterator[Entry | Refused]:
    """The pictures of the arrays of one file, scaled by one rule.

    Raises:
        DataError: An array ends early or is damaged, or its floats are in none of the ranges.
    """
    scale = _range(pictures.array for pictures in found)
    for pictures in found:
        at = 0
        for block in pictures.array.blocks():
            usable = np.isfinite(block).all(axis=tuple(range(1, block.ndim)))
            values = _as_bytes(block, scale)
            if values.ndim == 4:
                values = values.transpose(0, 2, 3, 1) if pictures.first else values
                values = values[..., 0] if values.shape[3] == 1 else values
            for picture, sound in zip(values, usable, strict=True):
                label = None if pictures.labels is None else pictures.labels[at]
                yield _entry(f"{pictures.prefix}{at:07d}", picture, label, bool(sound))
                at += 1


def _entry(name: str, picture: NDArray[np.uint8], label: Any, sound: bool) -> Entry | Refused:
    if not sound:
        return Refused(name=name, reason="unreadable", detail="it has values that are not finite")
    try:
        text = None if label is None else _label_text(label)
    except (BadName, UnicodeDecodeError) as error:
        return Refused(name=name, reason="no label", detail=str(error)[:400])
    return array_entry(name, picture, text)


def _label_text(label: Any) -> str:
    """A label of an array as text. Raises ``BadName``, and ``UnicodeDecodeError`` for bytes."""
    if isinstance(label, bytes):
        return check_label(label.decode())
    return check_label(label if isinstance(label, str) else str(int(label)))


def _range(arrays: Iterable[NpyArray]) -> tuple[float, float]:
    """The first of the ranges that all finite floats lie in; that of bytes where there are no floats."""
    low, high, what = np.inf, -np.inf, ""
    for array in arrays:
        if array.dtype.kind != "f":
            continue
        what = what or array.what
        for block in array.blocks():
            finite = np.isfinite(block)
            low = min(low, float(block.min(where=finite, initial=np.inf)))
            high = max(high, float(block.max(where=finite, initial=-np.inf)))
    if not what:
        return 0.0, 255.0
    for least, most in _RANGES:
        slack = _TOLERANCE * (most - least)
        if least - slack <= low <= high <= most + slack:
            return least, most
    raise DataError(
        f"{what} has values from {low:g} to {high:g}; floats in [0, 1], [−1, 1] or [0, 255] are accepted. "
        "Scale them, for example by (x - x.min()) / (x.max() - x.min())"
    )


def _as_bytes(block: NDArray[Any], scale: tuple[float, float]) -> NDArray[np.uint8]:
    if block.dtype == np.uint8:
        return block
    least, most = scale
    # Half floats have too few digits for the product.
    values: NDArray[np.floating] = block.astype(np.float64 if block.dtype.itemsize == 8 else np.float32)
    # Pictures with values that are not finite are refused by the caller.
    scaled = (np.nan_to_num(values, posinf=most, neginf=least) - least) * (255 / (most - least))
    whole: NDArray[np.uint8] = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return whole
