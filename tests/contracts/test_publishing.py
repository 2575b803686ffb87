"""One run has one version, whoever publishes it, wherever a publisher dies, and whatever was deleted."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganlib.errors import ConfigError, RegistryError, UnknownName
from ganlib.fakes.registry import MemoryClaims, MemoryRegistry
from ganlib.ports import ModelRegistry, Publication, RunStart
from ganlib.registry.inputs import classes_of
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.settings import Settings

LATENT = 3
FILES = {"grid.png": b"no picture", "evaluation.json": b"{}"}


class Small(nn.Module):
    """[batch, 3], and maybe labels [batch], to [batch, 1, 8, 8]."""

    def __init__(self, seed: int = 0, classes: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Linear(LATENT, 64)
            self.embedding = nn.Embedding(classes, LATENT) if classes else None

    def forward(self, latents: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        if self.embedding is not None:
            latents = latents + self.embedding(labels[0])
        return torch.tanh(self.net(latents)).unflatten(1, (1, 8, 8))


class Killed(BaseException):
    """A process that ends without a word."""


@pytest.fixture
def publication(name: str, registered) -> Publication:
    return Publication(
        model=name,
        run="run-a",
        tracking_run_id=registered.tracking_run_id,
        generator=Small().eval(),
        latent_dim=LATENT,
        tags={"ganlib.latent_dim": str(LATENT)},
        files=FILES,
    )


def another_registry(registered) -> ModelRegistry:
    """The registry of another process."""
    found: ModelRegistry = registered.registry
    return found if registered.settings is None else MlflowRegistry(registered.settings)


def client_of(settings: Settings) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(settings.require("mlflow"), settings.require("mlflow"))


def check_single_version(registered, publication: Publication, number: int = 1) -> None:
    """The run has one whole version, also behind what readers see."""
    registry = registered.registry
    (only,) = registry.versions(publication.model)
    assert only.version == number
    assert registry.files(only) == FILES
    latents = torch.ones(2, LATENT)
    with torch.no_grad():
        expected = publication.generator(latents)
    torch.testing.assert_close(registry.load(only)(latents), expected)
    if isinstance(registry, MemoryRegistry):
        assert list(registry.ledgers[publication.model].versions) == [number]
        return
    client = client_of(registered.settings)
    (version,) = client.search_model_versions(f"name = '{publication.model}'")
    outputs = client.get_run(publication.tracking_run_id).outputs.model_outputs
    assert [f"models:/{output.model_id}" for output in outputs] == [version.source]


def test_of_eight_publishers_at_once_all_get_the_same_version(
    registered, publication: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishers = 8
    ready, exporting = threading.Barrier(publishers), threading.Lock()
    made: list[Any] = []
    failed: list[Exception] = []
    if registered.settings is None:
        create = MemoryClaims.create

        def create_together(*words: Any) -> None:
            ready.wait()
            create(*words)

        monkeypatch.setattr(MemoryClaims, "create", create_together)
    else:
        from ganlib.registry.versions import upload

        def upload_and_wait(*words: Any) -> Any:
            with exporting:  # torch exports one program at a time
                done = upload(*words)
            ready.wait()
            return done

        monkeypatch.setattr("ganlib.registry.mlflow.upload", upload_and_wait)

    def run() -> None:
        try:
            made.append(another_registry(registered).publish(publication))
        except Exception as error:
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=run) for _ in range(publishers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert made == [registered.registry.resolve(publication.model, "1")] * publishers
    check_single_version(registered, publication)


def kill_once(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, when: str) -> list[str]:
    """Have the next call of a method end its process, before or after it does its work."""
    original = getattr(owner, method)
    calls: list[str] = []

    def call(*words: Any, **options: Any) -> Any:
        calls.append(method)
        if len(calls) > 1:
            return original(*words, **options)
        if when == "after":
            original(*words, **options)
        raise Killed

    monkeypatch.setattr(owner, method, call)
    return calls


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["create", "confirm"])
def test_a_fake_publisher_that_dies_stops_nobody(
    name: str, method: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MemoryRegistry()
    publication = Publication(name, "run-a", "id", Small().eval(), LATENT, {}, files=FILES)
    calls = kill_once(monkeypatch, MemoryClaims, method, when)
    with pytest.raises(Killed):
        registry.publish(publication)
    assert calls
    assert len(registry.versions(name)) == ((method, when) == ("confirm", "after"))
    made = registry.publish(publication)
    assert registry.versions(name) == [made]
    assert (made.version, registry.files(made)) == (1, FILES)


STEPS = [
    "create_logged_model",
    "log_model_artifacts",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "log_outputs",
    "delete_model_version_tag",
]


@pytest.mark.services
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_publisher_that_dies_stops_nobody(
    registered_mlflow, name: str, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    registry = registered_mlflow.registry
    publication = Publication(
        name, "run-a", registered_mlflow.tracking_run_id, Small().eval(), LATENT, {}, files=FILES
    )
    calls = kill_once(monkeypatch, MlflowClient, step, when)
    with pytest.raises(Killed):
        registry.publish(publication)
    assert calls
    if (step, when) != ("delete_model_version_tag", "after"):
        check_nothing_is_seen(registry, name)
    made = another_registry(registered_mlflow).publish(publication)
    assert made.version == 1
    assert registry.publish(publication) == made
    check_single_version(registered_mlflow, publication)


def check_nothing_is_seen(registry: ModelRegistry, model: str) -> None:
    if model in registry.models():
        assert registry.versions(model) == []
    for ask in (
        lambda: registry.resolve(model, "1"),
        lambda: registry.tag(model, 1, {"a": "b"}),
        lambda: registry.move(model, "champion", 1, expected=None, who="anna", why="no reason"),
    ):
        with pytest.raises(UnknownName):
            ask()


@pytest.mark.services
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["delete_model_version", "delete_logged_model"])
def test_a_loser_that_dies_leaves_nothing_to_see(
    registered_mlflow, name: str, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    from ganlib.registry.claims import agree

    registry, run_id = registered_mlflow.registry, registered_mlflow.tracking_run_id
    publication = Publication(name, "run-a", run_id, Small().eval(), LATENT, {}, files=FILES)
    looked: list[object] = []

    def look_too_early(claims: Any) -> int | None:
        looked.append(claims)
        return None if len(looked) == 1 else agree(claims)

    with monkeypatch.context() as patch:
        made = registry.publish(publication)
        patch.setattr("ganlib.registry.mlflow.agree", look_too_early)
        kill_once(patch, MlflowClient, step, when)
        with pytest.raises(Killed):
            registry.publish(dataclasses.replace(publication, generator=Small(1).eval()))
    assert registry.versions(name) == [made]
    with pytest.raises(UnknownName):
        registry.resolve(name, "2")
    assert registry.publish(publication) == made
    check_single_version(registered_mlflow, publication)


def long_names(count: int) -> tuple[str, ...]:
    return tuple(f"{number:04} größer als ein Häuschen, " + "ü" * 40 for number in range(count))


def test_a_thousand_classes_with_long_names_are_published(registered, publication: Publication) -> None:
    names = long_names(1000)
    network = Small(classes=len(names)).eval()
    registry = registered.registry
    made = registry.publish(dataclasses.replace(publication, generator=network, classes=names))
    assert made.tags["ganlib.class_count"] == "1000"
    files = registry.files(made)
    assert set(files) == {*FILES, "classes.json"}
    assert classes_of(made, lambda name: files[name]) == names


def test_a_tag_that_is_too_long_is_refused_before_anything_is_uploaded(publication: Publication) -> None:
    for tags, run in (({"ganlib.licence": "x" * 5001}, "run-a"), ({}, "x" * 5001)):
        with pytest.raises(ConfigError, match="5000"):
            dataclasses.replace(publication, tags=tags, run=run)


# The rest is about what people delete in MLflow, and what others register there.


@pytest.mark.services
def test_a_deleted_version_is_published_anew(registered_mlflow, name: str) -> None:
    registry, run_id = registered_mlflow.registry, registered_mlflow.tracking_run_id
    publication = Publication(name, "run-a", run_id, Small().eval(), LATENT, {}, files=FILES)
    registry.publish(publication)
    registry.move(name, "champion", 1, expected=None, who="anna", why="the first")
    client_of(registered_mlflow.settings).delete_model_version(name, "1")
    made = registry.publish(publication)
    assert [found.version for found in registry.versions(name)] == [made.version] == [2]
    assert registry.files(made) == FILES
    registry.move(name, "champion", 2, expected=None, who="anna", why="the second")
    assert registry.resolve(name, "champion").version == 2


@pytest.mark.services
@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_a_deleted_run_is_restored_to_publish_it(
    run_start: RunStart, settings: Settings, name: str, deleted: str, caplog: pytest.LogCaptureFixture
) -> None:
    from ganlib.tracking.mlflow import MlflowTracker

    client, registry = client_of(settings), MlflowRegistry(settings)
    run_id = MlflowTracker(settings).start(dataclasses.replace(run_start, experiment=name))
    if deleted == "run":
        client.delete_run(run_id)
    else:
        client.delete_experiment(client.get_run(run_id).info.experiment_id)
    registry.publish(Publication(name, "run-a", run_id, Small().eval(), LATENT, {}))
    run = client.get_run(run_id)
    assert run.info.lifecycle_stage == "active"
    assert client.get_experiment(run.info.experiment_id).lifecycle_stage == "active"
    assert f"{deleted} {run.info.run_name if deleted == 'run' else name}" in caplog.text
    assert "was deleted in MLflow" in caplog.text


def make_foreign(settings: Settings, model: str, folder: Path) -> str:
    """Register an empty model and one with versions that ganlib did not make; returns the empty one."""
    client = client_of(settings)
    client.create_registered_model(f"{model}-empty")
    client.create_registered_model(model)
    for tags in ({}, {"ganlib.files_digest": "0" * 64}, {"ganlib.latent_dim": "many", "ganlib.run": "run-a"}):
        client.create_model_version(model, "s3://nowhere/at-all", tags=tags, await_creation_for=0)
    experiment = client.create_experiment(f"others {model}")
    logged = client.create_logged_model(experiment, name="other")
    (folder / "notes.txt").write_text("no program")
    client.log_model_artifacts(logged.model_id, str(folder))
    client.create_model_version(
        model, f"models:/{logged.model_id}", model_id=logged.model_id, await_creation_for=0
    )
    bare = client.create_logged_model(experiment, name="bare")
    client.create_model_version(
        model, f"models:/{bare.model_id}", model_id=bare.model_id, await_creation_for=0
    )
    return f"{model}-empty"


@pytest.mark.services
def test_what_others_registered_is_listed_and_its_files_are_refused(
    registered_mlflow, settings: Settings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    registry = registered_mlflow.registry
    (tmp_path / "files").mkdir()
    empty = make_foreign(settings, name, tmp_path / "files")
    assert registry.versions(empty) == registry.history(empty) == []
    with pytest.raises(UnknownName, match="publish one with `ganlib retrain digits-wgan`"):
        registry.resolve(empty, "champion")
    foreign = registry.versions(name)
    assert [found.version for found in foreign] == [5, 4, 3, 2, 1]
    for found in foreign:
        assert registry.resolve(name, str(found.version)) == found
        registry.tag(name, found.version, {"seen": "yes"})
        words = "cannot be fetched" if found.version == 2 else "was not registered by ganlib"
        reads: tuple[Callable[[Any], object], ...] = (
            registry.files,
            registry.load,
            lambda version: registry.download(version, tmp_path / "to"),
        )
        for read in reads:
            with pytest.raises(RegistryError, match=words) as caught:
                read(found)
            assert "\n" not in str(caught.value)
    assert registry.move(name, "champion", 1, expected=None, who="anna", why="to see").version == 1


@pytest.mark.services
def test_a_foreign_version_with_the_runs_tag_is_not_the_runs_version(
    registered_mlflow, settings: Settings, name: str
) -> None:
    client = client_of(settings)
    client.create_registered_model(name)
    client.create_model_version(
        name, "s3://nowhere/at-all", tags={"ganlib.run": "run-a"}, await_creation_for=0
    )
    run_id = registered_mlflow.tracking_run_id
    publication = Publication(name, "run-a", run_id, Small().eval(), LATENT, {})
    assert registered_mlflow.registry.publish(publication).version == 2
