"""The names under which a sweep is found again, and where in the object store its parts lie."""

from __future__ import annotations

from ganlib.config.run import name_of
from ganlib.sweep.config import SweepConfig


def sweep_name(config: SweepConfig, dataset_digest: str, request: str) -> str:
    """A sweep's name. Raises as :func:`~ganlib.config.run.name_of`."""
    return name_of(config.base.recipe, dataset_digest, config.digest, request)


def trial_run_name(sweep: str, number: int) -> str:
    """Run name of a trial; what it trains may change in mid-run, its name does not."""
    return f"{sweep}-trial-{number:03d}"


def sweep_spec_key(sweep: str) -> str:
    """Where a sweep's specification lies."""
    return f"sweeps/{sweep}/spec.json"


def sweep_result_key(sweep: str) -> str:
    """Where a sweep's :class:`~ganlib.sweep.records.SweepResult` lies; rewritten as trials change."""
    return f"sweeps/{sweep}/result.json"


def sweep_state_key(sweep: str) -> str:
    """Where a sweep's job keeps what it needs to go on."""
    return f"sweeps/{sweep}/state.json"


def sweep_plan_key(sweep: str) -> str:
    """Where a sweep's :class:`~ganlib.sweep.records.SweepPlan` lies."""
    return f"sweeps/{sweep}/plan.json"
