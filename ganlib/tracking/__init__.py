"""Curves, pictures and artifacts of runs in MLflow, spooled on disk while it does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.tracking.mlflow import MlflowTracker as MlflowTracker

__all__ = ["MlflowTracker"]


def __getattr__(name: str) -> Any:
    # Importing mlflow takes seconds; modules here that do without it must not wait for it.
    if name in __all__:
        from ganlib.tracking.mlflow import MlflowTracker

        return MlflowTracker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
