"""The split of a picture dataset into training and held-out pictures: by content, or by whole groups.

Without groups, a picture's side depends on the SHA-256 of its prepared pixels and hardly on other pictures.
Exact copies are therefore on one side, whatever their file names, and adding pictures moves none that are
there (but see :func:`split_pictures` for classes with few pictures).

Pictures of one group (a person, a video, a patient) are alike, so whole groups are held out where groups are
known (:func:`split_groups`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 0.1
"""Share of the possible digests, and so of the different pictures on average, that is held out."""

MIN_GROUPS_SHARE = 0.08
MAX_GROUPS_SHARE = 0.15
"""Share of the pictures in groups that the held-out groups have, where such groups exist."""

MAX_CLASSES_SHARE = 0.2
"""As :data:`MAX_GROUPS_SHARE`, while a class has no held-out pictures."""

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


def split_groups(
    digests: Sequence[bytes], labels: Sequence[int], groups: Sequence[str | None]
) -> PictureSplit:
    """Divide pictures between training and held out by whole groups (:func:`held_out_groups`).

    Pictures without a group are trained on. A picture is kept once, at its first position; one with pixels
    that lie in groups of both sides is trained on, whatever its label.

    Args:
        digests: :func:`pixel_digest` of each picture.
        labels: Label of each picture.
        groups: Group of each picture.
    """
    counts: dict[str, Counter[int]] = {}
    kept: set[tuple[bytes, int]] = set()
    positions: list[int] = []
    for position, (digest, label, group) in enumerate(zip(digests, labels, groups, strict=True)):
        if group is not None:
            # Copies count as well: how large a group is must not depend on the order of the pictures.
            counts.setdefault(group, Counter())[label] += 1
        if (digest, label) not in kept:
            kept.add((digest, label))
            positions.append(position)
    chosen = held_out_groups(counts)
    training = {digest for digest, group in zip(digests, groups, strict=True) if group not in chosen}
    split = PictureSplit([], [], len(digests) - len(kept))
    for position in positions:
        (split.train if digests[position] in training else split.held_out).append(position)
    return split


def held_out_groups(counts: Mapping[str, Mapping[int, int]]) -> frozenset[str]:
    """Choose the groups to hold out; from the same groups always the same, in whatever order they come.

    Groups are taken in the order of a hash of their names. A group is held out if its hash lies in the lowest
    tenth of all possible ones, or while fewer than :data:`MIN_GROUPS_SHARE` of the pictures are held out.
    Passed over is a group with which more than :data:`MAX_GROUPS_SHARE` would be, or that is the last one to
    train a class with. If that leaves none, the smallest group is held out, one that no class depends on
    where there is such a group. Then, for each class without held-out pictures, the first group that has it
    is held out as well, up to :data:`MAX_CLASSES_SHARE` and unless it is the last one to train a class with.

    So a group that is added or grows changes the side of others only as far as these shares and classes need
    it; with many groups, hardly ever.

    Args:
        counts: Number of pictures by label, for each group.

    Returns:
        The groups to hold out: at least one, and not all, if there are two or more; none of a single group.
    """
    if len(counts) < 2:
        return frozenset()
    choice = _Choice(counts)
    order = sorted(counts, key=lambda group: (_group_hash(group), group))
    for group in order:
        wanted = _group_hash(group) < _THRESHOLD or choice.pictures < MIN_GROUPS_SHARE * choice.total
        fits = choice.share_with(group) <= MAX_GROUPS_SHARE
        if wanted and fits and not choice.last_of_a_class(group):
            choice.hold_out(group)
    if not choice.held_out:
        choice.hold_out(min(order, key=lambda group: (choice.last_of_a_class(group), choice.size(group))))
    for group in order:
        wanted = group not in choice.held_out and not choice.held_out_labels.issuperset(counts[group])
        fits = choice.share_with(group) <= MAX_CLASSES_SHARE
        if wanted and fits and not choice.last_of_a_class(group):
            choice.hold_out(group)
    return frozenset(choice.held_out)


def _group_hash(group: str) -> int:
    """The first 64 bits of a group's hash. The words before its name were not chosen for any dataset."""
    return int.from_bytes(hashlib.sha256(f"ganlib group\0{group}".encode()).digest()[:8], "big")


class _Choice:
    """Groups held out so far, and what each further one would do to the shares and classes."""

    def __init__(self, counts: Mapping[str, Mapping[int, int]]) -> None:
        self.counts = counts
        self.total = sum(self.size(group) for group in counts)
        self.pictures = 0
        self.held_out: set[str] = set()
        self.held_out_labels: set[int] = set()
        self._training = Counter(label for labels in counts.values() for label in labels)

    def size(self, group: str) -> int:
        return sum(self.counts[group].values())

    def share_with(self, group: str) -> float:
        return (self.pictures + self.size(group)) / self.total

    def last_of_a_class(self, group: str) -> bool:
        return any(self._training[label] == 1 for label in self.counts[group])

    def hold_out(self, group: str) -> None:
        self.held_out.add(group)
        self.pictures += self.size(group)
        self.held_out_labels.update(self.counts[group])
        self._training.subtract(self.counts[group].keys())


def split_by_source(
    digests: Sequence[bytes], labels: Sequence[int], held_out: Sequence[bool]
) -> PictureSplit:
    """Divide pictures as their source does, with copies kept once.

    Trained on are also held-out pictures with the pixels of a training picture, and those of a class that has
    no other pictures.

    Args:
        digests: :func:`pixel_digest` of each picture.
        labels: Label of each picture.
        held_out: Whether the source holds it out.
    """
    training = {digest for digest, out in zip(digests, held_out, strict=True) if not out}
    trained = {label for label, out in zip(labels, held_out, strict=True) if not out}
    seen: set[tuple[bytes, int]] = set()
    split = PictureSplit([], [], 0)
    for position, (digest, label) in enumerate(zip(digests, labels, strict=True)):
        if (digest, label) not in seen:
            seen.add((digest, label))
            out = digest not in training and label in trained
            (split.held_out if out else split.train).append(position)
    return split._replace(copies=len(digests) - len(seen))
