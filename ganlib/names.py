"""Names, sizes and counts from outside, checked before they become keys, paths or memory.

What is read from a store, an archive or a registry is built of the types below, so a value that could leave
its folder or take all memory is refused when it is read, wherever that is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from ganlib.errors import ConfigError

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Names of datasets, recipes and models that ganlib gives."""


def _fully(pattern: str | re.Pattern[str], meaning: str) -> AfterValidator:
    """Accept text that matches a pattern from its first to its last character, a final newline included."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"must be {meaning}")
        return text

    return AfterValidator(check)


Name = Annotated[str, _fully(NAME, "1 to 63 lower-case letters, digits and inner dashes")]
"""Fit for object keys, folders, model names and job ids."""

Sha256 = Annotated[str, _fully(r"[0-9a-f]{64}", "a SHA-256 of 64 hexadecimal digits in lower case")]
"""A SHA-256 in lower-case hexadecimal."""

LongName = Annotated[
    str,
    _fully(r"[a-z0-9]([a-z0-9-]{0,253}[a-z0-9])?", "1 to 255 lower-case letters, digits and inner dashes"),
]
"""Name of a run or a sweep, made of a recipe, two digests and a request: part of keys, paths and job ids."""

Key = Annotated[
    str,
    _fully(
        r"(?!(?:.*/)?\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,15}",
        "an object key of letters, digits, '.', '_' and '-', without '..' between its slashes",
    ),
    Field(max_length=1024),
]
"""Key of an object that ganlib wrote; it stays below its first folder."""

ShardPath = Annotated[
    str,
    _fully(r"shards/[a-z0-9][a-z0-9-]{0,60}\.safetensors", "shards/NAME.safetensors, as prepare writes it"),
]
"""Path of a shard below its version's folder."""

ClassName = Annotated[
    str, _fully(r"[^\x00-\x1f\x7f]{1,255}", "1 to 255 characters, none of them a control one")
]
"""Name of a class of pictures: a folder's name, or a known dataset's."""

Text = Annotated[str, Field(max_length=100_000)]
"""Words for a person: a reason, an address."""

Count = Annotated[int, Field(ge=0, le=10**15)]
"""Pictures, steps, bytes: far above what anybody has, and far below what overflows."""

CodeVersion = Annotated[str, _fully(r"[A-Za-z0-9.+!_-]{1,64}", "a version as in 1.2.0")]
"""Version of a package."""

Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""Number of a version in the model registry."""

_REFERENCE = re.compile(r"(?P<model>[^@/\s]+)(?:[@/](?P<which>[^@/\s]+))?")
LOG_SUFFIX = ".moves"
"""End of the name of the registered model that keeps the history of another model's aliases."""
RUN_TAG = "ganlib.run"
"""Tag with ganlib's run name, on tracking runs and on registered versions."""


def check_model_name(name: str) -> None:
    """Check a model's name before it is sent to a registry.

    Raises:
        ConfigError: It is empty or longer than 250 characters, has a ``/``, ``:``, ``@``, a control
            character or both kinds of quotes, is ``.`` or ``..``, or ends as a log's name does.
    """
    characters = not name.isprintable() or any(c in name for c in "/:@") or ("'" in name and '"' in name)
    if not name.strip() or len(name) > 250 or name in {".", ".."} or characters or is_log_name(name):
        raise ConfigError(
            f"{name!r} cannot be a model's name: 1 to 250 printable characters without '/', ':' and '@', "
            f"with one kind of quotation marks at the most, and not ending in {LOG_SUFFIX!r}, as in "
            "'fashion-mnist-wgan'"
        )


def log_name(model: str) -> str:
    """Return the name under which a registry keeps the history of a model's aliases."""
    return model + LOG_SUFFIX


def is_log_name(name: str) -> bool:
    """Whether a name belongs to a history of aliases and not to a model."""
    return name.endswith(LOG_SUFFIX)


def parse_reference(reference: str) -> tuple[str, str]:
    """Split ``NAME@ALIAS``, ``NAME/VERSION`` or ``NAME`` into (name, alias or version).

    A bare ``NAME`` means its alias ``champion``.

    Raises:
        ConfigError: It is none of these.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ConfigError(f"{reference!r} is no generator: give NAME@ALIAS, NAME/VERSION or NAME")
    if is_log_name(found["model"]):
        raise ConfigError(f"{reference!r} is no generator: it names the history of a model's aliases")
    return found["model"], found["which"] or "champion"


def check_alias(alias: str) -> None:
    """Check an alias; one that looks like a version number or is reserved is refused.

    Raises:
        ConfigError: It is not 1 to 255 letters, digits, ``_`` or ``-``, or is ``latest``, ``7`` or ``v7``.
    """
    reserved = alias.lower() == "latest" or re.fullmatch(r"[vV]?\d+", alias)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", alias) or reserved:
        raise ConfigError(
            f"{alias!r} cannot be an alias: 1 to 255 letters, digits, '_' or '-', and neither 'latest' "
            "nor a version number, as in 'champion'"
        )


def check_tags(tags: Mapping[str, str]) -> None:
    """Check a version's tags before they are sent to a registry.

    Raises:
        ConfigError: A name is not 1 to 250 letters, digits, ``_``, ``-`` and dots, or a value is longer
            than 5,000 characters.
    """
    for name, value in tags.items():
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,250}", name) or len(value) > 5000:
            raise ConfigError(
                f"tag {name[:60]!r} with a value of {len(value)} characters cannot be set: the name must be "
                "1 to 250 letters, digits, '_', '-' and dots, the value at most 5000 characters, as in "
                "ganlib.dataset"
            )
