from __future__ import annotations

import dataclasses
import pickle
import shutil
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from ganlib.errors import ConfigError, RegistryError, RequestRefused, ServiceError, UnknownName
from ganlib.ports import ModelRegistry, Publication
from ganlib.records import RegisteredGenerator
from ganlib.registry.checksums import DIGEST_TAG, write_listing
from ganlib.registry.inference import for_inference
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.settings import Settings

LATENT = 6


class Tiny(nn.Module):
    """[batch, 6] to [batch, 3, 8, 8], with batch norm, whose statistics matter in eval mode."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.net = nn.Sequential(
                nn.ConvTranspose2d(LATENT, 4, 4),
                nn.BatchNorm2d(4),
                nn.ReLU(inplace=True),
                nn.ConvTranspose2d(4, 3, 4, 2, 1),
            )
            self.net(torch.randn(32, LATENT, 1, 1))

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.net(latents[:, :, None, None]))


def latents(batch: int) -> torch.Tensor:
    return torch.randn(batch, LATENT, generator=torch.Generator().manual_seed(batch))


def point(registry: ModelRegistry, model: str, alias: str, version: int, expected: int | None = None) -> None:
    registry.move(model, alias, version, expected=expected, who="tests", why="to see it move")


@pytest.fixture
def publication(name: str, registered) -> Publication:
    return Publication(
        model=name,
        run="run-a",
        tracking_run_id=registered.tracking_run_id,
        generator=Tiny().eval(),
        latent_dim=LATENT,
        tags={"ganlib.metric": "fd_efficientnet_lite0", "ganlib.value": "198.5"},
        files={"grid.png": b"not really a picture", "evaluation.json": b"{}"},
    )


def test_publishing_makes_a_version_with_its_tags(registered, publication: Publication) -> None:
    made = registered.registry.publish(publication)
    assert (made.model, made.version, made.alias) == (publication.model, 1, "")
    assert made.tracking_run_id == publication.tracking_run_id
    assert len(made.tags.pop("ganlib.files_digest")) == 64
    assert made.tags == {**publication.tags, "ganlib.run": "run-a"}
    assert made.created.startswith("20")
    found = registered.registry.resolve(publication.model, "1")
    assert found == registered.registry.publish(publication)
    assert publication.model in registered.registry.models()
    assert registered.registry.models() == sorted(registered.registry.models())


def test_publishing_a_run_again_returns_the_version_it_has(registered, publication: Publication) -> None:
    first = registered.registry.publish(publication)
    other = dataclasses.replace(publication, run="run-b", generator=Tiny(1).eval())
    assert registered.registry.publish(other).version == 2
    again = dataclasses.replace(publication, generator=Tiny(2).eval(), tags={})
    assert registered.registry.publish(again) == first
    with pytest.raises(UnknownName):
        registered.registry.resolve(publication.model, "3")


def test_an_alias_moves_and_only_when_told(registered, publication: Publication) -> None:
    registry = registered.registry
    registry.publish(publication)
    with pytest.raises(UnknownName, match="champion"):
        registry.resolve(publication.model, "champion")
    point(registry, publication.model, "champion", 1)
    registry.publish(dataclasses.replace(publication, run="run-b"))
    assert registry.resolve(publication.model, "champion").version == 1
    point(registry, publication.model, "champion", 2, expected=1)
    found = registry.resolve(publication.model, "champion")
    assert (found.version, found.alias, found.tags["ganlib.run"]) == (2, "champion", "run-b")


def test_the_program_makes_the_same_pictures_at_any_batch(registered, publication: Publication) -> None:
    made = registered.registry.publish(publication)
    loaded = registered.registry.load(made)
    assert isinstance(loaded, nn.Module)
    assert loaded.eval() is loaded
    for batch in (1, 2, 5, 64):
        pictures = loaded(latents(batch))
        with torch.no_grad():
            expected = publication.generator(latents(batch))
        assert pictures.shape == (batch, 3, 8, 8)
        assert pictures.dtype == torch.float32
        assert not pictures.requires_grad
        torch.testing.assert_close(pictures, expected)


class Labelled(nn.Module):
    """[batch, 6] and labels [batch] to [batch, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, LATENT)
        self.net = nn.ConvTranspose2d(LATENT, 1, 8)

    def forward(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.net((latents + self.embedding(labels))[:, :, None, None]))


def test_a_conditional_program_takes_labels_at_any_batch(registered, publication: Publication) -> None:
    network = Labelled().eval()
    conditional = dataclasses.replace(publication, generator=network, classes=("a", "b", "c"))
    program = registered.registry.load(registered.registry.publish(conditional))
    for batch in (1, 5):
        labels = torch.arange(batch) % 3
        with torch.no_grad():
            expected = network(latents(batch), labels)
        torch.testing.assert_close(program(latents(batch), labels), expected, rtol=1e-4, atol=1e-5)


def test_what_was_published_does_not_change_with_the_network(registered, publication: Publication) -> None:
    with torch.no_grad():
        expected = publication.generator(latents(3))
    made = registered.registry.publish(publication)
    training = publication.generator.training
    with torch.no_grad():
        for parameter in publication.generator.parameters():
            parameter.zero_()
    torch.testing.assert_close(registered.registry.load(made)(latents(3)), expected)
    assert publication.generator.training == training
    assert all(parameter.requires_grad for parameter in publication.generator.parameters())


def test_a_network_in_training_mode_is_published_in_eval_mode(registered, publication: Publication) -> None:
    with torch.no_grad():
        expected = publication.generator(latents(5))
    made = registered.registry.publish(
        dataclasses.replace(publication, generator=publication.generator.train())
    )
    torch.testing.assert_close(registered.registry.load(made)(latents(5)), expected)


def test_an_unknown_name_says_what_exists_and_what_is_close(registered, publication: Publication) -> None:
    registry, model = registered.registry, publication.model
    registry.publish(publication)
    point(registry, model, "champion", 1)
    with pytest.raises(UnknownName) as caught:
        registry.resolve(model[:-1], "champion")
    assert f"close to it: {model}" in str(caught.value)
    with pytest.raises(UnknownName, match="close to it: champion") as caught:
        registry.resolve(model, "champoin")
    assert set(caught.value.known) == {"champion", "1"}
    for number in ("2", "0", "99999999999999999999"):
        with pytest.raises(UnknownName, match="known: 1, champion"):
            registry.resolve(model, number)
    with pytest.raises(UnknownName, match="known: 1"):
        point(registry, model, "champion", 2)
    with pytest.raises(UnknownName, match="no model"):
        point(registry, "no-such-model", "champion", 1)
    with pytest.raises(UnknownName):
        registry.load(RegisteredGenerator(model=model, version=2, tracking_run_id=""))
    for odd in ("", "a b", "champion'", "x/y"):
        with pytest.raises(UnknownName):
            registry.resolve(model, odd)


@pytest.mark.parametrize("alias", ["latest", "v3", "7", "", "best one", "a/b"])
def test_an_alias_that_nobody_could_ask_for_is_refused(registered, alias: str) -> None:
    with pytest.raises(ConfigError, match="cannot be an alias"):
        point(registered.registry, "some-model", alias, 1)


@pytest.mark.parametrize("model", ["", "a/b", "a:b", "a@b", "..", "x" * 251, "a.moves", "a\nb", "'\""])
def test_a_model_name_is_checked_before_anything_is_sent(publication: Publication, model: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a model's name"):
        dataclasses.replace(publication, model=model)


@pytest.mark.parametrize("file", ["../x", "a/b", "", ".hidden"])
def test_a_file_name_is_checked_too(publication: Publication, file: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a file's name"):
        dataclasses.replace(publication, files={file: b""})


@pytest.mark.parametrize("model", ["with space", "dots.and-dashes_2", "a'quote", 'a"quote', "größe"])
def test_other_names_work(registered, publication: Publication, model: str) -> None:
    named = dataclasses.replace(publication, model=f"{publication.model} {model}")
    made = registered.registry.publish(named)
    assert registered.registry.publish(named) == made
    assert registered.registry.resolve(named.model, "1") == made


class NotPictures(nn.Module):
    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return latents


@pytest.mark.parametrize(
    "wrong", [{"latent_dim": LATENT + 1}, {"generator": NotPictures()}], ids=["latents", "pictures"]
)
def test_what_makes_no_pictures_is_not_registered(registered, publication: Publication, wrong) -> None:
    with pytest.raises(RegistryError, match=publication.model):
        registered.registry.publish(dataclasses.replace(publication, **wrong))
    assert publication.model not in registered.registry.models()


# The rest is about MLflow alone.


def test_a_server_that_is_down_is_reported_in_time(
    closed_port: str, frozen_port: str, tmp_path: Path, in_time
) -> None:
    wanted = RegisteredGenerator(model="m", version=1, tracking_run_id="r")
    publication = Publication("m", "run", "id", Tiny().eval(), LATENT, {})
    down = MlflowRegistry(Settings(home=tmp_path, mlflow_uri=closed_port))
    silent = MlflowRegistry(Settings(home=tmp_path, mlflow_uri=frozen_port))
    calls: list[Callable[[], object]] = [
        down.models,
        lambda: down.resolve("m", "champion"),
        lambda: down.publish(publication),
        lambda: down.versions("m"),
        lambda: down.tag("m", 1, {"a": "b"}),
        lambda: down.files(wanted),
        lambda: down.history("m"),
        lambda: point(down, "m", "champion", 1),
        lambda: down.download(wanted, tmp_path / "files"),
        lambda: down.load(wanted),
        lambda: silent.resolve("m", "champion"),
    ]
    for call in calls:
        with in_time(), pytest.raises(ServiceError, match="GANLIB_MLFLOW_URI"):
            call()


@pytest.fixture
def mlflow_case(settings: Settings, run_start) -> tuple[MlflowRegistry, str]:
    from ganlib.tracking.mlflow import MlflowTracker

    return MlflowRegistry(settings), MlflowTracker(settings).start(run_start)


def tiny_publication(model: str, run_id: str, **fields: object) -> Publication:
    values: dict[str, object] = {
        "model": model,
        "run": "run-a",
        "tracking_run_id": run_id,
        "generator": Tiny().eval(),
        "latent_dim": LATENT,
        "tags": {},
    }
    return Publication(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.services
def test_the_version_hangs_on_its_run_with_its_files(
    mlflow_case: tuple[MlflowRegistry, str], settings: Settings, name: str, tmp_path: Path
) -> None:
    import mlflow.artifacts
    from mlflow import MlflowClient

    registry, run_id = mlflow_case
    registry.publish(tiny_publication(name, run_id, files={"grid.png": b"picture"}))
    uri = settings.require("mlflow")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version(name, "1")
    assert version.status == "READY"
    outputs = client.get_run(run_id).outputs.model_outputs
    assert [f"models:/{output.model_id}" for output in outputs] == [version.source]
    where = client.get_model_version_download_uri(name, "1")
    folder = Path(mlflow.artifacts.download_artifacts(where, dst_path=str(tmp_path), tracking_uri=uri))
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"files/grid.png", "data/model.pt2", "MLmodel", "requirements.txt"} <= files
    assert not any(file.endswith((".pth", ".pkl", ".pickle")) for file in files)
    assert "torch==" in (folder / "requirements.txt").read_text()


@pytest.mark.services
def test_an_unknown_run_is_refused_and_nothing_is_registered(
    mlflow_case: tuple[MlflowRegistry, str], name: str
) -> None:
    registry, _ = mlflow_case
    with pytest.raises(RequestRefused, match="no-such-run"):
        registry.publish(tiny_publication(name, "no-such-run"))
    assert name not in registry.models()


@pytest.mark.services
def test_a_network_that_cannot_be_exported_is_refused(
    mlflow_case: tuple[MlflowRegistry, str], name: str
) -> None:
    class Branching(Tiny):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            pictures = super().forward(latents)
            return pictures if latents.sum().item() > 1e9 else -pictures

    registry, run_id = mlflow_case
    with pytest.raises(RegistryError, match="cannot be exported"):
        registry.publish(tiny_publication(name, run_id, generator=Branching().eval()))
    assert name not in registry.models()


@pytest.mark.services
def test_publishing_prints_and_logs_nothing(
    mlflow_case: tuple[MlflowRegistry, str], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    registry, run_id = mlflow_case
    registry.load(registry.publish(tiny_publication(name, run_id)))
    assert capfd.readouterr() == ("", "")


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


class BombModule(Tiny):
    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.bomb = Bomb(mark)


def register_folder(settings: Settings, run_id: str, name: str, folder: Path) -> RegisteredGenerator:
    """Put a model folder into the registry as anybody with access to MLflow could."""
    from mlflow import MlflowClient

    uri = settings.require("mlflow")
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    model = client.create_logged_model(
        client.get_run(run_id).info.experiment_id, name="other", source_run_id=run_id
    )
    digest = write_listing(folder)
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model(name)
    client.create_model_version(
        name,
        f"models:/{model.model_id}",
        run_id,
        tags={DIGEST_TAG: digest},
        model_id=model.model_id,
        await_creation_for=0,
    )
    return RegisteredGenerator(model=name, version=1, tracking_run_id=run_id)


@pytest.fixture
def good_folder(tmp_path: Path) -> Path:
    import mlflow.pytorch
    import numpy as np

    example = np.zeros((2, LATENT), np.float32)
    mlflow.pytorch.save_model(
        for_inference(Tiny()), str(tmp_path / "good"), input_example=example, serialization_format="pt2",
        pip_requirements=["torch"],
    )  # fmt: skip
    return tmp_path / "good"


@pytest.mark.services
def test_a_pickled_model_is_refused_unread(
    mlflow_case: tuple[MlflowRegistry, str],
    settings: Settings,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow.pytorch

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    registry, run_id = mlflow_case
    mark = tmp_path / "mark"
    mlflow.pytorch.save_model(
        BombModule(mark), str(tmp_path / "m"), serialization_format="pickle", pip_requirements=["torch"]
    )
    with pytest.raises(RegistryError, match="pickle"):
        registry.load(register_folder(settings, run_id, name, tmp_path / "m"))
    assert not mark.exists()


@pytest.mark.services
def test_a_pickle_inside_a_program_is_refused_unread(
    mlflow_case: tuple[MlflowRegistry, str],
    settings: Settings,
    name: str,
    tmp_path: Path,
    good_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    registry, run_id = mlflow_case
    mark = tmp_path / "mark"
    archive, poisoned = good_folder / "data" / "model.pt2", tmp_path / "poisoned.pt2"
    replaced = 0
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(poisoned, "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if "sample_inputs" in entry.filename:
                data, replaced = pickle.dumps(Bomb(mark)), replaced + 1
            target.writestr(entry.filename, data)
    assert replaced
    shutil.move(poisoned, archive)
    with pytest.raises(RegistryError, match="pickle"):
        registry.load(register_folder(settings, run_id, name, good_folder))
    assert not mark.exists()


@pytest.mark.services
def test_code_that_comes_along_is_refused(
    mlflow_case: tuple[MlflowRegistry, str], settings: Settings, name: str, good_folder: Path
) -> None:
    registry, run_id = mlflow_case
    (good_folder / "code").mkdir()
    (good_folder / "code" / "torchvision.py").write_text("raise SystemExit")
    described = good_folder / "MLmodel"
    described.write_text(described.read_text().replace("    code: null", "    code: code"))
    with pytest.raises(RegistryError, match="code"):
        registry.load(register_folder(settings, run_id, name, good_folder))


@pytest.mark.services
@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_a_damaged_program_is_refused(
    mlflow_case: tuple[MlflowRegistry, str], settings: Settings, name: str, good_folder: Path, damage: str
) -> None:
    registry, run_id = mlflow_case
    archive = good_folder / "data" / "model.pt2"
    data = archive.read_bytes()
    if damage == "gone":
        archive.unlink()
        (good_folder / "data" / "other").write_bytes(b"x")
    else:
        archive.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    with pytest.raises(RegistryError, match=name):
        registry.load(register_folder(settings, run_id, name, good_folder))


@pytest.mark.services
def test_threads_load_together_and_leave_the_environment_as_it_was(
    mlflow_case: tuple[MlflowRegistry, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    registry, run_id = mlflow_case
    made = registry.publish(tiny_publication(name, run_id))
    loaded: list[nn.Module] = []
    threads = [threading.Thread(target=lambda: loaded.append(registry.load(made))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 4
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "true"


@pytest.mark.services
@pytest.mark.timeout(120)
def test_two_publications_do_not_wait_for_a_service_that_is_not_there(
    mlflow_case: tuple[MlflowRegistry, str], name: str
) -> None:
    """MLflow's own retries, at 120 s each, would run into the limit."""
    registry, run_id = mlflow_case
    registry.publish(tiny_publication(name, run_id))
    registry.publish(tiny_publication(name, run_id, run="run-b"))
