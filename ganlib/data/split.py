"""The split of a picture dataset into training and held-out pictures, by content.

A picture's side depends on the SHA-256 of its prepared pixels and hardly on other pictures. Exact copies
are therefore on one side, whatever their file names, and adding pictures moves none that are there (but
see :func:`split_pictures` for classes with few pictures).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 0.1
"""Share of the possible digests, and so of the different pictures on average, that is held out."""

_THRESHOLD = int(HELD_OUT_SHARE * 2**64)


class PictureSplit(NamedTuple):
    """Positions of pictures by side, ascending; copies are in neither."""

    train: list[int]
    held_out: list[int]
    copies: int
    """Pictures with the pixels and the label of an earlier one; each is kept once."""


def pixel_digest(image: NDArray[np.uint8]) -> bytes:
    """SHA-256 of a prepared picture, uint8 [channels, height, width]."""
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def split_pictures(digests: Sequence[bytes], labels: Sequence[int]) -> PictureSplit:
    """Divide pictures between training and held out.

    Held out are pictures whose digest lies in the lowest tenth of all possible digests. A class with all its
    pictures there gives up the one with the highest digest to training, with its copies in other classes,
    so that no class is without training pictures.

    Args:
        digests: :func:`pixel_digest` of each picture.
        labels: Label of each picture.
    """
    highest: dict[int, bytes] = {}
    for digest, label in zip(digests, labels, strict=True):
        highest[label] = max(digest, highest.get(label, b""))
    training = set(highest.values())
    seen: set[tuple[bytes, int]] = set()
    split = PictureSplit([], [], 0)
    for position, picture in enumerate(zip(digests, labels, strict=True)):
        if picture in seen:
            continue
        seen.add(picture)
        held_out = int.from_bytes(picture[0][:8], "big") < _THRESHOLD and picture[0] not in training
        (split.held_out if held_out else split.train).append(position)
    return split._replace(copies=len(digests) - len(seen))
