"""The record of a run's version in the registry, by which later stages find it; without torch.

The registry holds the truth: a version is looked up there by the record's number, and a record whose version
was deleted, or belongs to another registry, counts as absent.
"""

from __future__ import annotations

from ganlib.errors import DataError, ObjectMissing, UnknownName
from ganlib.names import RUN_TAG
from ganlib.ports import ModelRegistry, ObjectStore
from ganlib.records import RegisteredGenerator
from ganlib.release.tags import CHALLENGER
from ganlib.training.spec import RunSpec


def registered_key(run: str) -> str:
    """Object key of the version that a run was published as, a :class:`RegisteredGenerator`."""
    return f"runs/{run}/registered.json"


def record_registered(store: ObjectStore, run: str, generator: RegisteredGenerator) -> None:
    """Record a run's version once it is published and the challenger."""
    store.put(registered_key(run), generator.to_json().encode())


def find_registered(store: ObjectStore, registry: ModelRegistry, spec: RunSpec) -> RegisteredGenerator | None:
    """The version that a run was published as, if the record has one and the registry still has it."""
    key = registered_key(spec.run)
    try:
        recorded = RegisteredGenerator.from_json(store.get(key), source=key)
        found = registry.resolve(spec.config.model_name, str(recorded.version))
    except (ObjectMissing, UnknownName, DataError):
        return None  # publishing again finds the version, if there is one
    if found.created != recorded.created or found.tags.get(RUN_TAG) != spec.run:
        return None  # numbers begin again at 1 after a model was deleted
    return found.model_copy(update={"alias": CHALLENGER})
