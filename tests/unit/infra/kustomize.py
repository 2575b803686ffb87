"""The objects that `kubectl kustomize` makes of a folder, as far as ``infra/kubernetes`` needs it.

It knows ``resources``, ``namespace`` and patches of the form of RFC 6902 (``add`` only). It refuses
everything else by name, so that a test never passes over something that Kubernetes would see.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "resources", "patches"}
CLUSTER_WIDE = {"Namespace"}


class NotUnderstood(Exception):
    """A kustomization uses something that this module does not know."""


def build(folder: Path) -> list[Object]:
    """Return the objects of a kustomization, patched."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := set(kustomization) - KNOWN:
        raise NotUnderstood(f"{folder / 'kustomization.yaml'}: {', '.join(sorted(unknown))}")
    objects: list[Object] = []
    for resource in kustomization.get("resources", []):
        path = folder / resource
        objects += build(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    if namespace := kustomization.get("namespace"):
        for found in objects:
            if found["kind"] not in CLUSTER_WIDE:
                found["metadata"]["namespace"] = namespace
    for patch in kustomization.get("patches", []):
        if set(patch) != {"path", "target"}:
            raise NotUnderstood(f"a patch with {', '.join(sorted(patch))}")
        [target] = [found for found in objects if matches(found, patch["target"])]
        for operation in yaml.safe_load((folder / patch["path"]).read_text()):
            add(target, operation)
    return objects


def matches(found: Object, target: dict[str, str]) -> bool:
    """Whether a patch's target is this object; it must name all four, the group only where there is one."""
    group, _, version = found["apiVersion"].rpartition("/")
    mine = {"group": group, "version": version, "kind": found["kind"], "name": found["metadata"]["name"]}
    if not group:
        del mine["group"]
    if set(target) not in ({"version", "kind", "name"}, {"group", "version", "kind", "name"}):
        raise NotUnderstood(f"a target with {', '.join(sorted(target))}")
    return mine == target


def add(found: Object, operation: dict[str, Any]) -> None:
    """Apply an ``add`` in place."""
    if set(operation) != {"op", "path", "value"} or operation["op"] != "add":
        raise NotUnderstood(f"the operation {operation.get('op')}")
    *parents, last = operation["path"].lstrip("/").split("/")
    place: Any = found
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    value = copy.deepcopy(operation["value"])
    if isinstance(place, list):
        place.insert(len(place) if last == "-" else int(last), value)
    else:
        place[last] = value
