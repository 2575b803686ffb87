"""A store that counts, and fails when told to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ganlib.errors import ServiceError
from ganlib.fakes.stores import MemoryStore


class WatchedStore(MemoryStore):
    """Remembers what was asked of it; refuses a put when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.puts: list[str] = []
        self.gets: list[str] = []
        self.refuse: Callable[[str], bool] = lambda key: False

    def put(self, key: str, data: bytes | Path) -> None:
        if self.refuse(key):
            raise ServiceError("s3", "memory", "GANLIB_S3_ENDPOINT_URL", "went away")
        self.puts.append(key)
        super().put(key, data)

    def get(self, key: str) -> bytes:
        self.gets.append(key)
        return super().get(key)
