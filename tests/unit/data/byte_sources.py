"""Byte ranges for tests, and damage done to bytes by a seed.

``GANLIB_FUZZ`` is the number of damaged files of each kind that the tests read, 200 unless it is set:
``GANLIB_FUZZ=20000 pytest tests/unit/data/test_mutated_files.py`` takes minutes. ``GANLIB_FUZZ_SEED`` chooses
other ones, 0 unless it is set.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence

from ganlib.data.formats.entries import ByteRange, Entry, ObjectRange, Refused
from ganlib.fakes.stores import MemoryStore

FUZZ_FILES = int(os.environ.get("GANLIB_FUZZ", "200"))
FUZZ_SEED = int(os.environ.get("GANLIB_FUZZ_SEED", "0"))

_NUMBERS = [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1]


def stored(data: bytes) -> ByteRange:
    store = MemoryStore()
    store.put("file", data)
    (info,) = store.list("file")
    return ObjectRange(store, info)


def entries(found: Iterator[Entry | Refused]) -> list[Entry]:
    made = list(found)
    assert not [entry for entry in made if isinstance(entry, Refused)]
    return [entry for entry in made if isinstance(entry, Entry)]


def mutated(data: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """A copy with one to six damages: bits, numbers, parts lost, doubled, or taken from another file."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        # Headers at the beginning, and directories at the end, are where most can go wrong.
        near = rng.randrange(min(len(damaged), 200) + 1)
        at = rng.choice((near, near, len(damaged) - near, *[rng.randrange(len(damaged) + 1)] * 3))
        length = rng.choice((1, 2, 4, 16, 300))
        match rng.randrange(7):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << rng.randrange(8)
            case 1:
                number = rng.choice(_NUMBERS).to_bytes(4, rng.choice(("little", "big")))
                width = rng.choice((1, 2, 4))
                damaged[at : at + width] = number[-width:] if rng.random() < 0.5 else number[:width]
            case 2:
                damaged[at : at + length] = rng.randbytes(length)
            case 3:
                del damaged[at : at + length]
            case 4:
                damaged[at:at] = damaged[at : at + length] * rng.choice((1, 1, 2, 100))
            case 5:
                other = rng.choice(others)
                start = rng.randrange(len(other))
                damaged[at : at + length] = other[start : start + length]
            case 6 if rng.random() < 0.3:
                del damaged[at:]
    return bytes(damaged)
