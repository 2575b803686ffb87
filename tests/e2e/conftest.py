"""The command line against a whole stack: S3 gateway, MLflow, Prefect server and worker, Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from mlflow import MlflowClient

from ganlib.config import load_config
from ganlib.settings import Settings
from ganlib.storage import S3Store, open_store

TINY: dict[str, Any] = {
    "budget.total_kimg": 4,
    "evaluation.every_kimg": 2,
    "evaluation.samples": 32,
    "evaluation.curve_samples": 16,
    "evaluation.reference_images": 32,
    "checkpoint.every_kimg": 1,
    "network.generator_width": 4,
    "network.critic_width": 4,
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


@pytest.fixture(scope="session")
def ganlib(stack_environ: dict[str, str]) -> Run:
    """Runs ``ganlib WORDS…`` against the stack and checks its exit code."""

    def run(*words: str, code: int = 0, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*words), env=stack_environ, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == code, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def store(stack_settings: Settings) -> S3Store:
    """The stack's object store."""
    return open_store(stack_settings)


@pytest.fixture(scope="session")
def mlflow(stack_settings: Settings) -> MlflowClient:
    """A client of the stack's MLflow, apart from ganlib's own code."""
    return MlflowClient(tracking_uri=stack_settings.require("mlflow"))


@pytest.fixture(scope="session")
def digits(ganlib: Run) -> str:
    """The dataset of scikit-learn's digits, added."""
    ganlib("dataset", "add", "digits")
    return "digits"


@pytest.fixture(scope="session")
def champion(ganlib: Run, digits: str) -> dict[str, Any]:
    """A champion of ``digits-wgan`` from a tiny run; what the command printed is under ``output``."""
    done = ganlib(*arguments("digits-wgan", TINY))
    return {
        "output": done.stdout + done.stderr,
        "config": json.loads(load_config("digits-wgan", TINY).model_dump_json()),
    }
