"""The sample grids that a run has drawn along its training, in the object store: frames of a film.

They are kept there and not in the tracker, so that a run that was interrupted and goes on elsewhere has all.
"""

from __future__ import annotations

import re

from ganlib.ports import ObjectStore


def frame_key(run: str, images_seen: int) -> str:
    """Object key of the grid drawn at ``images_seen``, a PNG."""
    return f"{_folder(run)}{images_seen:012d}.png"


def find_frames(store: ObjectStore, run: str) -> dict[int, str]:
    """Object keys of a run's grids by images seen, ascending; objects of other names are passed over."""
    pattern = re.compile(rf"{re.escape(_folder(run))}([0-9]{{12,16}})\.png")
    found = (pattern.fullmatch(info.key) for info in store.list(_folder(run)))
    return {int(match[1]): match[0] for match in sorted(filter(None, found), key=lambda match: int(match[1]))}


def _folder(run: str) -> str:
    return f"runs/{run}/frames/"
