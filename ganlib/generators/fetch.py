"""Registered generators by reference: from the registry, or from this machine's cache when it is down."""

from __future__ import annotations

import hashlib
import shutil
import warnings
from pathlib import Path

from ganlib.errors import ConfigError, RegistryError, RequestRefused, ServiceError, UnknownName
from ganlib.generators.cache import GeneratorCache
from ganlib.generators.loaded import LoadedGenerator
from ganlib.names import parse_reference
from ganlib.ports import ModelRegistry
from ganlib.records import RegisteredGenerator
from ganlib.registry.inputs import classes_of, latent_dim_of
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.registry.program import read_program
from ganlib.settings import Settings, load_settings


class OfflineWarning(UserWarning):
    """The registry does not answer, and a generator was taken from the cache as it was last known."""


def load(
    reference: str, registry: ModelRegistry | None = None, settings: Settings | None = None
) -> LoadedGenerator:
    """The generator of a reference; see :func:`ganlib.load_generator`.

    Args:
        reference: ``NAME@ALIAS``, ``NAME/VERSION`` or ``NAME``, whose champion it means.
        registry: Default: the MLflow server of the settings. One that is given without settings is asked
            directly, and no cache is used.
        settings: Default: those of the environment.
    """
    model, which = parse_reference(reference)
    if registry is not None and settings is None:
        direct, registered = registry, registry.resolve(model, which)
        classes = classes_of(registered, lambda name: direct.files(registered)[name])
        return LoadedGenerator(registered, registry.load(registered), latent_dim_of(registered), classes)
    settings = settings or load_settings()
    cache = GeneratorCache(settings.cache / "generators" / _registry_folder(settings))
    try:
        registry = registry or MlflowRegistry(settings)
        registered = registry.resolve(model, which)
        content = cache.content(registered, lambda folder: registry.download(registered, folder))
        cache.remember(registered)
        offline = ""
    except (ServiceError, ConfigError) as error:
        if isinstance(error, (RequestRefused, UnknownName)):
            raise
        # While the embedded services are down they have no address.
        known = cache.remembered(model, which)
        content = None if known is None else cache.content(known, None)
        if known is None:
            raise
        registered, offline = known, str(error)
    if content is None:
        raise RegistryError(f"the copy of {reference} in {settings.cache} was removed while it was in use")
    if offline:
        warnings.warn(
            f"{model} version {registered.version} comes from the cache, and {which} may have moved since: "
            f"{offline}",
            OfflineWarning,
            stacklevel=3,
        )
    folder = content
    classes = classes_of(registered, lambda name: (folder / "files" / name).read_bytes())
    program = read_program(content, f"{model} version {registered.version}")
    return LoadedGenerator(registered, program, latent_dim_of(registered), classes, offline=bool(offline))


def fetch(reference: str, to: Path, registry: ModelRegistry | None = None) -> RegisteredGenerator:
    """Bring all files of a version into a new folder, verified, whole or not at all.

    Args:
        reference: ``NAME@ALIAS``, ``NAME/VERSION`` or ``NAME``.
        to: A folder that is not there yet or empty; it is written beside and renamed.
        registry: Default: the MLflow server of the settings.

    Raises:
        ConfigError: The folder is not empty, or lies nowhere.
        RegistryError: Files are gone or damaged, or hold a pickle.
        UnknownName: There is no such model, alias or version.
    """
    model, which = parse_reference(reference)
    to = to.absolute()
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConfigError(f"{to} is not empty; name a folder that is not there yet")
    if not to.parent.is_dir():
        raise ConfigError(f"{to}: there is no folder {to.parent}")
    registry = registry or MlflowRegistry(load_settings())
    registered = registry.resolve(model, which)
    beside = to.with_name(f".{to.name}.part")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        registry.download(registered, beside)
        beside.rename(to)
    except OSError as error:
        raise ConfigError(f"{to} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return registered


def _registry_folder(settings: Settings) -> str:
    """Return a folder name for the registry, as two registries may have models of one name."""
    if "mlflow" not in settings.own:
        return "embedded"  # whose port may change
    return hashlib.sha256(settings.require("mlflow").rstrip("/").encode()).hexdigest()[:12]
