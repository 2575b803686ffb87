"""Small parts of a large object are read in few requests, by several threads at once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from ganlib.data.formats import parts
from ganlib.data.formats.entries import ObjectRange
from ganlib.data.formats.parts import ReadAhead
from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryStore


class CountedStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    def get_range(self, key: str, start: int, length: int, *, etag: str = "") -> bytes:
        self.requests += 1
        return super().get_range(key, start, length, etag=etag)


def test_parts_are_those_of_the_source_and_cost_few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BLOCK_BYTES", 1000)
    store = CountedStore()
    data = random.Random(0).randbytes(10_500)
    store.put("archive", data)
    (info,) = store.list("archive")
    ahead = ReadAhead(ObjectRange(store, info))
    asked = [(start, min(130, len(data) - start)) for start in range(0, len(data), 130)]
    assert b"".join(ahead.read_at(*part) for part in asked) == data
    assert store.requests == 11
    with ThreadPoolExecutor(4) as threads:
        assert b"".join(threads.map(lambda part: ahead.read_at(*part), asked)) == data
    assert ahead.read_at(500, 9000) == data[500:9500], "larger than a block"
    assert ahead.read_at(len(data), 0) == b""
    with pytest.raises(DataError, match="truncated or damaged"):
        ahead.read_at(10_400, 101)
