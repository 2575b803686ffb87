"""The values that a sweep may give one field: a list or a range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ganlib.config.parts import ConfigPart
from ganlib.config.run import read_value, value_types
from ganlib.errors import ConfigError, together
from ganlib.sweep.records import Scalar

MOST_VALUES = 1000
"""Most values of a list."""


class Choice(ConfigPart):
    """One of some values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Scalar, ...] = Field(min_length=1, max_length=MOST_VALUES)

    @model_validator(mode="after")
    def _no_value_twice(self) -> Choice:
        texts = [repr(value) for value in self.values]
        for text in texts:
            if texts.count(text) > 1:
                raise ValueError(f"{text} is listed twice")
        return self

    def ends(self) -> tuple[Scalar, ...]:
        """Return every value."""
        return self.values

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


class Range(ConfigPart):
    """A number between two others, both included."""

    kind: Literal["range"] = "range"
    low: float
    high: float
    scale: Literal["uniform", "log", "integers", "log-integers"] = "uniform"
    """``log``: each factor of ten equally often; ``integers``: whole numbers; ``log-integers``: both."""

    @property
    def whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return self.scale in ("integers", "log-integers")

    @model_validator(mode="after")
    def _not_empty(self) -> Range:
        if self.high <= self.low:
            raise ValueError(
                f"the range from {self.low:g} to {self.high:g} is empty: name the lower end first"
            )
        if self.scale.startswith("log") and self.low <= 0:
            raise ValueError(f"a log range begins above 0, not at {self.low:g}")
        if self.whole and (self.low % 1 or self.high % 1):
            raise ValueError(f"a range of integers ends with integers, not {self.low:g} and {self.high:g}")
        return self

    def ends(self) -> tuple[Scalar, ...]:
        """Return both ends: if they are within a field's bounds, so is everything between."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def holds(self, value: Scalar) -> bool:
        """Whether a value lies in the range, and is whole where it has to be."""
        if isinstance(value, str | bool) or (self.whole and value % 1):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.scale}:{self.low:g}:{self.high:g}"


Search = Annotated[Choice | Range, Field(discriminator="kind")]


def parse_search(texts: Sequence[str]) -> dict[str, Choice | Range]:
    """Return the search space that a command line names.

    Args:
        texts: ``FIELD=V1,V2,…`` for a list, and ``FIELD=uniform:LOW:HIGH``, ``FIELD=log:LOW:HIGH`` or
            ``FIELD=integers:LOW:HIGH`` for a range. A range of a field that counts has whole numbers only.

    Raises:
        ConfigError: One is not of that form, or lists or spans nothing.
    """
    found: dict[str, Choice | Range] = {}
    problems: list[ConfigError] = []
    for text in texts:
        field, equals, what = text.partition("=")
        if not equals or not field.strip():
            problems.append(ConfigError(f"{text!r} names no field: write FIELD=V1,V2 or FIELD=log:LOW:HIGH"))
        elif field in found:
            problems.append(ConfigError(f"{field} is searched twice; name all its values at once"))
        else:
            try:
                found[field] = _parse(field, what)
            except ValueError as error:
                # pydantic's ValidationError is a ValueError; its first message comes from our validators.
                errors = getattr(error, "errors", None)
                reason = errors()[0]["msg"].removeprefix("Value error, ") if errors else str(error)
                problems.append(ConfigError(f"{text!r} cannot be searched: {reason}"))
    if problems:
        raise together(problems)
    return found


def _parse(field: str, what: str) -> Choice | Range:
    scale, colon, ends = what.partition(":")
    if colon and scale in ("uniform", "log", "integers", "log-integers"):
        types = value_types(field)
        if int in types and float not in types:
            scale = "log-integers" if scale.startswith("log") else "integers"
        low, colon, high = ends.partition(":")
        if not colon:
            raise ValueError(f"a range has two ends, as in {scale}:1:8")
        return Range.model_validate({"low": _end(low), "high": _end(high), "scale": scale})
    values = [read_value(field, part) for part in what.split(",") if part.strip()]
    if not 1 <= len(values) <= MOST_VALUES:
        raise ValueError(f"a list has 1 to {MOST_VALUES:,} values, not {len(values):,}")
    return Choice(values=tuple(map(_scalar, values)))


def _end(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"an end of a range is a number, not {text!r}")
    return number


def _scalar(value: object) -> Scalar:
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{value!r} is neither a number nor a word")
    return value
