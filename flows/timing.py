"""Wall time of a flow's stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note under ``stage`` how long the block took, when it ends well."""
    began = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - began, 2)
