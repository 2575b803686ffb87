"""Byte ranges for tests, and damage done to bytes by chance."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ganlib.data.formats.entries import ByteRange, Entry, ObjectRange, Refused
from ganlib.fakes.stores import MemoryStore

MUTATIONS = int(os.environ.get("GANLIB_TEST_MUTATIONS", "300"))
"""Mutations of each file in the tests by chance; thousands take minutes."""


def stored(data: bytes) -> ByteRange:
    store = MemoryStore()
    store.put("file", data)
    (info,) = store.list("file")
    return ObjectRange(store, info)


def entries(found: Iterator[Entry | Refused]) -> list[Entry]:
    made = list(found)
    assert not [entry for entry in made if isinstance(entry, Refused)]
    return [entry for entry in made if isinstance(entry, Entry)]


def mutations(data: bytes, count: int, seed: int) -> Iterator[bytes]:
    """Damaged copies: turned bits, overwritten numbers, parts cut out or doubled, a missing end."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        copy = bytearray(data)
        for _ in range(int(random.integers(1, 4))):
            # Half of the damage goes where headers and directories are: to the beginning and the end.
            near = int(random.integers(0, min(200, len(copy))))
            at = [near, len(copy) - 1 - near, *random.integers(0, len(copy), 2)][random.integers(0, 4)]
            length = int(random.integers(1, 17))
            kind = random.integers(0, 6)
            if kind == 0:
                copy[at] ^= 1 << int(random.integers(0, 8))
            elif kind == 1:
                copy[at : at + length] = random.bytes(length)
            elif kind == 2:
                wide = [b"\xff", b"\x00", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff" * 8]
                number = wide[random.integers(0, len(wide))]
                copy[at : at + len(number)] = number
            elif kind == 3:
                del copy[at : at + length]
            elif kind == 4:
                copy[at:at] = copy[at : at + length]
            else:
                del copy[max(1, at) :]
            copy = copy or bytearray(b"\x00")
        yield bytes(copy)
