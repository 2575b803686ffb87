"""A picture's group by a pattern on its name.

Patterns are RE2's, by way of pyarrow: RE2 compiles to a finite automaton and takes time linear in a name's
length whatever the pattern, where Python's ``re`` would take forever on ``(a+)+b``. Lookaround and
back-references, which need backtracking, do not exist there. A pattern's length and its automaton's memory
(RE2's own limit) are bounded, and no name is longer than an entry's may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganlib.data.formats.entries import MAX_NAME_BYTES, shown_name
from ganlib.errors import ConfigError

MAX_PATTERN_CHARACTERS = 256
"""Longest pattern."""

_NAMES_AT_ONCE = 65_536


def groups_by_pattern(names: Sequence[str], pattern: str) -> list[str]:
    """The part of each name that the pattern's one pair of parentheses matches.

    The pattern is searched anywhere in a name; the first match counts.

    Args:
        names: Names of pictures, with their folders.
        pattern: A regular expression in RE2's syntax with one capture group, as in ``subject_([0-9]+)``.

    Returns:
        A group for each name; empty where the pattern does not match or captures nothing, or the name has
        more than :data:`~ganlib.data.formats.entries.MAX_NAME_BYTES` bytes.

    Raises:
        ConfigError: The pattern is longer than :data:`MAX_PATTERN_CHARACTERS`, cannot be compiled, or has not
            one capture group.
    """
    check_group_pattern(pattern)
    found: list[str] = []
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = [_short(name) for name in names[start : start + _NAMES_AT_ONCE]]
        for name, group in zip(some, _substituted(some, pattern, r"\1\n"), strict=True):
            # No name has a line break, so where there is none nothing was substituted: no match.
            found.append("" if name is None or not group.endswith("\n") else group[:-1])
    return found


def check_group_pattern(pattern: str) -> None:
    """Refuse a pattern that cannot give groups, before any picture is read.

    Raises:
        ConfigError: As :func:`groups_by_pattern`.
    """
    shown = shown_name(pattern)
    if not 0 < len(pattern) <= MAX_PATTERN_CHARACTERS or not pattern.isprintable():
        raise ConfigError(
            f"--group {shown!r} has {len(pattern)} characters; a pattern has 1 to {MAX_PATTERN_CHARACTERS} "
            "printable ones"
        )
    # Compiled alone first: within other text, an unbalanced parenthesis could be balanced by it.
    reason = _complaint(pattern, "")
    if reason is not None:
        raise ConfigError(
            f"--group {shown!r} is no pattern: {reason}. Give a regular expression without lookaround and "
            "back-references, as in 'subject_([0-9]+)'"
        )
    if _complaint(pattern, r"\1") is not None or _complaint(pattern, r"\2") is None:
        raise ConfigError(
            f"--group {shown!r} must have one pair of parentheses, around the group's name, as in "
            "'subject_([0-9]+)'; write others as (?:…)"
        )


def _complaint(pattern: str, replacement: str) -> str | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.replace_substring_regex(pa.array([""]), pattern=pattern, replacement=replacement)
    except pa.ArrowInvalid as error:
        return str(error).partition(": ")[2] or str(error)
    return None


def _short(name: str) -> str | None:
    try:
        fits = len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return None
    return name if fits and "\n" not in name else None


def _substituted(names: Sequence[str | None], pattern: str, replacement: str) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = f"^.*?(?:{pattern}).*$"
    found: list[Any] = pc.replace_substring_regex(
        pa.array(names, pa.string()), pattern=whole, replacement=replacement.replace(r"\n", "\n")
    ).to_pylist()
    return found
