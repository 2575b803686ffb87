from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ganlib.core.dense import DenseGenerator
from ganlib.errors import ConfigError, RegistryError, ServiceError, UnknownName
from ganlib.fakes.stores import MemoryRegistry
from ganlib.generators.fetch import OfflineWarning, fetch, load
from ganlib.names import parse_reference
from ganlib.ports import Publication
from ganlib.records import RegisteredGenerator
from ganlib.settings import Settings


class Counted(MemoryRegistry):
    """Counts downloads, and can be down."""

    def __init__(self) -> None:
        super().__init__()
        self.downloads = 0
        self.down = False

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        if self.down:
            raise ServiceError("mlflow", "http://127.0.0.1:1", "GANLIB_MLFLOW_URI", "nothing answers there")
        return super().resolve(model, alias_or_version)

    def download(self, generator: RegisteredGenerator, folder: Path) -> None:
        if self.down:
            raise ServiceError("mlflow", "http://127.0.0.1:1", "GANLIB_MLFLOW_URI", "nothing answers there")
        self.downloads += 1
        super().download(generator, folder)


def publish(registry: MemoryRegistry, run: str, seed: int = 0) -> RegisteredGenerator:
    torch.manual_seed(seed)
    return registry.publish(
        Publication(
            model="small",
            run=run,
            tracking_run_id="t",
            generator=DenseGenerator(size=28, channels=1, latent_dim=5, widths=(8,)).eval(),
            latent_dim=5,
            tags={"ganlib.latent_dim": "5"},
            files={"grid.png": b"\x89PNG", "evaluation.json": b"{}"},
        )
    )


@pytest.fixture
def registry() -> Counted:
    made = Counted()
    publish(made, "run-1")
    made.move("small", "champion", 1, expected=None, who="test", why="first")
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", mlflow_uri="http://127.0.0.1:1")


def test_a_version_is_fetched_once_and_is_the_registrys(registry: Counted, settings: Settings) -> None:
    first, second = load("small@champion", registry, settings), load("small/1", registry, settings)
    assert registry.downloads == 1
    assert (first.offline, second.offline) == (False, False)
    assert first.registered.alias == "champion"
    direct = load("small", registry)
    for loaded in (first, second):
        assert torch.equal(loaded.sample(4), direct.sample(4))


def test_the_cache_is_asked_for_versions_and_the_registry_for_aliases(
    registry: Counted, settings: Settings
) -> None:
    load("small@champion", registry, settings)
    publish(registry, "run-2", seed=1)
    registry.move("small", "champion", 2, expected=1, who="test", why="better")
    assert load("small@champion", registry, settings).registered.version == 2
    assert load("small/1", registry, settings).registered.version == 1
    assert registry.downloads == 2


def test_without_the_registry_the_last_known_copy_is_used_and_says_so(
    registry: Counted, settings: Settings
) -> None:
    pictures = load("small@champion", registry, settings).sample(2)
    registry.down = True
    for reference in ("small", "small@champion", "small/1"):
        with pytest.warns(OfflineWarning, match=r"small version 1 comes from the cache.*nothing answers"):
            loaded = load(reference, registry, settings)
        assert loaded.offline
        assert torch.equal(loaded.sample(2), pictures)
    for reference in ("small@challenger", "small/2", "other@champion"):
        with pytest.raises(ServiceError, match="nothing answers"):
            load(reference, registry, settings)


def test_while_the_embedded_services_are_down_they_have_no_address(
    registry: Counted, settings: Settings
) -> None:
    load("small", registry, settings)
    nowhere = settings.model_copy(update={"mlflow_uri": None})
    with pytest.warns(OfflineWarning, match="ganlib up"):
        assert load("small", settings=nowhere).offline
    with pytest.raises(ConfigError, match="ganlib up"):
        load("small@challenger", settings=nowhere)


def test_an_unknown_name_is_unknown_whatever_is_cached(registry: Counted, settings: Settings) -> None:
    load("small", registry, settings)
    with pytest.raises(UnknownName):
        load("small/9", registry, settings)


@pytest.mark.parametrize("damage", ["program", "entry", "file gone", "file added"])
def test_a_damaged_copy_is_fetched_anew(registry: Counted, settings: Settings, damage: str) -> None:
    pictures = load("small", registry, settings).sample(2)
    (entry,) = settings.cache.rglob("entry.json")
    content = entry.parent / "content"
    if damage == "program":
        data = bytearray((content / "data/model.pt2").read_bytes())
        data[len(data) // 2] ^= 1
        (content / "data/model.pt2").write_bytes(data)
    elif damage == "entry":
        entry.write_text("{")
    elif damage == "file gone":
        (content / "files/grid.png").unlink()
    else:
        (content / "files/more").write_bytes(b"")
    registry.down = True
    with pytest.raises(ServiceError):
        load("small", registry, settings)
    registry.down = False
    assert torch.equal(load("small", registry, settings).sample(2), pictures)
    assert registry.downloads == 2


def test_a_version_that_was_made_anew_under_its_number_is_fetched_anew(
    registry: Counted, settings: Settings
) -> None:
    old = load("small/1", registry, settings).sample(2)
    registry.ledgers.clear()
    publish(registry, "run-1", seed=5)
    assert not torch.equal(load("small/1", registry, settings).sample(2), old)


def test_two_registries_do_not_share_copies(registry: Counted, settings: Settings) -> None:
    load("small", registry, settings)
    other = settings.model_copy(update={"own": frozenset({"mlflow"}), "mlflow_uri": "http://127.0.0.1:2"})
    registry.down = True
    with pytest.raises(ServiceError):
        load("small", registry, other)


def test_a_version_without_its_tags_is_refused(registry: Counted, settings: Settings) -> None:
    del registry.ledgers["small"].versions[1].record.tags["ganlib.latent_dim"]
    with pytest.raises(RegistryError, match="not registered by ganlib"):
        load("small", registry, settings)


def test_a_cache_that_cannot_be_written_says_so(registry: Counted, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r"cannot be used.*GANLIB_HOME"):
        load("small", registry, Settings(home=tmp_path / "file", mlflow_uri="http://127.0.0.1:1"))


def test_fetch_brings_all_files_into_a_new_folder(registry: Counted, tmp_path: Path) -> None:
    to = tmp_path / "generator"
    to.mkdir()
    assert fetch("small@champion", to, registry).version == 1
    listed = json.loads((to / "files.json").read_text())["sha256"]
    assert set(listed) == {"data/model.pt2", "files/grid.png", "files/evaluation.json"}
    with pytest.raises(ConfigError, match="not empty"):
        fetch("small@champion", to, registry)
    with pytest.raises(ConfigError, match="there is no folder"):
        fetch("small@champion", tmp_path / "no" / "where", registry)


def test_a_fetch_that_fails_leaves_nothing(registry: Counted, tmp_path: Path) -> None:
    class Failing(Counted):
        def download(self, generator: RegisteredGenerator, folder: Path) -> None:
            super().download(generator, folder)
            raise RegistryError("the rest is gone")

    failing = Failing()
    failing.ledgers = registry.ledgers
    with pytest.raises(RegistryError):
        fetch("small", tmp_path / "generator", failing)
    with pytest.raises(UnknownName):
        fetch("small/7", tmp_path / "generator", failing)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("reference", "parsed"),
    [
        ("a", ("a", "champion")),
        ("a@best", ("a", "best")),
        ("a/3", ("a", "3")),
    ],
)
def test_references(reference: str, parsed: tuple[str, str]) -> None:
    assert parse_reference(reference) == parsed


@pytest.mark.parametrize("reference", ["", "a@", "a/b/c", "a@b@c", "@x", " ", "a.moves", "a.moves/1"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="is no generator"):
        parse_reference(reference)
