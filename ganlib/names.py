"""Names and numbers from outside, checked before they become keys, paths or entries of a registry.

The types here are fields of the records in :mod:`ganlib.records` and of those built on it. A record read
from an object store therefore holds no name that leaves its folder and no count that asks for more memory
than there is. Patterns must match the whole text: pydantic's ``$`` does not accept a trailing newline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from ganlib.errors import ConfigError
from ganlib.field_words import Words


def _no_folder(name: str) -> str:
    if name in {".", ".."}:
        raise ValueError(f"{name!r} names a folder")
    return name


Name = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"),
    Words("a name of 1 to 63 lower-case letters, digits and inner dashes"),
]
"""A name in a configuration: 1 to 63 lower-case letters, digits and inner dashes."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""

DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
"""A dataset in the object store. Earlier versions also accepted a final dash, so records do too;
:func:`check_dataset_name` is stricter, for new datasets."""

RunName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,198}[a-z0-9])?$")]
"""A run, a sweep or a sweep's trial: part of object keys, folders and job ids."""

TrackingRunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,128}$")]
"""The tracker's id of a run; empty: not known."""

CheckpointKey = Annotated[
    str, Field(pattern=r"^runs/[a-z0-9-]{1,200}/(checkpoints|adopted)/[a-z0-9-]{1,220}$", max_length=450)
]
"""Key prefix of a checkpoint: ``runs/RUN/checkpoints/IMAGES``, or ``runs/RUN/adopted/OTHER_RUN-IMAGES`` for
a copy of another run's."""

ShardPath = Annotated[str, Field(pattern=r"^shards/[a-z0-9_-]{1,64}\.safetensors$")]
"""Path of a shard below its version's folder, as in ``shards/train-00000.safetensors``."""

UNKNOWN_LICENCE = "unknown"
"""Stands for a licence that nobody has stated."""

Licence = Annotated[
    str,
    Words("1 to 200 characters without line breaks and |"),
    Field(pattern=r"^[^\x00-\x1f|]{1,200}\z"),
]
"""Licence of a dataset's pictures: MIT, CC-BY-4.0, or a sentence."""

ClassName = Annotated[
    str,
    Field(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]{1,255}$"),
]
"""A class of pictures: 1 to 255 characters, none of which controls a terminal or the direction of text."""

RegisteredName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f/:]{1,250}$"), AfterValidator(_no_folder)]
"""A registered model, as the registry lists it; models made by others may have names that
:func:`check_model_name` refuses."""

AliasName = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f/:@]{0,255}$")]
"""An alias of a registered model, as the registry lists it; empty: none."""

Count = Annotated[int, Field(ge=0, le=2**53)]
"""Images or steps: what a float64 holds exactly, since counters are stored as JSON numbers."""

MAX_CLASSES = 65_536
"""Most classes of a dataset."""

_REFERENCE = re.compile(r"(?P<model>[^@/\s]+)(?:[@/](?P<which>[^@/\s]+))?")
LOG_SUFFIX = ".moves"
"""End of the name of the registered model that keeps the history of another model's aliases."""
RUN_TAG = "ganlib.run"
"""Tag with ganlib's run name, on tracking runs and on registered versions."""


def check_dataset_name(name: str) -> None:
    """Refuse a name for a new dataset that no configuration accepts.

    Raises:
        ConfigError: It is not 1 to 63 lowercase letters, digits and inner dashes.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise ConfigError(
            f"{name!r} cannot name a dataset: 1 to 63 lowercase letters, digits and dashes are accepted, "
            "beginning and ending with a letter or digit"
        )


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
