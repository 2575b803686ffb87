"""Command lines, the configuration of a run that takes seconds, and a stack's processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psutil

from ganlib.settings import Settings

TINY: dict[str, Any] = {
    "budget.total_kimg": 4,
    "evaluation.every_kimg": 2,
    "evaluation.samples": 32,
    "evaluation.curve_samples": 16,
    "evaluation.reference_images": 32,
    "checkpoint.every_kimg": 1,
    "network.generator_width": 4,
    "network.critic_width": 4,
    "gate.better_than_untrained": False,
}
"""Changes of a recipe for a run that takes seconds."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def arguments(recipe: str, overrides: Mapping[str, Any]) -> list[str]:
    """Return the arguments of ``ganlib retrain`` with these fields changed."""
    return [
        "retrain",
        recipe,
        *(part for item in overrides.items() for part in ("--set", "=".join(map(str, item)))),
    ]


def command(*words: str) -> list[str]:
    """Return the command line of ``ganlib WORDS…``, run by this interpreter."""
    return [sys.executable, "-m", "ganlib.cli", *words]


def processes(settings: Settings, *words: str) -> list[psutil.Process]:
    """Return this stack's processes with these words in their command line.

    The machine may run other stacks, whose processes have the same command lines.
    """
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        with suppress(psutil.Error):
            named = all(word in line for word in words)
            if named and process.environ().get("GANLIB_HOME") == str(settings.home):
                found.append(process)
    return found
