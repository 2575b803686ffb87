"""The version of a dataset that a person means, by the beginning of its digest."""

from __future__ import annotations

from ganlib.data.layout import datasets, unknown_dataset
from ganlib.data.versions import manifest_sizes
from ganlib.errors import ConfigError, UnknownName
from ganlib.ports import ObjectStore

SHOWN = 12
"""Characters of a digest that tell versions apart for people."""


def version_digests(store: ObjectStore, name: str) -> list[str]:
    """Digests of a dataset's versions, sorted, at least one; no manifest is read.

    Raises:
        UnknownName: There is no such dataset, or it has no version.
    """
    # A name with a slash would list what belongs to another dataset.
    digests = list(manifest_sizes(store, name)) if name and "/" not in name else []
    if not digests:
        if name not in datasets(store):
            raise unknown_dataset(store, name)
        raise UnknownName(
            "version of dataset", name, [], f"make one with `ganlib dataset prepare {name} --size 32`"
        )
    return digests


def pick_version(store: ObjectStore, name: str, beginning: str | None) -> str:
    """The digest of the version that begins in this way, or of the only one.

    Raises:
        UnknownName: There is no such dataset, or no version of it begins so.
        ConfigError: Several versions are meant.
    """
    digests = version_digests(store, name)
    found = [digest for digest in digests if digest.startswith(beginning or "")]
    if not found:
        shown = [digest[:SHOWN] for digest in digests]
        raise UnknownName(f"version of dataset {name} that begins with", beginning or "", shown)
    if len(found) > 1:
        listed = ", ".join(digest[:SHOWN] for digest in found[:10]) + (", …" if len(found) > 10 else "")
        meant = "dataset" if beginning is None else f"--version {beginning}: dataset"
        raise ConfigError(
            f"{meant} {name} has {len(found):,} such versions: {listed}; say which one with --version and "
            "the beginning of its digest"
        )
    return found[0]
