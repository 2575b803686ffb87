"""The machine that doctor runs on: its disks and its shared memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ganlib.doctor.cluster_nodes import disk_finding
from ganlib.doctor.finding import Finding, Topic
from ganlib.settings import Settings
from ganlib.stack.ray_head import RAY_OBJECT_STORE_BYTES

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - its size is read


def look_at_machine(settings: Settings, shared_memory: Path = SHARED_MEMORY) -> Iterator[Finding]:
    """Look at the disks of home and cache, and at the shared memory that the embedded Ray uses."""
    home, cache = _present(settings.home), _present(settings.cache)
    same = home.stat().st_dev == cache.stat().st_dev
    for path in (settings.home,) if same else (settings.home, settings.cache):
        yield disk_finding(Topic("disk", "machine"), str(path), shutil.disk_usage(_present(path)).free)
    if "ray" not in settings.own and shared_memory.is_dir():
        yield _shared(shared_memory)


def _present(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _shared(folder: Path) -> Finding:
    topic, total = Topic("shared memory", "machine"), shutil.disk_usage(folder).total
    seen = (
        f"{folder}: {total / 2**20:,.0f} MiB, and Ray keeps {RAY_OBJECT_STORE_BYTES / 2**20:,.0f} MiB there"
    )
    if total < RAY_OBJECT_STORE_BYTES:
        return topic.warning(seen, "raise it (--shm-size of a container): Ray uses the slow disk instead")
    return topic.ok(seen)
