"""Damaged files are a picture, an entry, a refusal or a ``DataError``, within bounds of memory.

How many are read, and which, is set by the variables in :mod:`byte_sources`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import mutated_files
import pytest
import sound_files
from byte_sources import FUZZ_FILES, FUZZ_SEED, mutated

# A process for each kind takes most of the time: `make check` has one kind of pictures and two of containers.
QUICK = ("PNG", "zip", "npz")
KINDS = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in sound_files.KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_never_break_their_reader(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, mutated_files.__file__, kind, str(FUZZ_FILES), str(FUZZ_SEED)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(kind, done.stdout)
    assert found["files"] == FUZZ_FILES
    good = {"manifest": "record"} | dict.fromkeys(sound_files.CONTAINERS, "entry")
    bad = sum(count for outcome, count in found["outcomes"].items() if outcome != good.get(kind, "picture"))
    assert found["outcomes"][good.get(kind, "picture")] > 0, "some damage does no harm"
    assert bad > FUZZ_FILES / 20, "the damage is found"


def test_the_same_seed_damages_alike() -> None:
    (first, *_), others = sound_files.pictures("PNG"), sound_files.pictures("GIF")
    made = [mutated(first, others, random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
