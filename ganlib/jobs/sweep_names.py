"""The names under which a sweep is found again, and where in the object store its parts lie."""

from __future__ import annotations

from ganlib.config import check_request
from ganlib.sweep_config import SweepConfig


def sweep_name(config: SweepConfig, dataset_digest: str, request: str) -> str:
    """The name under which a sweep is found again: recipe, dataset, the sweep itself, request.

    The same four give the same name, and the same name means: go on with it.

    Raises:
        ConfigError: ``request`` is not 1 to 32 lower-case letters, digits and dashes.
    """
    check_request(request)
    return f"{config.base.recipe}-{dataset_digest[:8]}-{config.digest[:8]}-{request}"


def trial_run_name(sweep: str, number: int) -> str:
    """Run name of a trial; what it trains may change in mid-run, its name does not."""
    return f"{sweep}-trial-{number:03d}"


def sweep_spec_key(sweep: str) -> str:
    """Where a sweep's specification lies."""
    return f"sweeps/{sweep}/spec.json"


def sweep_result_key(sweep: str) -> str:
    """Where a sweep's :class:`~ganlib.sweep_records.SweepResult` lies; rewritten as trials change."""
    return f"sweeps/{sweep}/result.json"


def sweep_state_key(sweep: str) -> str:
    """Where a sweep's job keeps what it needs to go on."""
    return f"sweeps/{sweep}/state.json"


def sweep_plan_key(sweep: str) -> str:
    """Where a sweep's :class:`~ganlib.sweep_records.SweepPlan` lies."""
    return f"sweeps/{sweep}/plan.json"
