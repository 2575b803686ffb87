"""Near duplicates across the split: held-out pictures that look like one that is trained on.

Frames of one video, a picture saved twice with other quality, a slight crop: their pixels differ, and so
do their digests, but the lowest frequencies hardly. A picture is hashed to 63 bits by these (pHash), and
two pictures are near duplicates if few bits differ.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 4
"""Pictures with hashes that differ in at most this many of 63 bits are near duplicates."""

_SIDE = 8
_BITS = 64
_MEDIAN = (_SIDE * _SIDE - 1) // 2
_PAIRS_AT_ONCE = 2**21
# From this many hashes of one band on, it is faster to compare them in place, for each wanted hash anew.
_LARGE_BAND = 512
# Coefficients are in grey levels times this; smaller differences are rounding, which must not decide a bit.
_STEPS_PER_LEVEL = 4


def perceptual_hashes(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash pictures by their lowest frequencies.

    The bits say which of the 63 lowest coefficients of the grey picture's cosine transform, without its mean,
    lie above their median; brightness and contrast do not matter.

    Args:
        images: uint8 [n, channels, height, width] with 1 or 3 channels, prepared pictures of one size of at
            least 8×8.

    Returns:
        uint64 [n]; the highest bit is always 0.
    """
    count, channels, height, width = images.shape
    weights = (0.299, 0.587, 0.114) if channels == 3 else (1.0,)
    bits = np.empty((count, _SIDE * _SIDE - 1), bool)
    at_once = max(1, 2**22 // (channels * height * width))
    for start in range(0, count, at_once):
        some = images[start : start + at_once]
        grey = sum(
            (np.multiply(some[:, channel], np.float32(weight)) for channel, weight in enumerate(weights)),
            start=np.float32(0),
        )
        transformed = _cosines(height) @ (grey @ _cosines(width).T)
        values = np.rint(transformed.reshape(-1, _SIDE * _SIDE)[:, 1:] * _STEPS_PER_LEVEL)
        median = np.partition(values, _MEDIAN, axis=1)[:, _MEDIAN, None]
        bits[start : start + at_once] = values > median
    powers = np.uint64(1) << np.arange(_SIDE * _SIDE - 1, dtype=np.uint64)
    hashes: NDArray[np.uint64] = bits @ powers
    return hashes


@lru_cache(maxsize=16)
def _cosines(length: int) -> NDArray[np.float32]:
    """The lowest cosines over a side: float32 [8, length]; products with them are means, in grey levels."""
    positions = (np.arange(length) + 0.5) * np.pi / length
    return (np.cos(np.arange(_SIDE)[:, None] * positions) / length).astype(np.float32)


def near_copies(
    held_out: NDArray[np.uint64], train: NDArray[np.uint64], distance: int = NEAR_BITS
) -> NDArray[np.bool_]:
    """Find the held-out pictures that have a near duplicate among the training pictures.

    The bits are cut into ``distance + 1`` bands: hashes that differ in at most ``distance`` bits are equal in
    at least one of these, so only pictures that share a band are compared. The answer is exact. Equal hashes
    are compared once, and a picture that has its near duplicate is not compared again, so that even a dataset
    of which all pictures share a band takes seconds for 100,000 pictures.

    Args:
        held_out: Hashes, uint64 [m].
        train: Hashes, uint64 [n].
        distance: Most bits that differ, 0 to 15.

    Returns:
        bool [m].
    """
    if not 0 <= distance <= 15:
        raise ValueError(f"distance is {distance}, but must be from 0 to 15")
    wanted, back = np.unique(held_out, return_inverse=True)
    known = np.unique(train)
    found = np.isin(wanted, known)
    if len(known) and distance:
        for low, high in zip(*_bands(distance + 1), strict=True):
            mask = np.uint64((1 << (high - low)) - 1)
            searched = np.flatnonzero(~found)
            found[searched] = _near_in_band(wanted[searched], known, np.uint64(low), mask, distance)
    return found[back.reshape(-1)]


def _bands(count: int) -> tuple[list[int], list[int]]:
    edges = [_BITS * band // count for band in range(count + 1)]
    return edges[:-1], edges[1:]


def _near_in_band(
    wanted: NDArray[np.uint64], known: NDArray[np.uint64], shift: np.uint64, mask: np.uint64, distance: int
) -> NDArray[np.bool_]:
    """Whether each wanted hash is near a known one that is equal to it in one band of bits."""
    keys = (known >> shift) & mask
    order = np.argsort(keys, kind="stable")
    keys, known = keys[order], known[order]
    bands = (wanted >> shift) & mask
    first = np.searchsorted(keys, bands, "left")
    counts = np.searchsorted(keys, bands, "right") - first
    near = np.zeros(len(wanted), bool)
    for position in np.flatnonzero(counts > _LARGE_BAND):
        same_band = known[first[position] : first[position] + counts[position]]
        near[position] = np.bitwise_count(same_band ^ wanted[position]).min() <= distance
    counts[counts > _LARGE_BAND] = 0
    ends = np.cumsum(counts)
    start = 0
    while start < len(wanted):
        done = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, "right"))
        lengths = counts[start:stop]
        hashes = np.repeat(np.arange(start, stop), lengths)
        offsets = np.arange(len(hashes)) - np.repeat(ends[start:stop] - lengths - done, lengths)
        differing = np.bitwise_count(wanted[hashes] ^ known[first[hashes] + offsets])
        near[hashes[differing <= distance]] = True
        start = stop
    return near
