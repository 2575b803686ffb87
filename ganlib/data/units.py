"""The work of a preparation, cut into units: the raw pictures that are new since the last one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import pyarrow as pa

from ganlib.data.formats.accepted import is_picture
from ganlib.data.formats.entries import ObjectRange, Refused, ZipMember
from ganlib.data.formats.parts import ReadAhead
from ganlib.data.formats.zips import member_entry
from ganlib.data.picture_rows import SCHEMA, RowBuilder, join_rows
from ganlib.data.raw.contents import (
    RawPicture,
    container_contents,
    is_container,
    object_picture,
    path_inside,
    reads_at_random,
)
from ganlib.data.tallies import REST_OF_CONTAINERS
from ganlib.names import Count
from ganlib.ports import ObjectInfo, ObjectStore
from ganlib.records import Record, digest_of

T = TypeVar("T")

UNIT_PICTURES = (512, 4096)
"""Fewest and most pictures that a full unit has, by how many there are in all; a container that can be read
from its beginning only is one unit."""

_UNITS = 64


class RawObject(Record):
    """A raw object, as listed."""

    key: str
    size: Count
    etag: str

    @classmethod
    def of(cls, info: ObjectInfo) -> RawObject:
        """The same as a record."""
        return cls(key=info.key, size=info.size, etag=info.etag)

    @property
    def info(self) -> ObjectInfo:
        """The same as the store lists it."""
        return ObjectInfo(self.key, self.size, self.etag)

    @property
    def stamp(self) -> str:
        """Changes when its content does."""
        return f"{self.etag}-{self.size}"


class Unit(Record):
    """Pictures that one worker decodes."""

    objects: tuple[RawObject, ...] = ()
    """Objects that are pictures."""
    container: RawObject | None = None
    members: tuple[ZipMember, ...] = ()
    """The pictures of the container to take, if it is a zip archive; empty: all."""

    def pictures(self, store: ObjectStore, prefix: str) -> Iterator[RawPicture | Refused]:
        """The pictures, unread.

        Args:
            store: Holds the raw objects.
            prefix: Key prefix of the dataset's raw objects.

        Raises:
            DataError: The container is damaged.
        """
        for one in self.objects:
            yield object_picture(store, one.key.removeprefix(prefix), one.info)
        if self.container is None:
            return
        relative, source = self.container.key.removeprefix(prefix), ObjectRange(store, self.container.info)
        ahead = ReadAhead(source)
        for member in self.members:
            name, path = f"{relative}/{member.name}", path_inside(relative, member.name)
            yield RawPicture(name, path, member.stamp, member_entry(ahead, member))
        if not self.members:
            for found in container_contents(relative, source, self.container.stamp):
                if isinstance(found, RawPicture | Refused):
                    yield found

    @property
    def name(self) -> str:
        """Tells it apart from others by what it holds."""
        return digest_of(self.model_dump())[:16]

    @property
    def streamed(self) -> bool:
        """Whether each picture must be read before the next one is asked for."""
        return self.container is not None and not self.members


class DecodingPlan(NamedTuple):
    """The work of a preparation."""

    units: list[Unit]
    rows: pa.Table
    """Rows of pictures that need no decoding: known ones, and those refused unread."""
    pictures: int
    """Pictures to decode."""


def plan_units(
    store: ObjectStore,
    prefix: str,
    objects: Mapping[str, ObjectInfo],
    known: pa.Table | None,
    wanted: Callable[[str], bool],
    counted: Mapping[str, int],
    lost: Collection[str] = (),
) -> DecodingPlan:
    """Find the pictures to decode.

    Args:
        store: Holds the raw objects.
        prefix: Key prefix of the dataset's raw objects.
        objects: Raw objects by relative path.
        known: Rows of the last preparation in the same way.
        wanted: Whether the picture with some path belongs to the dataset at all.
        counted: Pictures of each container, for those that tell only when they are read to their end.
        lost: Names of pictures whose known rows are not to be trusted: they are decoded again.

    Raises:
        DataError: A container cannot be read.
    """
    planner = _Planner(store, prefix, known, lost)
    # A source with very many containers records the picture counts of some as one sum.
    unknown = None if REST_OF_CONTAINERS in counted else 0
    loose: list[RawObject] = []
    for relative, info in objects.items():
        if is_picture(relative):
            one = RawObject.of(info)
            if wanted(relative) and not planner.keep(relative, one.stamp):
                loose.append(one)
    planner.add_objects(loose)
    for relative, info in objects.items():
        if is_container(relative):
            planner.add_container(relative, RawObject.of(info), wanted, counted.get(relative, unknown))
    return planner.plan()


class _Planner:
    def __init__(
        self, store: ObjectStore, prefix: str, known: pa.Table | None, lost: Collection[str]
    ) -> None:
        self._store, self._prefix, self._lost = store, prefix, frozenset(lost)
        self._known = SCHEMA.empty_table() if known is None else known
        names, stamps = self._known["name"].to_pylist(), self._known["stamp"].to_pylist()
        self._at = {name: (stamp, row) for row, (name, stamp) in enumerate(zip(names, stamps, strict=True))}
        self._kept: list[int] = []
        self._refused = RowBuilder()
        self._units: list[Unit] = []
        self._pictures = 0

    def keep(self, name: str, stamp: str) -> bool:
        """Take over a picture's known row, if it has one."""
        if not self._is_known(name, stamp):
            return False
        self._kept.append(self._at[name][1])
        return True

    def _is_known(self, name: str, stamp: str) -> bool:
        return name in self._at and self._at[name][0] == stamp and name not in self._lost

    def add_objects(self, objects: list[RawObject]) -> None:
        for some in _cut(objects):
            self._add(Unit(objects=some), len(some))

    def add_container(
        self, relative: str, one: RawObject, wanted: Callable[[str], bool], pictures: int | None
    ) -> None:
        if reads_at_random(relative) and self._add_members(relative, one, wanted):
            return
        inside = self._rows_inside(relative)
        # A picture that had no class then, say, has no row: it may have one now.
        complete = pictures is not None and len(inside) >= max(1, pictures)
        if complete and all(self._is_known(name, one.stamp) for name in inside):
            self._kept += [self._at[name][1] for name in inside]
            return
        self._add(Unit(container=one), pictures or 0)

    def _add_members(self, relative: str, one: RawObject, wanted: Callable[[str], bool]) -> bool:
        """Add the new pictures of an archive by their places; false where only reading it gives them."""
        fresh: list[ZipMember] = []
        refused: list[Refused] = []
        for found in container_contents(relative, ObjectRange(self._store, one.info), one.stamp):
            if isinstance(found, Refused):
                refused.append(found)
            elif isinstance(found, RawPicture):
                member = found.entry.member
                if member is None:
                    return False  # an npz by another name
                if wanted(found.path) and not self.keep(found.name, found.stamp):
                    fresh.append(member)
        for each in refused:
            self._refused.refuse_unread(each, one.stamp)
        # By their places, so that those of a unit are read in few requests.
        for some in _cut(sorted(fresh, key=lambda member: member.offset)):
            self._add(Unit(container=one, members=some), len(some))
        return True

    def _rows_inside(self, relative: str) -> list[str]:
        """Names of the known rows of a container."""
        inside = f"{relative}/"
        return [name for name in self._at if name.startswith(inside)]

    def _add(self, unit: Unit, pictures: int) -> None:
        self._units.append(unit)
        self._pictures += pictures

    def plan(self) -> DecodingPlan:
        kept = self._known.take(pa.array(self._kept, pa.int64()))
        return DecodingPlan(self._units, join_rows([kept, self._refused.table()]), self._pictures)


def _cut(items: Iterable[T]) -> Iterator[tuple[T, ...]]:
    every = tuple(items)
    fewest, most = UNIT_PICTURES
    size = min(most, max(fewest, len(every) // _UNITS))
    return (every[start : start + size] for start in range(0, len(every), size))
