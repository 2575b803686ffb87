"""Whole commands as a person waits for them: parts of the benchmarks.

``python -m ganlib.bench.whole_commands retrain|list|generate``. It needs the services. ``retrain`` trains the
demo's recipe anew, as the model ``benchmark-retrain``, and measures the seconds that are not its loop: the
command's start, the job's, evaluations, publishing, the comparison with the champion, and the end.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ganlib.bench.parts import Measured, answer
from ganlib.errors import JobFailed

MODEL = "benchmark-retrain"
RECIPE = "fashion-mnist-wgan"
LOOP_SECONDS = 120
FIRST_SECONDS = 5


def ganlib(*words: str, accept: tuple[int, ...] = (0,)) -> tuple[float, str]:
    """Seconds and standard output of a command.

    Raises:
        JobFailed: It ended with another exit code.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "ganlib.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    if done.returncode not in accept:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise JobFailed(
            " ".join(["ganlib", *words]), f"exit code {done.returncode}", said[-1], on_cluster=False
        )
    return seconds, done.stdout


def trained(seconds: float) -> tuple[float, dict[str, Any]]:
    """Seconds of a retrain with a new seed and this much time in its loop, and what it printed."""
    seed = 1 + secrets.randbelow(2**31 - 1)
    changes = [f"seed={seed}", f"budget.max_seconds={seconds:g}", "budget.total_kimg=100000"]
    words = [word for change in changes for word in ("--set", change)]
    took, printed = ganlib("retrain", RECIPE, "--name", MODEL, "--json", *words)
    return took, json.loads(printed)


def provide_champion() -> None:
    """Train a champion in seconds, if there is none: a comparison is part of a retrain."""
    _, models = ganlib("model", "list", "--json")
    if MODEL not in {model["model"] for model in json.loads(models)}:
        ganlib("dataset", "add", "fashion-mnist")
        trained(FIRST_SECONDS)


def retrain() -> Measured:
    """The seconds of a retrain that are not its loop, with their parts."""
    provide_champion()
    took, found = trained(LOOP_SECONDS)
    stages, result, evaluation = found["seconds"], found["result"], found["evaluation"]
    curve, full = result["evaluating_seconds"] + result["saving_seconds"], evaluation["seconds"]
    job = stages["train"] - result["seconds"] - curve - full
    parts = {
        "command and flow": took - sum(stages.values()),
        "dataset": stages["dataset"] + stages["pull"],
        "evaluations and checkpoints beside the loop": curve,
        "evaluation and champion": full,
        "starting the job, publishing": job,
        "evaluate, publish and gate stages": stages["evaluate"] + stages["publish"] + stages["gate"],
    }
    note = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    return Measured(value=took - result["seconds"], beside=result["seconds"], note=note)


def listing() -> Measured:
    """Seconds of ``ganlib model list``."""
    return Measured(value=ganlib("model", "list")[0])


def generating() -> Measured:
    """Seconds of ``ganlib generate --count 64``."""
    provide_champion()
    with tempfile.TemporaryDirectory(prefix="ganlib-bench-") as folder:
        out = str(Path(folder) / "grid.png")
        return Measured(value=ganlib("generate", f"{MODEL}@champion", "--count", "64", "--out", out)[0])


if __name__ == "__main__":
    answer({"retrain": retrain, "list": listing, "generate": generating}[sys.argv[1]])
