"""Damages sound files by a seed and gives them to the readers; run as a program, under a memory limit.

``python mutated_files.py KIND COUNT SEED`` prints JSON: how often each outcome came, the peak of memory, the
slowest case in processor seconds. Anything but a picture, an entry, a refusal or a ``DataError`` ends it
with a traceback and the case's number.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from byte_sources import mutated, stored
from sound_files import CONTAINERS, GREY, PICTURES, idx, pictures, sound_files

from ganlib.data.formats.arrays import npy_entries
from ganlib.data.formats.containers import open_container
from ganlib.data.formats.decode import Fit, decode_picture
from ganlib.data.formats.entries import Entry, PictureRefused, Refused
from ganlib.data.formats.idx import idx_entries
from ganlib.data.formats.npz import npz_entries
from ganlib.data.formats.parquet import parquet_entries
from ganlib.data.formats.tars import tar_entries
from ganlib.data.formats.zips import zip_entries
from ganlib.data.layout import RawDataset
from ganlib.errors import DataError
from ganlib.records import DatasetVersion

MEMORY_BYTES = {
    **dict.fromkeys(PICTURES, 1536 * 2**20),
    **dict.fromkeys(CONTAINERS, 256 * 2**20),
    "manifest": 64 * 2**20,
}
"""Address space that reading may take beyond what the imports and the sound files took."""

LARGEST_ENTRY = 2**20
_READERS = {
    "zip": zip_entries,
    "tar": tar_entries,
    "npy": npy_entries,
    "npz": npz_entries,
    "parquet": parquet_entries,
}
_GOOD = {"picture", "entry", "record"}


def _decode(data: bytes, rng: random.Random) -> Iterator[str]:
    fit, channels, size = rng.choice(("crop", "stretch", "pad")), rng.choice((1, 3)), rng.choice((8, 64))
    try:
        pixels = decode_picture(data, "damaged", size, cast("Fit", fit), channels)
    except PictureRefused as error:
        yield error.refused("damaged").reason
    else:
        assert (pixels.shape, pixels.dtype) == ((channels, size, size), np.uint8)
        yield "picture"


def _read_container(kind: str, data: bytes, rng: random.Random) -> Iterator[str]:
    source = stored(data)
    if kind == "idx":
        # Damaged pictures without labels, or damaged labels beside sound pictures.
        images, labels = (source, None) if rng.random() < 0.5 else (stored(idx(GREY)), source)
        yield from _read_entries(idx_entries(images, labels, LARGEST_ENTRY))
    elif rng.random() < 0.5:
        yield from _read_entries(_READERS[kind](source, LARGEST_ENTRY))
    else:
        found = open_container(f"damaged.{kind}", source, LARGEST_ENTRY)
        yield from ["no container"] if found is None else _read_entries(found)


def _read_entries(found: Iterator[Entry | Refused]) -> Iterator[str]:
    for entry in found:
        if isinstance(entry, Refused):
            yield entry.reason
            continue
        try:
            content = entry.read()
            pixels = None if entry.pixels is None else entry.pixels()
        except DataError:
            yield "entry cannot be read"
            continue
        assert len(content) <= entry.size <= LARGEST_ENTRY
        assert pixels is None or (pixels.dtype, pixels.size) == (np.uint8, entry.size)
        yield "entry"


def _read_manifest(data: bytes) -> Iterator[str]:
    for record in (DatasetVersion, RawDataset):
        try:
            record.from_json(data, source="manifest")
            yield "record"
        except DataError:
            yield "no record"


def outcomes(kind: str, data: bytes, rng: random.Random) -> Iterator[str]:
    """Names of what came of reading a file."""
    try:
        if kind in PICTURES:
            yield from _decode(data, rng)
        elif kind == "manifest":
            yield from _read_manifest(data)
        else:
            yield from _read_container(kind, data, rng)
    except DataError:
        yield "file cannot be read"


def main(kind: str, count: int, seed: int) -> None:
    """Damage and read so many files."""
    corpus = sound_files(kind)
    others = [data for each in PICTURES for data in pictures(each)] + [sound.data for sound in corpus]
    found: Counter[str] = Counter()
    for sound in corpus:
        # Twice, since it is chosen by chance how a container is opened.
        found.update(name for way in (0, 1) for name in outcomes(kind, sound.data, random.Random(way)))
    expected = _GOOD | {"no record"} | ({"file cannot be read"} if kind == "idx" else set())
    assert set(found) & _GOOD, found
    assert not set(found) - expected, found

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES[kind],) * 2)
    found.clear()
    slowest = 0.0
    for number in range(count):
        rng = random.Random(f"{kind} {seed} {number}")
        sound = rng.choice(corpus)
        if rng.random() < 0.75:
            damaged = sound.pack(mutated(sound.content, others, rng))
        else:
            damaged = mutated(sound.data, others, rng)
        began = time.process_time()
        try:
            found.update(outcomes(kind, damaged, rng))
        except Exception:
            traceback.print_exc()
            sys.exit(f"{kind}, seed {seed}, case {number}: see above")
        slowest = max(slowest, time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"outcomes": found, "files": count, "peak_bytes": peak, "slowest": slowest}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
