"""Registered generators in MLflow: versions, aliases with their log, exported programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.registry.mlflow import MlflowRegistry as MlflowRegistry

__all__ = ["MlflowRegistry"]


def __getattr__(name: str) -> Any:
    # Importing mlflow takes seconds; modules here that do without it must not wait for it.
    if name in __all__:
        from ganlib.registry.mlflow import MlflowRegistry

        return MlflowRegistry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
