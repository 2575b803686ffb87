"""The dataset of a run on a node, and the way that the run takes to it; without torch."""

from __future__ import annotations

from ganlib.data.cache import LocalDataset
from ganlib.data.streaming import bring
from ganlib.data.versions import load_version
from ganlib.data.windows import window_of
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion
from ganlib.settings import Settings
from ganlib.training.spec import RunSpec, read_spec


def open_dataset(settings: Settings, store: ObjectStore, spec: RunSpec) -> LocalDataset:
    """Bring a run's dataset to this machine, or what of it the run needs before it begins.

    Raises as :func:`~ganlib.data.streaming.bring`.
    """
    version = load_version(store, spec.dataset_name, spec.dataset_digest)
    return bring(store, version, settings.cache, limit=settings.cache_bytes, window=spec.window_shards)


def with_window(store: ObjectStore, spec: RunSpec, version: DatasetVersion, settings: Settings) -> RunSpec:
    """A run with the window that its nodes have room for, or with the one that it has begun with.

    Args:
        store: Holds what the run has left, if it was started before.
        spec: The run.
        version: Its dataset.
        settings: Those of whoever starts the run; the nodes have the same bound of the cache.

    Raises:
        ConfigError: The cache is too small.
        DataError: The spec of the run as it was begun is damaged.
    """
    kept = keep_window(store, spec)
    if kept is not None:
        return kept
    window = window_of(version, settings.cache_bytes, batch_size=spec.config.batch_size)
    return spec.model_copy(update={"window_shards": window})


def keep_window(store: ObjectStore, spec: RunSpec) -> RunSpec | None:
    """A run with the window that it has begun with; ``None`` when it has not begun.

    Raises:
        DataError: The spec of the run as it was begun is damaged.
    """
    if not has_begun(store, spec.run):
        return None
    return spec.model_copy(update={"window_shards": read_spec(store, spec.run).window_shards})


def has_begun(store: ObjectStore, run: str) -> bool:
    """Whether a run has left a checkpoint from which it will go on."""
    return any(store.list(f"runs/{run}/checkpoints/"))
