"""The model registry on MLflow: generators as exported programs (pt2), never as pickles.

Everything goes through the MLflow server, artifacts too, so neither the publisher nor those who
fetch need credentials for the object store.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.errors import RegistryError, UnknownName
from ganlib.mlflow_server import MlflowServer, quoted
from ganlib.ports import Publication, check_alias
from ganlib.programs import export_program, frozen_copy, load_program
from ganlib.records import RegisteredGenerator
from ganlib.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from torch import nn

_RUN_TAG = "ganlib.run"
_READY_SECONDS = 60
_VERSION_DIGITS = 9
_NOWHERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_PUBLISH_FIRST = "publish one with `ganlib retrain`"


class MlflowRegistry:
    """A :class:`~ganlib.ports.ModelRegistry` on an MLflow server.

    Args:
        settings: Where the server is.

    Raises:
        ConfigError: No address is configured, or it is no ``http://`` URL.
        ServiceError: From every method, within ten seconds when the server is down.
    """

    def __init__(self, settings: Settings) -> None:
        self._server = MlflowServer(settings)

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        with self._session() as client:
            return _models(client)

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        """The version an alias points to, or of that number. Raises ``UnknownName``."""
        with self._session() as client:
            if alias_or_version.isdecimal():
                return _record(_version(client, model, alias_or_version))
            found = _by_alias(client, model, alias_or_version)
            return _record(found).model_copy(update={"alias": alias_or_version})

    def publish(self, publication: Publication) -> RegisteredGenerator:
        """Register a new version; no alias moves. Idempotent by run name.

        The exported program and ``publication.files`` become a logged model of the tracking run.

        Raises:
            RegistryError: The generator does not turn latents into pictures, or cannot be exported.
            RequestRefused: There is no such tracking run.
        """
        with self._session() as client:
            if known := _published(client, publication):
                return _record(known)
            with tempfile.TemporaryDirectory(prefix="ganlib-publish-") as scratch:
                model = _log(client, publication, Path(scratch) / "model")
            _ensure_model(client, publication.model)
            version = client.create_model_version(
                publication.model,
                source=f"models:/{model.model_id}",
                run_id=publication.tracking_run_id,
                tags={**publication.tags, _RUN_TAG: publication.run},
                # Not MLflow's own waiting: it logs, and sleeps for seconds.
                await_creation_for=0,
                model_id=model.model_id,
            )
            return _record(_await_ready(client, version))

    def point(self, model: str, alias: str, version: int) -> None:
        """Move an alias. Raises ``UnknownName``, and ``ConfigError`` for a name no alias can have."""
        check_alias(alias)
        with self._session() as client:
            _version(client, model, str(version))
            client.set_registered_model_alias(model, alias, str(version))

    def load(self, generator: RegisteredGenerator) -> nn.Module:
        """The program itself, on the CPU: latents [batch, latent_dim] to pictures in [−1, 1].

        Raises:
            RegistryError: The artifact is no exported program, holds a pickle, or brings code along.
            UnknownName: The version is not there any more.
        """
        with (
            self._session() as client,
            tempfile.TemporaryDirectory(prefix="ganlib-fetch-") as scratch,
        ):
            import mlflow.artifacts

            found = _version(client, generator.model, str(generator.version))
            where = client.get_model_version_download_uri(found.name, found.version)
            folder = mlflow.artifacts.download_artifacts(
                artifact_uri=where,
                dst_path=scratch,
                tracking_uri=self._server.address,
                registry_uri=self._server.address,
            )
            return load_program(Path(folder), f"{generator.model} version {generator.version}")

    @contextmanager
    def _session(self) -> Iterator[MlflowClient]:
        self._server.check()
        with self._server.client() as client:
            yield client


def _record(version: ModelVersion) -> RegisteredGenerator:
    return RegisteredGenerator(
        model=version.name,
        version=int(version.version),
        tracking_run_id=version.run_id or "",
        tags=dict(version.tags),
    )


def _models(client: MlflowClient) -> list[str]:
    names: list[str] = []
    page = client.search_registered_models()
    names += [model.name for model in page]
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        names += [model.name for model in page]
    return sorted(names)


def _version(client: MlflowClient, model: str, number: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    if len(number) > _VERSION_DIGITS:  # MLflow's database fails on integers beyond 64 bits
        raise _unknown(client, model, number)
    try:
        return client.get_model_version(model, number)
    except MlflowException as error:
        if error.error_code in _NOWHERE:
            raise _unknown(client, model, number) from error
        raise


def _by_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in _NOWHERE:
            raise _unknown(client, model, alias) from error
        raise


def _unknown(client: MlflowClient, model: str, asked: str) -> UnknownName:
    """Why a version was not found: no such model, or what the model has instead."""
    names = _models(client)
    if model not in names:
        return UnknownName("model", model, names, "" if names else _PUBLISH_FIRST)
    versions = client.search_model_versions(f"name = {quoted(model)}", max_results=1000)
    aliases = client.get_registered_model(model).aliases
    return UnknownName(f"version or alias of {model}", asked, [*aliases, *(str(v.version) for v in versions)])


def _published(client: MlflowClient, publication: Publication) -> ModelVersion | None:
    """The ready version of this run, if there is one."""
    tag = f"tags.`{_RUN_TAG}` = {quoted(publication.run)}"
    found = client.search_model_versions(f"name = {quoted(publication.model)} and {tag}")
    return next((version for version in found if version.status == "READY"), None)


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log(client: MlflowClient, publication: Publication, folder: Path) -> LoggedModel:
    """Export the program and store it as a logged model of the tracking run."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    generator, picture = frozen_copy(publication)
    run = client.get_run(publication.tracking_run_id)
    model = client.create_logged_model(
        run.info.experiment_id,
        name="generator",
        source_run_id=run.info.run_id,
        tags={_RUN_TAG: publication.run},
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
        client.log_model_artifacts(model.model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY")


def _await_ready(client: MlflowClient, version: ModelVersion) -> ModelVersion:
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
