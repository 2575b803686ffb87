"""Versions of registered models as MLflow has them: found, described, and written.

What :class:`~ganlib.registry.mlflow.MlflowRegistry` asks a client; errors of the server pass through.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.errors import RegistryError, UnknownName
from ganlib.names import is_log_name
from ganlib.ports import Publication
from ganlib.records import RegisteredGenerator
from ganlib.registry.alias_log import timestamp
from ganlib.registry.checksums import write_listing
from ganlib.tracking.server import quoted

# As in registry: neither torch nor MLflow is imported before it is needed.

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

RUN_TAG = "ganlib.run"
VERSION_DIGITS = 9
_READY_SECONDS = 60
_NOWHERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_PUBLISH_FIRST = "publish one with `ganlib retrain`"


def record_of(version: ModelVersion) -> RegisteredGenerator:
    """A version in ganlib's own terms."""
    return RegisteredGenerator(
        model=version.name,
        version=int(version.version),
        tracking_run_id=version.run_id or "",
        aliases=tuple(sorted(version.aliases)),
        created=timestamp(version.creation_timestamp / 1000),
        tags=dict(version.tags),
    )


def model_names(client: MlflowClient) -> list[str]:
    """Names of all registered models, sorted."""
    names: list[str] = []
    page = client.search_registered_models()
    names += [model.name for model in page]
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        names += [model.name for model in page]
    return sorted(name for name in names if not is_log_name(name))


def search_versions(client: MlflowClient, words: str) -> list[ModelVersion]:
    """What a search in MLflow's words finds, all pages; the aliases of what it finds are empty."""
    found: list[ModelVersion] = []
    page = client.search_model_versions(words, max_results=1000)
    found += page
    while page.token:
        page = client.search_model_versions(words, max_results=1000, page_token=page.token)
        found += page
    return found


def require_model(client: MlflowClient, model: str) -> None:
    """Raise ``UnknownName`` if there is no such model."""
    with _asked(client, model, ""):
        client.get_registered_model(model)


def get_version(client: MlflowClient, model: str, number: str) -> ModelVersion:
    """A version by its number. Raises ``UnknownName``."""
    # MLflow's database fails on integers beyond 64 bits.
    if len(number) > VERSION_DIGITS:
        raise _unknown(client, model, number)
    with _asked(client, model, number):
        return client.get_model_version(model, number)


def get_aliased(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    """The version that an alias points to. Raises ``UnknownName``."""
    with _asked(client, model, alias):
        return client.get_model_version_by_alias(model, alias)


@contextmanager
def _asked(client: MlflowClient, model: str, asked: str) -> Iterator[None]:
    """Around a question about a model: what is not there becomes ``UnknownName``; logs are no models."""
    from mlflow.exceptions import MlflowException

    if is_log_name(model):
        raise _unknown(client, model, asked)
    try:
        yield
    except MlflowException as error:
        if error.error_code in _NOWHERE:
            raise _unknown(client, model, asked) from error
        raise


def _unknown(client: MlflowClient, model: str, asked: str) -> UnknownName:
    """Why a version was not found: no such model, or what the model has instead."""
    names = model_names(client)
    if model not in names:
        return UnknownName("model", model, names, "" if names else _PUBLISH_FIRST)
    versions = search_versions(client, f"name = {quoted(model)}")
    aliases = client.get_registered_model(model).aliases
    return UnknownName(f"version or alias of {model}", asked, [*aliases, *(str(v.version) for v in versions)])


def published(client: MlflowClient, publication: Publication) -> ModelVersion | None:
    """The ready version of this run, if there is one."""
    tag = f"tags.`{RUN_TAG}` = {quoted(publication.run)}"
    found = client.search_model_versions(f"name = {quoted(publication.model)} and {tag}")
    ready = min((int(version.version) for version in found if version.status == "READY"), default=None)
    # Asked for again, because a search leaves the aliases empty.
    return None if ready is None else client.get_model_version(publication.model, str(ready))


def log_program(client: MlflowClient, publication: Publication, folder: Path) -> tuple[LoggedModel, str]:
    """Export the program and store it as a logged model of the tracking run; also the digest of its list."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    from ganlib.registry.export import export_program
    from ganlib.registry.program import frozen_copy

    generator, picture = frozen_copy(publication)
    run = client.get_run(publication.tracking_run_id)
    model = client.create_logged_model(
        run.info.experiment_id,
        name="generator",
        source_run_id=run.info.run_id,
        tags={RUN_TAG: publication.run},
        model_type="generator",
    )
    try:
        described = Model(
            artifact_path=model.artifact_location,
            run_id=run.info.run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
        )
        export_program(generator, publication.example(), picture, described, folder)
        for name, data in publication.files.items():
            (folder / "files").mkdir(exist_ok=True)
            (folder / "files" / name).write_bytes(data)
        digest = write_listing(folder)
        client.log_model_artifacts(model.model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY"), digest


def await_ready(client: MlflowClient, version: ModelVersion) -> ModelVersion:
    """The version once it can be used. Raises ``RegistryError`` if it never can."""
    deadline = time.monotonic() + _READY_SECONDS
    pause = threading.Event()
    while version.status == "PENDING_REGISTRATION" and time.monotonic() < deadline:
        pause.wait(0.5)
        version = client.get_model_version(version.name, version.version)
    if version.status != "READY":
        raise RegistryError(
            f"{version.name} version {version.version} is {version.status} after {_READY_SECONDS} s: "
            f"{version.status_message or 'MLflow gives no reason'}"
        )
    return version
