"""Which files count as pictures: the accepted formats, their suffixes, and what file managers drop."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

PictureFormat = Literal["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"]

SUFFIXES: dict[str, PictureFormat] = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WebP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
"""The format that a suffix announces. The content decides how a picture is decoded."""

ACCEPTED = f"JPEG, PNG, WebP, GIF, BMP and TIFF pictures ({', '.join(SUFFIXES)})"
"""The accepted formats in words, for messages."""

_DROPPINGS = frozenset(
    {
        ".ds_store",
        ".appledouble",
        ".directory",
        ".fseventsd",
        ".spotlight-v100",
        ".trashes",
        "$recycle.bin",
        "@eadir",
        "__macosx",
        "desktop.ini",
        "ehthumbs.db",
        "system volume information",
        "thumbs.db",
    }
)
"""Names, in lower case, of files and folders that file managers leave behind."""


def is_dropping(relative: str) -> bool:
    """Whether a relative path is something that a file manager left behind, or lies in such a folder.

    ``._a.jpg`` has the suffix of a picture, but holds macOS's attributes of ``a.jpg``.
    """
    return any(part.startswith("._") or part.lower() in _DROPPINGS for part in PurePosixPath(relative).parts)


def is_picture(relative: str) -> bool:
    """Whether a relative path names a picture: by suffix, and nothing on the way to it is hidden."""
    path = PurePosixPath(relative)
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and not is_dropping(relative)
