"""Tags of a version as values: a registry keeps text only, and programs want numbers.

A tag is read by its name, never by its looks: a commit may be ``1234567`` and is no number.
"""

from __future__ import annotations

from collections.abc import Mapping

from ganlib.ports import CLASS_COUNT_TAG
from ganlib.records import Measures

TagValue = str | int | float | list[int] | list[float] | None

GATE = "ganlib.gate."
"""Begins the names of tags with a version's own decision."""

_CHALLENGED = "ganlib.challenged."
_WHOLE = {CLASS_COUNT_TAG, *(f"ganlib.{name}" for name in ("latent_dim", "samples", "images_seen"))}
_REAL = {f"ganlib.{name}" for name in (*Measures.model_fields, "value_untrained", "copying_ratio")} - {
    "ganlib.metric",
    *_WHOLE,
}
_DECISION_TEXTS = {"decision", "reason", "dataset_digest"}
_DECISION_VERSIONS = {"champion", "by"}


def tag_values(tags: Mapping[str, str]) -> dict[str, TagValue]:
    """Every tag by name, sorted, each in its own type; the tags that are not ganlib's are text.

    Empty text, and text that is no number where a number should be, are ``None``.
    """
    return {name: _value(name, text) for name, text in sorted(tags.items())}


def text_tag(tags: Mapping[str, str], name: str) -> str | None:
    """A tag's text; ``None`` when it is absent or empty."""
    return tags.get(name) or None


def number_tag(tags: Mapping[str, str], name: str) -> float | None:
    """A tag's number, which may be NaN or infinite; ``None`` when it is absent or no number."""
    return _real(tags.get(name, ""))


def _value(name: str, text: str) -> TagValue:
    for prefix in (GATE, _CHALLENGED):
        if name.startswith(prefix):
            return _decision_value(name.removeprefix(prefix), text)
    if name in _WHOLE:
        return _whole(text)
    if name in _REAL:
        return _real(text)
    if name == "ganlib.image_shape":
        sides = [side for part in text.split(",") if (side := _whole(part)) is not None]
        return sides if len(sides) == 3 else None
    return text or None


def _decision_value(name: str, text: str) -> TagValue:
    if name in _DECISION_TEXTS:
        return text or None
    if name in _DECISION_VERSIONS:
        return _whole(text)
    if name == "interval":
        ends = [end for part in text.split() if (end := _real(part)) is not None]
        return ends if len(ends) == 2 else None
    return _real(text)  # distances, some of them named for the metric


def _whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _real(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
