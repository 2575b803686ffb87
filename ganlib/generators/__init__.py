"""Registered generators as their users load them: fetch, cache, sample, write to files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.generators.loaded import LoadedGenerator as LoadedGenerator

__all__ = ["LoadedGenerator"]


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; modules here that do without it must not wait for it.
    if name in __all__:
        from ganlib.generators.loaded import LoadedGenerator

        return LoadedGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
