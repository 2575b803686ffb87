"""Every command and every line of Python in the README and the pages is run against a whole stack."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

JOBS = 4
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("train", "generate", "registry", "sweep", "data")),
]
"""In the order in which they are run; the README's come first, and data.md removes what it added."""
BLOCKS = [
    (block[1], block[2])
    for page in PAGES
    for block in re.finditer(r"^```(sh|python)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
]

TINY = (
    "--set budget.total_kimg=2 --set evaluation.every_kimg=1 --set evaluation.samples=16 "
    "--set evaluation.curve_samples=16 --set evaluation.reference_images=16 "
    "--set network.generator_width=4 --set network.critic_width=4 --set gate.better_than_untrained=false"
)
"""Added to whatever trains: the same commands, a run of seconds."""


def commands(block: str) -> list[str]:
    """The commands of a block, without comments."""
    return [words for line in block.splitlines() if (words := shlex.join(shlex.split(line, comments=True)))]


def steps() -> list[tuple[str, str]]:
    """Every command and every Python block, in the order of the pages."""
    found = []
    for kind, block in BLOCKS:
        found += [(kind, block)] if kind == "python" else [("sh", line) for line in commands(block)]
    return found


@pytest.fixture(scope="module")
def environ(
    stack_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], Path]:
    """The stack's environment with this interpreter's commands first, and a folder with pictures in it."""
    folder = tmp_path_factory.mktemp("readme")
    random = np.random.default_rng(0)
    for kind in ("roses", "tulips"):
        (folder / "flowers" / kind).mkdir(parents=True)
        for index in range(40):
            pixels = random.integers(0, 256, (80, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "flowers" / kind / f"{index}.jpg")
    # `ganlib` is the one of this checkout, wherever the interpreter's own command comes from.
    command = folder / "bin" / "ganlib"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ganlib.cli "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join((str(command.parent), str(Path(sys.executable).parent), stack_environ["PATH"]))
    return {**stack_environ, "PATH": path, "ARGS": TINY, "PYTHONPATH": str(ROOT)}, folder


def test_the_pages_have_commands() -> None:
    assert ("sh", "make demo") in steps()
    assert any(kind == "python" for kind, _ in steps())


def test_a_page_that_is_not_run_has_no_commands() -> None:
    for page in sorted((ROOT / "docs").glob("*.md")):
        assert page in PAGES or not re.search(r"^```(sh|python)$", page.read_text(), re.MULTILINE), page


@pytest.mark.services
@pytest.mark.timeout(3600)
def test_every_command_of_the_pages_works(environ: tuple[dict[str, str], Path]) -> None:
    variables, folder = environ
    for kind, text in steps():
        if text == "make test":
            continue  # this is it
        words = [sys.executable, "-c", text] if kind == "python" else shlex.split(text)
        if words[:2] in (["ganlib", "retrain"], ["ganlib", "sweep"]):
            words += shlex.split(TINY)
        if words[:2] == ["ganlib", "sweep"]:
            words += ["--trials", "3"]
        where = ROOT if words[0] == "make" else folder
        done = subprocess.run(
            words, cwd=where, env=variables, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    with Image.open(folder / "grid.png") as picture:
        assert picture.size[0] >= 8 * 28
