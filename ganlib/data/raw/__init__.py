"""Raw pictures: listing a source, adding it to the object store, downloading the known datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.data.raw.add import add_dataset as add_dataset

__all__ = ["add_dataset"]


def __getattr__(name: str) -> Any:
    # Imported late: it needs :mod:`ganlib.data.layout`, which needs :mod:`ganlib.data.raw.known`.
    if name in __all__:
        from ganlib.data.raw.add import add_dataset

        return add_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
