"""Moving aliases and looking at versions: the registry on MLflow and its fake, for the same cases."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from ganlib.errors import AliasMoved, ConfigError, RegistryError, UnknownName
from ganlib.fakes.stores import MemoryRegistry
from ganlib.ports import ModelRegistry, Publication
from ganlib.registry.aliases import folded, rollback_target
from ganlib.settings import Settings

LATENT = 4

HIDDEN = "tags.`mlflow.prompt.is_prompt` = 'true'"


class Small(nn.Module):
    """[batch, 4] to [batch, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(LATENT, 64)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.net(latents)).unflatten(1, (1, 8, 8))


FILES = {"evaluation.json": b"{}", "grid.png": b"no picture"}


def publish(registered, name: str, versions: int) -> ModelRegistry:
    """A model with so many versions."""
    for number in range(1, versions + 1):
        registered.registry.publish(
            Publication(
                model=name,
                run=f"run-{number}",
                tracking_run_id=registered.tracking_run_id,
                generator=Small().eval(),
                latent_dim=LATENT,
                tags={"ganlib.value": str(number)},
                files=FILES,
                description="# A card",
            )
        )
    registry: ModelRegistry = registered.registry
    return registry


def make_versions(settings: Settings, name: str, count: int) -> None:
    """Versions without files, as anybody with access to MLflow can make them."""
    from ganlib.tracking.server import MlflowConnection

    with MlflowConnection(settings).client() as client:
        client.create_registered_model(name)
        for _ in range(count):
            client.create_model_version(name, "s3://nowhere/at-all", await_creation_for=0)


def bare(registered, name: str, versions: int) -> ModelRegistry:
    """A model with so many versions, about whose files nobody asks."""
    if isinstance(registered.registry, MemoryRegistry):
        return publish(registered, name, versions)
    make_versions(registered.settings, name, versions)
    registry: ModelRegistry = registered.registry
    return registry


def move(registry: ModelRegistry, name: str, version: int, expected: int | None, who: str = "anna@host"):
    return registry.move(name, "champion", version, expected=expected, who=who, why=f"to {version}")


def test_versions_come_newest_first_with_tags_and_aliases(registered, name: str) -> None:
    registry = bare(registered, name, 3)
    move(registry, name, 2, None)
    registry.move(name, "challenger", 2, expected=None, who="a", why="b")
    registry.tag(name, 2, {"ganlib.gate.promoted": "true", "ganlib.value": "2.5"})
    versions = registry.versions(name)
    assert [found.version for found in versions] == [3, 2, 1]
    assert [found.aliases for found in versions] == [(), ("challenger", "champion"), ()]
    assert versions[1].tags["ganlib.gate.promoted"] == "true"
    assert versions[1].tags["ganlib.value"] == "2.5"
    assert versions[1] == registry.resolve(name, "2")
    assert registry.resolve(name, "champion") == versions[1].model_copy(update={"alias": "champion"})
    assert all(found.created.startswith("20") for found in versions)


def test_files_come_back_as_published_and_a_download_is_whole(registered, name: str, tmp_path: Path) -> None:
    registry = publish(registered, name, 1)
    made = registry.resolve(name, "1")
    assert registry.files(made) == FILES
    registry.download(made, tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"data/model.pt2", "files.json", "files/grid.png", "files/evaluation.json"} <= names


def test_a_move_is_recorded_and_a_wrong_expectation_is_refused(registered, name: str) -> None:
    registry = bare(registered, name, 3)
    assert registry.history(name) == []
    first = move(registry, name, 1, None)
    second = move(registry, name, 2, 1, "berta@host")
    with pytest.raises(AliasMoved, match=r"berta@host.*to 2"):
        move(registry, name, 3, 1)
    history = registry.history(name)
    assert history[:2] == [first, second]
    assert (history[2].effective, history[2].version, history[2].who) == (False, 3, "anna@host")
    assert registry.resolve(name, "champion").version == 2
    assert (second.previous, second.version, second.why, second.kind) == (1, 2, "to 2", "move")


def test_rolling_back_twice_goes_two_back(registered, name: str) -> None:
    registry = bare(registered, name, 3)
    for version in (1, 2, 3):
        move(registry, name, version, version - 1 or None)
    for present, expected in ((3, 2), (2, 1)):
        target = rollback_target(name, registry.history(name), "champion", present)
        assert target == expected
        registry.move(
            name, "champion", target, expected=present, who="anna", why="it makes blots", kind="rollback"
        )
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        rollback_target(name, registry.history(name), "champion", 1)


def test_what_cannot_be_moved_or_tagged_is_refused_before_anything_changes(registered, name: str) -> None:
    registry = bare(registered, name, 1)
    for model, version, error in ((name, 2, UnknownName), (f"{name}x", 1, UnknownName)):
        with pytest.raises(error):
            move(registry, model, version, None)
    with pytest.raises(ConfigError, match="why"):
        registry.move(name, "champion", 1, expected=None, who="anna", why=" ")
    with pytest.raises(UnknownName):
        registry.tag(name, 2, {"a": "b"})
    for tags in ({"a b": "c"}, {"a": "x" * 5001}):
        with pytest.raises(ConfigError, match="tag"):
            registry.tag(name, 1, tags)
    for ask in (registry.versions, registry.history):
        with pytest.raises(UnknownName, match="no model"):
            ask(f"{name}x")
    assert registry.history(name) == []
    assert f"{name}.moves" not in registry.models()


def test_the_log_of_moves_cannot_be_asked_for_as_a_model(registered, name: str) -> None:
    registry = bare(registered, name, 1)
    move(registry, name, 1, None)
    log = f"{name}.moves"
    assert name in registry.models()
    assert log not in registry.models()
    for ask in (registry.versions, registry.history, lambda model: registry.resolve(model, "1")):
        with pytest.raises(UnknownName, match="no model"):
            ask(log)
    with pytest.raises(UnknownName):
        move(registry, log, 1, None)


def test_of_many_movers_at_once_exactly_one_wins(registered, name: str) -> None:
    movers = 8
    registry = bare(registered, name, 2)
    move(registry, name, 1, None)
    start, won, lost, other = threading.Barrier(movers), [], [], []

    def run(number: int) -> None:
        start.wait()
        try:
            won.append(move(registry, name, 2, 1, f"mover {number}"))
        except AliasMoved as error:
            lost.append(error)
        except Exception as error:
            other.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(movers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not other
    assert (len(won), len(lost)) == (1, movers - 1)
    history = registry.history(name)
    assert {found.who for found in history[1:]} == {f"mover {number}" for number in range(movers)}
    assert [found.effective for found in history[1:]].count(True) == 1
    assert all(found.kind == "move" for found in history)
    assert registry.resolve(name, "champion").version == folded(history, "champion") == 2


# The rest is about MLflow alone.

MOVER = """
import sys
from ganlib.errors import AliasMoved
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.settings import load_settings

name, who = sys.argv[1:]
registry = MlflowRegistry(load_settings())
registry.versions(name)
print("ready", flush=True)
sys.stdin.readline()
moved = 0
while moved < 5:
    present = registry.resolve(name, "champion").version
    try:
        registry.move(name, "champion", 3 - present, expected=present, who=who, why="to and fro")
        moved += 1
    except AliasMoved:
        pass
print("moved", flush=True)
"""


@pytest.mark.services
def test_processes_that_move_to_and_fro_lose_no_move(settings: Settings, stack_environ, name: str) -> None:
    from ganlib.registry.mlflow import MlflowRegistry

    registry = MlflowRegistry(settings)
    make_versions(settings, name, 2)
    move(registry, name, 1, None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MOVER, name, f"process {number}"],
            env=stack_environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [process.communicate(timeout=120)[0] for process in processes] == ["moved\n"] * 2
    finally:
        for process in processes:
            process.kill()
    moves = [found for found in registry.history(name) if found.effective][1:]
    assert sorted(found.who for found in moves) == ["process 0"] * 5 + ["process 1"] * 5
    assert {found.kind for found in moves} == {"move"}
    before = 1
    for found in moves:
        assert (found.previous, found.version) == (before, 3 - before)
        before = 3 - before
    assert registry.resolve(name, "champion").version == before


@pytest.mark.services
def test_an_alias_moved_in_mlflows_own_pages_is_recorded_by_the_next_move(
    settings: Settings, name: str
) -> None:
    from ganlib.registry.mlflow import MlflowRegistry
    from ganlib.tracking.server import MlflowConnection

    registry = MlflowRegistry(settings)
    make_versions(settings, name, 3)
    move(registry, name, 1, None)
    with MlflowConnection(settings).client() as client:
        client.set_registered_model_alias(name, "champion", "3")
    with pytest.raises(AliasMoved, match="unknown"):
        move(registry, name, 2, 1)
    assert registry.resolve(name, "champion").version == 3
    move(registry, name, 2, 3)
    found = [
        (each.kind, each.who, each.previous, each.version)
        for each in registry.history(name)
        if each.effective
    ]
    assert found[1:] == [("found", "unknown", 1, 3), ("move", "anna@host", 3, 2)]


@pytest.mark.services
def test_a_version_whose_files_are_gone_or_altered_is_refused(
    registered_mlflow, settings: Settings, name: str, tmp_path: Path
) -> None:
    from ganlib.storage import open_prefix
    from ganlib.tracking.server import MlflowConnection

    registry = publish(registered_mlflow, name, 2)
    with MlflowConnection(settings).client() as client:
        models = [client.get_model_version(name, str(number)).source.rpartition("/")[2] for number in (1, 2)]
    store = open_prefix(settings, f"s3://{settings.s3_bucket}/mlflow")
    keys = [found.key for found in store.list("")]
    altered = next(key for key in keys if models[0] in key and key.endswith("grid.png"))
    store.put(altered, b"another picture")
    for key in keys:
        if models[1] in key:
            store.delete(key)
    for number, words in (("1", "grid.png has another digest"), ("2", "cannot be fetched")):
        made = registry.resolve(name, number)
        for ask in (registry.load, registry.files, lambda found: registry.download(found, tmp_path)):
            with pytest.raises(RegistryError, match=words):
                ask(made)
    assert not list(tmp_path.iterdir())


@pytest.mark.services
def test_the_card_shows_in_mlflow(registered_mlflow, settings: Settings, name: str) -> None:
    from ganlib.tracking.server import MlflowConnection

    registry = publish(registered_mlflow, name, 1)
    move(registry, name, 1, None)
    with MlflowConnection(settings).client() as client:
        assert client.get_model_version(name, "1").description == "# A card"
        registry.describe(name, 1, "# Another" + "!" * 9000)
        assert client.get_model_version(name, "1").description.startswith("# Another!")
        # MLflow finds a log under its name only for those who ask for what is hidden.
        [log] = client.search_registered_models(f"name = '{name}.moves' AND {HIDDEN}")
        entry = client.get_model_version(f"{name}.moves", "1")
    assert "It is no model" in log.description
    assert entry.description == "move: champion to version 1, by anna@host: to 1"


@pytest.mark.services
def test_a_log_is_not_in_mlflows_list_of_models(registered_mlflow, settings: Settings, name: str) -> None:
    from ganlib.tracking.server import MlflowConnection

    registry = publish(registered_mlflow, name, 1)
    move(registry, name, 1, None)
    with MlflowConnection(settings).client() as client:
        ours = f"name LIKE '{name}%'"
        assert [found.name for found in client.search_registered_models(ours)] == [name]
        # As earlier versions of ganlib left it:
        client.delete_prompt_tag(f"{name}.moves", "mlflow.prompt.is_prompt")
        assert len(client.search_registered_models(ours)) == 2
        assert [made.version for made in registry.history(name)] == [1]
        registry.move(name, "challenger", 1, expected=None, who="anna@host", why="again")
        assert [found.name for found in client.search_registered_models(ours)] == [name]
    assert [made.alias for made in registry.history(name)] == ["champion", "challenger"]
    assert f"{name}.moves" not in registry.models()
