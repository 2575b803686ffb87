"""Parameters of a deployment that somebody set on Prefect's page, kept when it is registered again.

Those that differ from what the registration before had declared, which a variable of Prefect's holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

VARIABLE = "ganlib_declared_parameters"
"""Prefect's variable with the parameters by deployment that were declared last."""


def merged(
    wanted: Mapping[str, Any], present: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The declared parameters, with those that were set on the server since the last registration.

    Args:
        wanted: What is declared now.
        present: What the server has.
        before: What the registration before had declared; ``None``: unknown, and the server's are kept.
    """
    if before is None:
        return {**wanted, **present}
    changed = {name: value for name, value in present.items() if name not in before or before[name] != value}
    removed = {name for name in before if name not in present}
    return {**{name: value for name, value in wanted.items() if name not in removed}, **changed}


def read_declared(client: SyncPrefectClient) -> dict[str, dict[str, Any]]:
    """The parameters by deployment of the last registration; empty when there was none."""
    variable = client.read_variable_by_name(VARIABLE)
    value: Any = None if variable is None else variable.value
    return value if isinstance(value, dict) else {}


def write_declared(client: SyncPrefectClient, parameters: dict[str, dict[str, Any]]) -> None:
    """Note the parameters by deployment that are declared now."""
    value: Any = parameters
    if client.read_variable_by_name(VARIABLE) is None:
        client.create_variable(VariableCreate(name=VARIABLE, value=value))
    else:
        client.update_variable(VariableUpdate(name=VARIABLE, value=value))
