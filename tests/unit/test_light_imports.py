"""Imports that a command must not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "mlflow", "scipy", "sklearn", "matplotlib")


@pytest.mark.parametrize("module", ["ganlib.cli.main", pytest.param("flows.retrain", marks=pytest.mark.slow)])
def test_what_runs_before_anything_is_trained_imports_nothing_that_computes(module: str) -> None:
    program = f"import {module}, sys; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
