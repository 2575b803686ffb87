from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from doctor_services import World, deployment, nightly, node

from ganlib.cluster.node_labels import installed_versions, node_labels, versions_of_labels
from ganlib.config.run import load_config
from ganlib.doctor.cluster_nodes import look_at_room
from ganlib.doctor.this_machine import look_at_machine
from ganlib.settings import load_settings


@pytest.mark.parametrize(
    ("resources", "device", "state"),
    [
        ({"CPU": 1.0}, "auto", "broken"),
        ({"CPU": 2.0}, "auto", "ok"),
        ({"CPU": 8.0}, "cuda", "broken"),
        ({"CPU": 8.0, "GPU": 1.0}, "auto", "warning"),
        ({"CPU": 8.0, "GPU": 1.0}, "cpu", "ok"),
        ({"CPU": 8.0, "GPU": 2.0}, "cuda", "ok"),
    ],
)
def test_room_is_compared_with_what_a_run_asks_for(
    tmp_path: Path, resources: dict[str, float], device: str, state: str
) -> None:
    environ = {"GANLIB_HOME": str(tmp_path)}
    config = load_config("digits-wgan", {"compute.workers": 2, "compute.device": device})
    finding = look_at_room(
        load_settings(environ), [node(raylet={"resourcesTotal": resources})], config, "recipe digits-wgan"
    )
    assert finding.state == state
    assert f"asks for 2 workers on {device}" in finding.seen


def test_a_cluster_that_grows_has_the_room_that_it_grows_to(tmp_path: Path) -> None:
    config = load_config("digits-wgan", {"compute.workers": 2, "compute.device": "cuda"})
    environ = {"GANLIB_HOME": str(tmp_path), "GANLIB_RAY_MOST_GPUS": "8", "GANLIB_RAY_MOST_CPUS": "16"}
    nodes = [node(raylet={"resourcesTotal": {"CPU": 0.0}})]
    assert look_at_room(load_settings(environ), nodes, config, "recipe digits-wgan").state == "ok"


def test_all_nodes_together_make_room(look, world: World) -> None:
    world.deployments[0] = deployment(
        "nightly",
        [nightly()],
        parameters={"recipe": "fashion-mnist-wgan", "overrides": {"compute.workers": 8}},
    )
    assert look()["ray", "room"].state == "broken"
    world.nodes = [node("one"), node("two"), node("gone", raylet={"state": "DEAD"})]
    assert look()["ray", "room"].state == "ok"
    assert look(recipe="digits-wgan")["ray", "room"].seen.startswith("8 CPUs and 0 GPUs; recipe digits-wgan")


def test_a_cluster_without_nodes_is_broken(look, world: World) -> None:
    world.nodes = [node(raylet={"state": "DEAD"})]
    assert look()["ray", "nodes"].state == "broken"


@pytest.mark.parametrize(
    ("name", "installed", "state"),
    [
        ("ganlib", "0.0.9", "broken"),
        ("torch", "1.13.1", "broken"),
        ("torch", f"{installed_versions()['torch']}-cu126", "warning"),
        ("python", "3.9.1", "broken"),
    ],
)
def test_a_node_with_other_versions_is_told(
    name: str, installed: str, state: str, look, world: World
) -> None:
    labels = {**node()["raylet"]["labels"], f"ganlib-version-{name}": installed}
    world.nodes = [node("same"), node("other", raylet={"labels": labels})]
    finding = look()["ray", "versions"]
    assert finding.state == state
    assert "node other" in finding.seen
    assert f"{name} {installed}" in finding.seen
    assert f"{name} {installed_versions()[name]}" in finding.remedy


@pytest.mark.parametrize(("store", "state"), [(2**25, "ok"), (2**27, "warning")])
def test_shared_memory_must_hold_the_object_store(store: int, state: str, look, world: World) -> None:
    labels = {**node()["raylet"]["labels"], "ganlib-shared-memory-mib": "64"}
    resources = {"CPU": 4.0, "objectStoreMemory": float(store)}
    world.nodes = [node(raylet={"labels": labels, "resourcesTotal": resources})]
    finding = look()["ray", "shared memory"]
    assert finding.state == state
    assert "64 MiB" in finding.seen


def test_a_node_that_does_not_tell_its_versions_is_skipped(look, world: World) -> None:
    world.nodes = [node(raylet={"labels": {"ray.io/node-id": "1"}})]
    finding = look()["ray", "versions"]
    assert finding.state == "skipped"
    assert "ganlib.cluster.node_labels" in finding.seen


def test_ray_takes_the_labels_and_they_are_read_back() -> None:
    from ray._private.label_utils import parse_node_labels_string

    assert versions_of_labels(parse_node_labels_string(node_labels())) == installed_versions()


@pytest.mark.parametrize(
    ("disk", "state"),
    [
        ({"/": {"total": 10**12, "free": 10**8}}, "broken"),
        ({"/": {"total": 10**12, "free": 5 * 10**9}, "/ray": {"total": 10**12, "free": 10**11}}, "warning"),
        ({"/": {"total": 1, "free": 1}}, "skipped"),
        (None, "skipped"),
    ],
)
def test_the_fullest_disk_of_a_node_counts(
    disk: dict[str, dict[str, int]] | None, state: str, look, world: World
) -> None:
    world.nodes = [node(disk=disk)]
    assert look()["ray", "disk"].state == state


def test_disk_and_shared_memory_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings({"GANLIB_HOME": str(tmp_path / "not-yet")})
    small = SimpleNamespace(total=64 * 2**20, free=64 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: small)
    disk, shared = look_at_machine(settings, shared_memory=tmp_path)
    assert (disk.state, shared.state) == ("broken", "warning")
    assert str(settings.home) in disk.seen
    assert "64 MiB" in shared.seen
    elsewhere = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_RAY_ADDRESS": "http://ray:8265"})
    assert [one.check for one in look_at_machine(elsewhere, shared_memory=tmp_path)] == ["disk"]
