"""The way in which a dataset is prepared, and what a preparation reports of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ganlib.data.formats.entries import Reason, Refused
from ganlib.data.formats.fit import Colour, Fit
from ganlib.names import Count, Sha256
from ganlib.records import Record, Split

MAX_LISTED = 100_000
"""Most refused pictures, and most held-out groups, that a report lists."""

Hexadecimal = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}$")]
"""A colour as in HTML: ``#ffffff`` is white."""

SplitRule = Literal["content", "groups", "source"]
"""The split is by a hash of the pixels, by whole groups, or as the source's own files have it."""


class Preparation(Record):
    """The way in which pictures are brought to one shape."""

    size: int = Field(ge=8, le=1024)
    """Side of the square result, in pixels."""
    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB); ``None`` takes 1 for IDX files and 3 for pictures."""
    fit: Fit = "crop"
    """``crop`` takes the largest square in the middle of a picture, ``stretch`` takes all of it, ``pad``
    takes all of it and fills the square with the background."""
    background: Hexadecimal = "#ffffff"
    """The colour behind transparent pictures, and around padded ones."""

    @property
    def colour(self) -> Colour:
        """The background as red, green and blue, 0 to 255 each."""
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue


class PreparationReport(Record):
    """The fate of a dataset's raw pictures; stands beside the version, as several sources may give one.

    Versions that an older ganlib prepared have ``digest`` alone.
    """

    digest: Sha256
    """The version that was made."""
    preparation: Preparation | None = None
    pictures: Count = 0
    """Pictures that were found in the source, the refused ones included."""
    counts: dict[Split, dict[str, Count]] = Field(default_factory=dict)
    """Pictures of the version by split and class, by order of the labels; without classes under ``""``."""
    split_by: SplitRule = "content"
    held_out_groups: tuple[str, ...] = Field(default=(), max_length=MAX_LISTED)
    copies: Count = 0
    """Exact copies that were left out: same prepared pixels, same class."""
    near_copies: Count = 0
    """Held-out pictures that look like one that is trained on."""
    refused_by_reason: dict[Reason, Count] = Field(default_factory=dict)
    refused: tuple[Refused, ...] = Field(default=(), max_length=MAX_LISTED)
    """The pictures that could not be used, in the order of their names."""
    passed_over: dict[str, Count] = Field(default_factory=dict)
    """Files that are no pictures, by what they are."""
    decoded: Count = 0
    """Pictures that were decoded for it; the others were known from an earlier version."""
    seconds: float = Field(default=0.0, ge=0)
    """Wall time."""

    @property
    def refused_count(self) -> int:
        """How many pictures could not be used."""
        return sum(self.refused_by_reason.values())
