"""Damaged files are a picture, an entry, a refusal or a ``DataError``, within bounds of memory.

``GANLIB_FUZZ=20000`` reads so many files of each kind, ``GANLIB_FUZZ_SEED=1`` other ones.
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

COUNT, SEED = os.environ.get("GANLIB_FUZZ", "250"), os.environ.get("GANLIB_FUZZ_SEED", "0")


@pytest.mark.parametrize("kind", mutated_files.KINDS)
def test_damaged_files_never_break_their_reader(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, mutated_files.__file__, kind, COUNT, SEED],
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
    assert found["files"] == int(COUNT)
    good = {"zip": "entry", "tar": "entry", "manifest": "record"}.get(kind, "picture")
    bad = sum(count for outcome, count in found["outcomes"].items() if outcome != good)
    assert found["outcomes"][good] > 0, "some damage does no harm"
    assert bad > int(COUNT) / 20, "the damage is found"


def test_the_same_seed_damages_alike() -> None:
    (first, *_), others = mutated_files.pictures("PNG"), mutated_files.pictures("GIF")
    made = [mutated_files.mutate(first, others, random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
