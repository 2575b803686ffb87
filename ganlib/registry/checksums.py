"""The list of a version's files with their digests, by which a fetched copy is verified."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ganlib.errors import RegistryError
from ganlib.records import canonical_json

LISTING = "files.json"
"""The list itself; its own digest is the version's tag :data:`DIGEST_TAG`."""

DIGEST_TAG = "ganlib.files_digest"
_FOREIGN = frozenset({LISTING, "registered_model_meta"})
"""Not in the list; the second one MLflow adds when it hands a version out."""


def write_listing(folder: Path) -> str:
    """List all files of a folder with their SHA-256 in its ``files.json``; returns that file's digest."""
    listed = {name: _sha256(folder / name) for name in _names(folder) if name not in _FOREIGN}
    text = canonical_json({"format": 1, "sha256": listed}).encode()
    (folder / LISTING).write_bytes(text)
    return hashlib.sha256(text).hexdigest()


def listing_digest(folder: Path) -> str:
    """The digest of a folder's ``files.json``."""
    return _sha256(folder / LISTING)


def verify_listing(folder: Path, digest: str, what: str) -> None:
    """Compare a folder with its list.

    Args:
        folder: Where the files are.
        digest: The digest that the list must have; empty when the version has none.
        what: What the files are, for messages.

    Raises:
        RegistryError: There is no list, or a file is missing, altered, or not in it.
    """
    if not digest:
        raise RegistryError(
            f"{what} was not registered by ganlib: it has no tag {DIGEST_TAG}, by which its files "
            "could be verified"
        )
    try:
        text = (folder / LISTING).read_bytes()
    except FileNotFoundError:
        raise RegistryError(f"{what} is incomplete: {LISTING} is gone; {_REMEDY}") from None
    if hashlib.sha256(text).hexdigest() != digest:
        raise RegistryError(
            f"{what} is damaged or altered: {LISTING} has another digest than its tag; {_REMEDY}"
        )
    listed: dict[str, str] = json.loads(text)["sha256"]
    names = {name for name in _names(folder) if name not in _FOREIGN}
    for name in sorted(listed.keys() | names):
        if name not in names:
            raise RegistryError(f"{what} is incomplete: {name} is gone; {_REMEDY}")
        if name not in listed:
            raise RegistryError(f"{what} is altered: {name} was not published with it; {_REMEDY}")
        if _sha256(folder / name) != listed[name]:
            raise RegistryError(
                f"{what} is damaged or altered: {name} has another digest than listed; {_REMEDY}"
            )


_REMEDY = "use another version, or publish it anew with `ganlib retrain RECIPE --force`"


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
