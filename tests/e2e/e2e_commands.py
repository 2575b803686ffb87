"""Words for the command line, and a run of seconds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

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
"""A run of seconds."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def arguments(recipe: str, overrides: Mapping[str, Any]) -> list[str]:
    """``ganlib retrain`` with these fields changed."""
    return [
        "retrain",
        recipe,
        *(part for item in overrides.items() for part in ("--set", "=".join(map(str, item)))),
    ]


def command(*words: str) -> list[str]:
    """The command line, in this interpreter's environment."""
    return [sys.executable, "-m", "ganlib.cli", *words]
