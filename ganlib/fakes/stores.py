"""In-memory stand-ins for the protocols of :mod:`ganlib.ports`, for tests and for looking around.

They behave as the real ones do (``tests/contracts`` puts both through the same cases) and keep
what they were given in public attributes, so that a test can look.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.cluster.metrics import Metric
from ganlib.errors import ObjectMissing, RequestRefused
from ganlib.fakes.registry import MemoryRegistry
from ganlib.ports import ObjectInfo, ObjectStore, RunStart, RunStatus, check_picture, range_refused

if TYPE_CHECKING:
    import numpy as np

_PIECE_BYTES = 2**20

__all__ = ["MemoryMetrics", "MemoryRegistry", "MemoryRun", "MemoryStore", "MemoryTracker"]


class MemoryStore:
    """An :class:`~ganlib.ports.ObjectStore` in a dictionary; safe to use from several threads."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        """Stored bytes by key."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes, or a file's content."""
        self.objects[key] = data.read_bytes() if isinstance(data, Path) else bytes(data)

    def copy(self, key: str, source: ObjectStore, info: ObjectInfo) -> None:
        """Store a copy of an object. Raises ``ObjectMissing`` and ``DataError``."""
        self.put(key, source.get_range(info.key, 0, info.size, etag=info.etag) if info.size else b"")

    def get(self, key: str) -> bytes:
        """An object's bytes. Raises :class:`~ganlib.errors.ObjectMissing`."""
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectMissing(key) from None

    def get_range(self, key: str, start: int, length: int, *, etag: str = "") -> bytes:
        """Part of an object's bytes. Raises ``ObjectMissing`` and ``DataError``."""
        data = self.get(key)
        if etag and etag != hashlib.sha256(data).hexdigest():
            raise range_refused(key, start, replaced=True)
        if start >= len(data):
            raise range_refused(key, start, replaced=False)
        return data[start : start + length]

    def stream(self, key: str, start: int, length: int) -> Generator[bytes, None, None]:
        """Part of an object in pieces. Raises ``ObjectMissing`` and ``DataError``."""
        data = self.get_range(key, start, length)
        for offset in range(0, len(data), _PIECE_BYTES):
            yield data[offset : offset + _PIECE_BYTES]

    def download(self, key: str, path: Path) -> None:
        """Write an object to a file. Raises ``ObjectMissing``."""
        data = self.get(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, folder by folder as SeaweedFS lists them."""
        for key, data in sorted(self.objects.items(), key=lambda item: item[0].split("/")):
            if key.startswith(prefix):
                yield ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest())

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self.objects.pop(key, None)


@dataclass
class MemoryRun:
    """A run as :class:`MemoryTracker` keeps it."""

    start: RunStart
    params: dict[str, str]
    tags: dict[str, str]
    status: RunStatus | None = None
    """``None`` while it runs."""
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Points (images seen, value) by metric name."""
    images: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    """Pictures by (key, images seen)."""
    artifacts: dict[str, bytes] = field(default_factory=dict)
    description: str = ""


class MemoryTracker:
    """A :class:`~ganlib.ports.RunTracker` in a dictionary; safe to use from several threads."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        """Runs by id."""
        self._lock = threading.Lock()

    def start(self, run: RunStart) -> str:
        """Begin a run, or continue the one of that experiment and name; returns its id.

        A continued run keeps the parameters it has; tags take their new values.
        """
        with self._lock:
            for run_id, known in self.runs.items():
                if (known.start.experiment, known.start.name) == (run.experiment, run.name):
                    known.status = None
                    known.params = {**run.params, **known.params}
                    known.tags.update(run.tags)
                    known.artifacts.update(run.files)
                    return run_id
            run_id = f"run-{len(self.runs) + 1}"
            tags = {**run.tags, "ganlib.run": run.name}
            if run.parent:
                tags["mlflow.parentRunId"] = run.parent
            self.runs[run_id] = MemoryRun(
                start=run, params=dict(run.params), tags=tags, artifacts=dict(run.files)
            )
            return run_id

    def metrics(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Log values at ``step`` images; a metric already logged at or after ``step`` is left alone."""
        self.points(run_id, [(step, values)])

    def points(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log values at several steps, in order, as :meth:`metrics` does."""
        with self._lock:
            metrics = self._run(run_id).metrics
            for step, values in points:
                for name, value in values.items():
                    curve = metrics.setdefault(name, [])
                    if not curve or step > curve[-1][0]:
                        curve.append((step, float(value)))

    def image(self, run_id: str, key: str, step: int, image: np.ndarray) -> None:
        """Log a picture, uint8 [height, width] or [height, width, 3], once per key and step."""
        check_picture(image)
        with self._lock:
            self._run(run_id).images.setdefault((key, step), image.copy())

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """Attach a file to the run under ``path``."""
        with self._lock:
            self._run(run_id).artifacts[path] = bytes(data)

    def describe(self, run_id: str, markdown: str) -> None:
        """Replace the text that the run's page shows."""
        with self._lock:
            self._run(run_id).description = markdown

    def finish(self, run_id: str, status: RunStatus) -> None:
        """End a run."""
        with self._lock:
            self._run(run_id).status = status

    def _run(self, run_id: str) -> MemoryRun:
        try:
            return self.runs[run_id]
        except KeyError:
            raise RequestRefused(
                "mlflow", "memory", "GANLIB_MLFLOW_URI", f"it has no run {run_id!r}"
            ) from None


class MemoryMetrics:
    """Remembers every live number of a run, in the order in which it was told."""

    def __init__(self) -> None:
        self.told: dict[Metric, list[float]] = {}

    def set(self, values: Mapping[Metric, float]) -> None:
        """Remember the numbers."""
        for metric, value in values.items():
            self.told.setdefault(metric, []).append(value)
