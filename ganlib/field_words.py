"""The fields of pydantic models in plain words: their types, bounds and choices, for lists and for errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Kind = Literal["integer", "number", "boolean", "text", "list", "part"]
"""``part``: fields of its own, or a mapping."""

_KINDS: dict[type, Kind] = {bool: "boolean", int: "integer", float: "number", str: "text"}
_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "text": "text",
    "part": "fields of its own",
}


@dataclass(frozen=True)
class Words:
    """Marks a type, in ``Annotated``, with words for what a pattern accepts."""

    text: str


@dataclass(frozen=True)
class FieldType:
    """The values that a field accepts; ``str`` gives it in words."""

    kind: Kind
    types: frozenset[type]
    """Python types of its values, ``NoneType`` among them where it may be left empty."""
    choices: tuple[Any, ...] = ()
    """The accepted values, where they are a list."""
    minimum: float | None = None
    maximum: float | None = None
    minimum_excluded: bool = False
    maximum_excluded: bool = False
    words: str = ""
    """Words of a pattern; empty: none."""
    element: FieldType | None = None
    """Type of a list's elements."""
    lengths: tuple[int, int] | None = None
    """Fewest and most elements of a list."""

    @property
    def nullable(self) -> bool:
        """Whether the field may be ``null``."""
        return type(None) in self.types

    def __str__(self) -> str:
        if self.choices:
            return alternatives([*self.choices, *(["null"] if self.nullable else [])])
        return self._values() + (", or null" if self.nullable else "")

    def _values(self) -> str:
        if self.words:
            return self.words
        if self.kind == "list":
            few, many = self.lengths or (0, 0)
            count = f"{few} to {many} " if self.lengths else ""
            return f"a list of {count}values, each {self.element}"
        return f"{_NOUNS[self.kind]}{self._bounds()}"

    def _bounds(self) -> str:
        low, high = self.minimum, self.maximum
        if low is not None and high is not None and not (self.minimum_excluded or self.maximum_excluded):
            return f" from {_figures(low)} to {_figures(high)}"
        parts = []
        if low is not None:
            parts.append(f"{'above' if self.minimum_excluded else 'at least'} {_figures(low)}")
        if high is not None:
            parts.append(f"{'below' if self.maximum_excluded else 'at most'} {_figures(high)}")
        return f" {' and '.join(parts)}" if parts else ""


def alternatives(values: Sequence[Any]) -> str:
    """Values as words: ``a, b or c``."""
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}" if first else last


def type_of(info: FieldInfo) -> FieldType:
    """The type of a model's field."""
    return _type_of(info.annotation, info.metadata)


def _type_of(annotation: Any, metadata: Iterable[Any]) -> FieldType:
    marks = list(metadata)
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        marks += more
    if get_origin(annotation) in (Union, UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        if len(kept) == 1:
            found = _type_of(kept[0], marks)
            return FieldType(**{**vars(found), "types": found.types | {type(None)}})
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        return FieldType(_KINDS[type(choices[0])], frozenset(map(type, choices)), choices=choices)
    if get_origin(annotation) is tuple:
        element = _type_of(get_args(annotation)[0], ())
        few, many = _mark(marks, "min_length"), _mark(marks, "max_length")
        lengths = None if few is None or many is None else (few, many)
        return FieldType("list", frozenset({tuple}), element=element, lengths=lengths)
    if annotation in _KINDS:
        return _bounded(annotation, marks)
    return FieldType("part", frozenset({dict}))


def _bounded(kind: type, marks: Sequence[Any]) -> FieldType:
    least, above = _mark(marks, "ge"), _mark(marks, "gt")
    most, below = _mark(marks, "le"), _mark(marks, "lt")
    if kind is int and below is not None:
        most, below = below - 1, None
    if kind is int and above is not None:
        least, above = above + 1, None
    return FieldType(
        _KINDS[kind],
        frozenset({kind}),
        minimum=above if least is None else least,
        maximum=below if most is None else most,
        minimum_excluded=above is not None,
        maximum_excluded=below is not None,
        words=_mark(marks, "text") or "",
    )


def _mark(marks: Sequence[Any], name: str) -> Any:
    """The first value of that name among a type's marks, those of nested ``Field(…)`` included."""
    for mark in marks:
        found = _mark(mark.metadata, name) if isinstance(mark, FieldInfo) else getattr(mark, name, None)
        if found is not None:
            return found
    return None


def _figures(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def in_error(value: Any) -> str:
    """A value as it is told in an error, in at most 80 characters."""
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def parts_of(info: FieldInfo) -> list[type[BaseModel]]:
    """The models that a field may be: one for a part, several for a part that comes in kinds."""
    found: list[type[BaseModel]] = []
    todo = [info.annotation]
    while todo:
        each: Any = todo.pop(0)
        if isinstance(each, type) and issubclass(each, BaseModel):
            found.append(each)
        elif get_origin(each) in (Union, UnionType, Annotated):
            todo += get_args(each)
    return found
