"""The command line against a whole stack: S3 gateway, MLflow, Prefect server and worker, Ray."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from e2e_commands import TINY, Run, arguments, command
from mlflow import MlflowClient

from ganlib.config.run import load_config
from ganlib.settings import Settings
from ganlib.storage import S3Store, open_store


@pytest.fixture(scope="session")
def ganlib(stack_environ: dict[str, str]) -> Run:
    """Return a function that runs ``ganlib WORDS…`` against the stack and checks the exit code."""

    def run(*words: str, code: int = 0, timeout: float = 600) -> subprocess.CompletedProcess[str]:
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
    """MLflow's own client of the stack's server, so that tests do not read through ganlib's code."""
    return MlflowClient(tracking_uri=stack_settings.require("mlflow"))


@pytest.fixture(scope="session")
def digits(ganlib: Run) -> str:
    """Name of a dataset in the store: scikit-learn's digits."""
    ganlib("dataset", "add", "digits")
    return "digits"


@pytest.fixture(scope="session")
def champion(ganlib: Run, digits: str) -> dict[str, Any]:
    """The output of the tiny run that made the champion of ``digits-wgan``, and its configuration."""
    done = ganlib(*arguments("digits-wgan", TINY))
    return {
        "output": done.stdout + done.stderr,
        "config": json.loads(load_config("digits-wgan", TINY).model_dump_json()),
    }
