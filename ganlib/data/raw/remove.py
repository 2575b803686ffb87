"""Removing a dataset: its raw objects and, when asked to, its prepared versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from ganlib.data.layout import DESCRIPTION, raw_prefix, unknown_dataset
from ganlib.data.threads import TRANSFER_THREADS, ordered_map
from ganlib.errors import DataError, GanlibError
from ganlib.names import Sha256
from ganlib.ports import ObjectStore
from ganlib.records import Record


class Removal(Record):
    """The objects to remove with a dataset, before or after they were."""

    name: str
    raw: tuple[str, ...]
    """Keys of raw objects."""
    prepared: tuple[str, ...] = ()
    """Keys of objects of prepared versions."""
    versions: tuple[Sha256, ...] = ()
    """Digests of the versions that go."""
    kept: tuple[Sha256, ...] = ()
    """Digests of the versions that stay."""


def plan_removal(store: ObjectStore, name: str, *, versions: bool = False, used: bool = False) -> Removal:
    """List the objects that removing a dataset takes away; nothing is removed.

    Args:
        store: Holds the dataset.
        name: The dataset.
        versions: Whether its prepared versions go as well.
        used: Whether that includes versions that runs or sweeps refer to.

    Raises:
        UnknownName: There is neither a raw dataset nor a version of this name.
    """
    raw: tuple[str, ...] = ()
    by_digest: dict[str, list[str]] = {}
    if name and "/" not in name:
        raw = tuple(info.key for info in store.list(raw_prefix(name)))
        found = re.compile(re.escape(f"datasets/{name}/") + r"([0-9a-f]{64})/.+", re.DOTALL)
        for info in store.list(f"datasets/{name}/"):
            if match := found.fullmatch(info.key):
                by_digest.setdefault(match[1], []).append(info.key)
    if not raw and not by_digest:
        raise unknown_dataset(store, name)
    going = set(by_digest) if versions else set[str]()
    if going and not used:
        going -= _referred_to(store, going)
    return Removal(
        name=name,
        raw=raw,
        prepared=tuple(key for digest in sorted(going) for key in by_digest[digest]),
        versions=tuple(sorted(going)),
        kept=tuple(sorted(by_digest.keys() - going)),
    )


ModelsTrainedOn = Callable[[str, Collection[str]], Sequence[str]]
"""Gives the registered models, as people name them, that were trained on the dataset of this name or on
versions with these digests."""


def require_unused(removal: Removal, models_trained_on: ModelsTrainedOn) -> None:
    """Refuse a removal while a registered model was trained on the dataset.

    Args:
        removal: The plan.
        models_trained_on: Asks the registry.

    Raises:
        DataError: Models were, or the registry cannot be asked.
    """
    try:
        models = models_trained_on(removal.name, (*removal.versions, *removal.kept))
    except GanlibError as error:
        raise DataError(
            f"nothing was removed: whether models were trained on dataset {removal.name} cannot be "
            f"asked ({error}); repeat it when they can be asked, or give --force"
        ) from error
    if models:
        raise DataError(
            f"nothing was removed: registered models were trained on dataset {removal.name}: "
            f"{', '.join(models)}; keep it, so that they can be trained and judged again, or give --force"
        )


def remove_dataset(store: ObjectStore, removal: Removal) -> None:
    """Remove the objects of a plan. Interrupted, it is finished by planning and removing again."""
    description = raw_prefix(removal.name) + DESCRIPTION
    manifests = [key for key in removal.prepared if key.endswith("/manifest.json")]
    # These go first: a dataset exists while it has a description, and a version while it has a manifest.
    first = [key for key in removal.raw if key == description] + manifests
    rest = [key for key in (*removal.raw, *removal.prepared) if key not in set(first)]
    for keys in (first, _entries(store, removal), rest):
        for _ in ordered_map(store.delete, keys, threads=TRANSFER_THREADS, name="ganlib-remove"):
            pass


def _referred_to(store: ObjectStore, digests: set[str]) -> set[str]:
    """Digests that stand in the specification of a run or a sweep, whatever version of ganlib wrote it."""
    used: set[str] = set()
    for prefix in ("runs/", "sweeps/"):
        for info in store.list(prefix):
            if info.key.count("/") == 2 and info.key.endswith("/spec.json"):
                text = store.get(info.key)
                used |= {digest for digest in digests if digest.encode() in text}
    return used


def _entries(store: ObjectStore, removal: Removal) -> list[str]:
    """Keys of all that stands beside the versions that go: reports, rows, and what preparations left."""
    if not removal.versions:
        return []
    prefix = f"datasets/{removal.name}/"
    keys = [info.key for info in store.list(f"{prefix}preparing/")]
    for folder in ("prepared/", "latest/"):
        for info in store.list(f"{prefix}{folder}"):
            if info.key.endswith(".json"):
                text = store.get(info.key)
                if any(digest.encode() in text for digest in removal.versions):
                    keys += [info.key, f"{info.key.removesuffix('.json')}.parquet"]
    return keys
