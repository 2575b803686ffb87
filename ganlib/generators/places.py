"""Places that pictures are written to: what a name's ending says, and what is refused before work starts.

Without torch, whose import takes seconds: a command refuses a place at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from ganlib.errors import ConfigError

Kind = Literal["png", "folder", "npz", "gif"]

SUFFIXES: dict[str, Kind] = {"": "folder", ".png": "png", ".npz": "npz", ".gif": "gif"}

LIMITS: dict[Kind, int] = {"png": 10_000, "folder": 1_000_000, "npz": 1_000_000, "gif": 1_000}
"""Pictures of each kind at the most; a grid and an animation are put together in memory."""

_NAMES: dict[Kind, str] = {"png": "a grid", "folder": "a folder", "npz": "an .npz", "gif": "a .gif"}


def sample_place(path: object) -> tuple[Path, Kind]:
    """A path that pictures of one seed are saved under, and what its ending says.

    Raises:
        ConfigError: It is no path, names nothing, or ends otherwise than with .png, .npz or no suffix.
    """
    if isinstance(path, (str, os.PathLike)):
        out = Path(path)
        kind = SUFFIXES.get(out.suffix.lower())
        if out.name and kind is not None and kind != "gif":
            return out, kind
    raise ConfigError(
        f"path {str(path)!r} must end with .png (a grid) or .npz (arrays), or be a name "
        "without a suffix (a folder)"
    )


def check_place(out: Path, kind: Kind, option: str = "--out ") -> None:
    """Refuse a path that cannot be written to before work starts.

    Args:
        out: The path.
        kind: What it is to become.
        option: What stands before the path in messages: the option that it was given with, or nothing.

    Raises:
        ConfigError: Its folder is not there; or it is a folder where a file is wanted, or the other way
            round; or a folder that holds something already.
    """
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{option}{out}: there is no folder {out.absolute().parent}")
    if kind != "folder":
        if out.is_dir():
            raise ConfigError(f"{option}{out} is a folder: name a file in it")
    elif out.is_dir():
        if any(out.iterdir()):
            raise ConfigError(f"{option}{out} is not empty: name a new folder, or empty it")
    elif out.exists():
        raise ConfigError(f"{option}{out} is a file: name a folder")


def check_total(out: Path, kind: Kind, total: int, option: str = "--out ") -> None:
    """Refuse more pictures than a kind of file holds. Raises ``ConfigError``; arguments as above."""
    if total > LIMITS[kind]:
        raise ConfigError(
            f"{total} pictures do not go into {option}{out}: {_NAMES[kind]} holds {LIMITS[kind]} at the "
            "most; ask for fewer, or for a folder"
        )
