"""Names of folders for classes, whose own names may hold anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST = 120
"""Most bytes of a folder's name in UTF-8; file systems take 255, and tools add their own endings."""

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]')
# Windows opens devices by these names, whatever their ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def folder_names(classes: Sequence[str]) -> list[str]:
    """A folder name for each class: readable, accepted by any file system, and different from all others.

    Characters that some system refuses become ``_``. Names that would be one folder get ``-2``, ``-3``, … in
    the order of the classes, also where only the case of letters differs.
    """
    taken, names = set[str](), []
    numbers: dict[str, int] = {}
    for name in map(_safe, classes):
        unique, number = name, numbers.get(name, 1)
        while unique.casefold() in taken:
            number += 1
            unique = f"{name}-{number}"
        taken.add(unique.casefold())
        # From here on for the next of the same name: trying all of them again would take minutes for many.
        numbers[name] = number
        names.append(unique)
    return names


def _safe(name: str) -> str:
    name = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", name)).strip()
    name = name.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
    # A leading dot hides a folder or names the one above; a dot or space at the end is lost on Windows.
    name = re.sub(r"^\.", "_", name.rstrip(". ")) or "_"
    return f"_{name}" if _DEVICE.fullmatch(name) else name
