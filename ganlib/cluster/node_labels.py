"""Versions and shared memory of a Ray node as its labels: ``python -m ganlib.cluster.node_labels``.

It prints the value of ``ray start --labels``. Ray's dashboard shows a node's labels, so that `ganlib doctor`
can compare every node with its own machine without a job.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PREFIX = "ganlib-version-"
_SHARED_MEMORY = "ganlib-shared-memory-mib"
_PACKAGES = ("ganlib", "torch")
_FOLDER = Path("/dev/shm")  # noqa: S108 - its size is read


def installed_versions() -> dict[str, str]:
    """Versions of ganlib, torch and Python in this environment, by name; ``none`` for a package not there.

    Letters that Ray allows in no label are dashes, as in ``2.14.1-cpu``.
    """
    found = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
    return {name: re.sub(r"[^A-Za-z0-9_.-]", "-", text) for name, text in found.items()}


def node_labels() -> str:
    """Labels of a node here, as Ray's command line takes them: ``NAME=VALUE,NAME=VALUE``."""
    labels = {f"{_PREFIX}{name}": text for name, text in installed_versions().items()}
    if _FOLDER.is_dir():
        labels[_SHARED_MEMORY] = str(shutil.disk_usage(_FOLDER).total // 2**20)
    return ",".join(f"{name}={text}" for name, text in labels.items())


def versions_of_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The versions by name that a node's labels tell; empty for a node that was started without them."""
    return {name.removeprefix(_PREFIX): text for name, text in labels.items() if name.startswith(_PREFIX)}


def shared_memory_of_labels(labels: Mapping[str, str]) -> int | None:
    """Bytes of a node's shared memory; ``None`` for a node that does not tell.

    Raises:
        ValueError: The label is no number.
    """
    text = labels.get(_SHARED_MEMORY)
    return None if text is None else int(text) * 2**20


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


if __name__ == "__main__":
    sys.stdout.write(node_labels() + "\n")
