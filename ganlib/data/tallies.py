"""Counts by name that fit a record, whatever a source holds: the rest is summed up under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

REST_OF_KINDS = "other kinds"
"""Name under which files of all further kinds are counted."""

MOST_KINDS = 1000
"""Kinds of files that are counted by themselves."""

REST_OF_CONTAINERS = ""
"""Name under which the pictures of all further containers are counted; no container has an empty name."""

MOST_CONTAINERS = 100_000
"""Containers whose pictures are counted by themselves."""

_MOST_NAME_BYTES = 16 * 2**20
"""Bytes of all names together: a description is at most :data:`ganlib.records.MAX_JSON_BYTES` long."""


def bounded_kinds(counts: Mapping[str, int]) -> dict[str, int]:
    """Numbers of files by kind: of very many kinds the most frequent ones, and the sum of the others."""
    return _bounded(counts, MOST_KINDS, REST_OF_KINDS, lambda kind: -counts[kind])


def bounded_containers(counts: Mapping[str, int], tells_by_itself: Callable[[str], bool]) -> dict[str, int]:
    """Numbers of pictures by container: of very many containers some, and the sum of the others.

    Args:
        counts: Pictures by the container's relative path; an earlier sum of others stays in the sum.
        tells_by_itself: Whether a container has a directory, so that its number need not be kept: those that
            have none come first.
    """
    return _bounded(counts, MOST_CONTAINERS, REST_OF_CONTAINERS, tells_by_itself)


def _bounded(
    counts: Mapping[str, int], most: int, rest: str, rank: Callable[[str], int | bool]
) -> dict[str, int]:
    """The entries of the lowest ranks in their order, ``most`` with the one that sums up the rest."""
    names = [name for name in counts if name != rest]
    others, room, kept = counts.get(rest, 0), _MOST_NAME_BYTES, set[str]()
    too_many = len(names) + (rest in counts) > most
    for name in sorted(names, key=rank):
        room -= len(name.encode())
        if len(kept) < (most - 1 if too_many else most) and room >= 0:
            kept.add(name)
        else:
            others += counts[name]
    made = {name: count for name, count in counts.items() if name in kept}
    return made | {rest: others} if rest in counts or len(kept) < len(names) else made
