"""Versions of what a Ray node has installed, as labels of the node: ``python -m ganlib.cluster.labels``.

It prints the value of ``ray start --labels``. Ray's dashboard shows a node's labels, so that `ganlib doctor`
can compare every node with its own machine without a job.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

_PREFIX = "ganlib-version-"
_PACKAGES = ("ganlib", "torch")


def installed_versions() -> dict[str, str]:
    """Versions of ganlib, torch and Python in this environment, by name; ``none`` for a package not there.

    Letters that Ray allows in no label are dashes, as in ``2.14.1-cpu``.
    """
    found = {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}
    return {name: re.sub(r"[^A-Za-z0-9_.-]", "-", text) for name, text in found.items()}


def labels_of_versions() -> str:
    """The versions as Ray's command line takes labels: ``NAME=VALUE,NAME=VALUE``."""
    return ",".join(f"{_PREFIX}{name}={text}" for name, text in installed_versions().items())


def versions_of_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The versions by name that a node's labels tell; empty for a node that was started without them."""
    return {name.removeprefix(_PREFIX): text for name, text in labels.items() if name.startswith(_PREFIX)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


if __name__ == "__main__":
    sys.stdout.write(labels_of_versions() + "\n")
