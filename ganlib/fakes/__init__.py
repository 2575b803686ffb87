"""In-memory stores and registry behind :mod:`ganlib.ports`; they pass the real ones' contract tests."""

from ganlib.fakes.stores import MemoryStore, MemoryTracker

__all__ = ["MemoryStore", "MemoryTracker"]
