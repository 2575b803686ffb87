"""Inputs that a registered generator takes, as its tags and files say.

Tags come from outside: anybody with access to the registry can set them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from ganlib.errors import RegistryError
from ganlib.ports import CLASS_COUNT_TAG, CLASSES_FILE
from ganlib.records import RegisteredGenerator

LATENT_TAG = "ganlib.latent_dim"
_OLD_CLASSES_TAG = "ganlib.classes"
"""Held the names themselves, before they had a file."""


def latent_dim_of(generator: RegisteredGenerator) -> int:
    """Return the length of the latents. Raises ``RegistryError`` when the tag is missing or no number."""
    return _number(generator, LATENT_TAG, least=1)


def class_count(generator: RegisteredGenerator) -> int:
    """Return the number of classes, 0 for an unconditional generator. Raises ``RegistryError``."""
    if CLASS_COUNT_TAG in generator.tags:
        return _number(generator, CLASS_COUNT_TAG, least=0)
    return len(_old_classes(generator))


def makes_by_label(tags: Mapping[str, str]) -> bool:
    """Whether a version with these tags makes pictures by label."""
    return tags.get(CLASS_COUNT_TAG, "0") != "0" or tags.get(_OLD_CLASSES_TAG, "[]") != "[]"


def classes_of(generator: RegisteredGenerator, read: Callable[[str], bytes]) -> tuple[str, ...]:
    """Return the names of the classes in the order of the labels, none for an unconditional generator.

    Args:
        generator: The version.
        read: Returns the content of one of the version's files by name; called only for a version that
            keeps the names there.

    Raises:
        RegistryError: Tag and file do not go together, or the file is missing or no list of names.
    """
    if CLASS_COUNT_TAG not in generator.tags:
        return _old_classes(generator)
    if not (count := class_count(generator)):
        return ()
    try:
        text = read(CLASSES_FILE)
    except (KeyError, FileNotFoundError):
        raise _unusable(generator, f"its file {CLASSES_FILE} is missing") from None
    names = _names(generator, text, f"its file {CLASSES_FILE}")
    if len(names) != count:
        raise _unusable(generator, f"its file {CLASSES_FILE} has {len(names)} names, its tag says {count}")
    return names


def _old_classes(generator: RegisteredGenerator) -> tuple[str, ...]:
    return _names(generator, generator.tags.get(_OLD_CLASSES_TAG, "[]"), f"its tag {_OLD_CLASSES_TAG}")


def _names(generator: RegisteredGenerator, text: str | bytes, where: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _unusable(generator, f"{where} is no list of names")
    return tuple(names)


def _number(generator: RegisteredGenerator, tag: str, *, least: int) -> int:
    text = generator.tags.get(tag, "")
    if not (text.isdecimal() and len(text) <= 9) or int(text) < least:
        raise _unusable(
            generator, f"its tag {tag} is {text[:60]!r}, and must be a number of at least {least}"
        )
    return int(text)


def _unusable(generator: RegisteredGenerator, reason: str) -> RegistryError:
    return RegistryError(
        f"{generator.model} version {generator.version} was not registered by ganlib, or was altered: "
        f"{reason}. Use another version, or publish one with `ganlib retrain RECIPE`"
    )
