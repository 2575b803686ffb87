"""The model registry on MLflow: generators as exported programs (pt2), never as pickles.

Everything goes through the MLflow server, artifacts too, so neither the publisher nor those who
fetch need credentials for the object store.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganlib.errors import RegistryError, UnknownName
from ganlib.listing import DIGEST_TAG, verify_listing, write_listing
from ganlib.mlflow_server import MlflowServer, quoted
from ganlib.ports import Publication, check_alias, check_tags, is_log_name
from ganlib.records import AliasMove, RegisteredGenerator
from ganlib.registry_history import Intent, fold, move
from ganlib.registry_log import MlflowLedger, ensure_model, patiently, timestamp
from ganlib.settings import Settings

# Torch takes seconds to import, and moving an alias needs none: what has to do with programs comes below.

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion
    from torch import nn

_RUN_TAG = "ganlib.run"
_READY_SECONDS = 60
_VERSION_DIGITS = 9
_DESCRIPTION_CHARACTERS = 5000
_NOWHERE = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_PUBLISH_FIRST = "publish one with `ganlib retrain`"


class MlflowRegistry:
    """A :class:`~ganlib.ports.ModelRegistry` and :class:`~ganlib.ports.ModelCatalog` on an MLflow server.

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
        if known := self._resolve_lightly(model, alias_or_version):
            return known
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
                model, digest = _log(client, publication, Path(scratch) / "model")
            ensure_model(client, publication.model)
            version = patiently(
                lambda: client.create_model_version(
                    publication.model,
                    source=f"models:/{model.model_id}",
                    run_id=publication.tracking_run_id,
                    tags={**publication.tags, _RUN_TAG: publication.run, DIGEST_TAG: digest},
                    description=publication.description[:_DESCRIPTION_CHARACTERS] or None,
                    # Not MLflow's own waiting: it logs, and sleeps for seconds.
                    await_creation_for=0,
                    model_id=model.model_id,
                )
            )
            return _record(_await_ready(client, version))

    def load(self, generator: RegisteredGenerator) -> nn.Module:
        """The program itself, on the CPU: latents [batch, latent_dim] to pictures in [−1, 1].

        Raises:
            RegistryError: The artifact is no exported program, holds a pickle, or brings code along; it
                is gone, damaged, or was not registered by ganlib.
            UnknownName: The version is not there any more.
        """
        with self._session() as client, self._fetched(client, generator) as folder:
            from ganlib.pt2 import read_program

            return read_program(folder, _named(generator))

    def download(self, generator: RegisteredGenerator, folder: Path) -> None:
        """Bring all files of a version into an empty folder. Raises as :meth:`load`."""
        with self._session() as client, self._fetched(client, generator) as fetched:
            shutil.copytree(fetched, folder, dirs_exist_ok=True)

    def versions(self, model: str) -> list[RegisteredGenerator]:
        """All versions, the newest first. Raises ``UnknownName``."""
        with self._session() as client:
            _require_model(client, model)
            # A search leaves the aliases of what it finds empty.
            aliases = client.get_registered_model(model).aliases
            found = [_record(version) for version in _search(client, f"name = {quoted(model)}")]
            newest_first = sorted(found, key=lambda generator: -generator.version)
            return [
                generator.model_copy(
                    update={
                        "aliases": tuple(sorted(a for a, v in aliases.items() if int(v) == generator.version))
                    }
                )
                for generator in newest_first
            ]

    def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version. Raises ``UnknownName``, and ``ConfigError`` for tags nothing can have."""
        check_tags(tags)
        with self._session() as client:
            _version(client, model, str(version))
            for name, value in tags.items():
                client.set_model_version_tag(model, str(version), name, value)

    def files(self, generator: RegisteredGenerator) -> dict[str, bytes]:
        """What was published beside the program, by name. Raises as :meth:`load`."""
        with self._session() as client, self._fetched(client, generator) as folder:
            return {path.name: path.read_bytes() for path in sorted((folder / "files").glob("*"))}

    def move(
        self,
        model: str,
        alias: str,
        version: int,
        *,
        expected: int | None,
        who: str,
        why: str,
        kind: Literal["move", "rollback"] = "move",
    ) -> AliasMove:
        """Move an alias if it points to ``expected`` by then (:mod:`ganlib.registry_history`).

        Raises:
            AliasMoved: It points elsewhere.
            UnknownName: There is no such model or version.
            ConfigError: The alias is a name that none can have, or who or why cannot be recorded.
        """
        check_alias(alias)
        intent = Intent(alias, version, expected, who, why, kind)
        intent.check()
        with self._session() as client:
            _version(client, model, str(version))
            return move(model, MlflowLedger(client, model), intent, time.time())

    def history(self, model: str) -> list[AliasMove]:
        """Every move of the model's aliases, the oldest first. Raises ``UnknownName``."""
        with self._session() as client:
            _require_model(client, model)
            return fold(model, MlflowLedger(client, model).entries())

    def _resolve_lightly(self, model: str, alias_or_version: str) -> RegisteredGenerator | None:
        """Without MLflow's client, whose import takes longer than a cached generator's loading."""
        number = alias_or_version.isdecimal()
        if is_log_name(model) or len(alias_or_version) > (_VERSION_DIGITS if number else 255):
            return None
        path, field = ("model-versions/get", "version") if number else ("registered-models/alias", "alias")
        answer = self._server.ask(path, **{"name": model, field: alias_or_version})
        if answer is None:
            return None
        found = answer["model_version"]
        return RegisteredGenerator(
            model=found["name"],
            version=int(found["version"]),
            alias="" if number else alias_or_version,
            tracking_run_id=found.get("run_id", ""),
            aliases=tuple(sorted(found.get("aliases", ()))),
            created=timestamp(int(found["creation_timestamp"]) / 1000),
            tags={tag["key"]: tag.get("value", "") for tag in found.get("tags", ())},
        )

    @contextmanager
    def _fetched(self, client: MlflowClient, generator: RegisteredGenerator) -> Iterator[Path]:
        """A folder with all files of a version, verified and without pickles, while the body runs."""
        import mlflow.artifacts
        from mlflow.exceptions import MlflowException

        from ganlib.pt2 import refuse_pickles

        with tempfile.TemporaryDirectory(prefix="ganlib-fetch-") as scratch:
            found = _version(client, generator.model, str(generator.version))
            where = client.get_model_version_download_uri(found.name, found.version)
            try:
                folder = mlflow.artifacts.download_artifacts(
                    artifact_uri=where,
                    dst_path=scratch,
                    tracking_uri=self._server.address,
                    registry_uri=self._server.address,
                )
            except (MlflowException, OSError) as error:
                self._server.check()
                raise _gone(generator, error) from error
            refuse_pickles(Path(folder), _named(generator))
            verify_listing(Path(folder), found.tags.get(DIGEST_TAG, ""), _named(generator))
            yield Path(folder)

    @contextmanager
    def _session(self) -> Iterator[MlflowClient]:
        self._server.check()
        with self._server.client() as client:
            yield client


def _named(generator: RegisteredGenerator) -> str:
    return f"{generator.model} version {generator.version}"


def _gone(generator: RegisteredGenerator, error: Exception) -> RegistryError:
    reason = " ".join(str(error).split())[:300]
    return RegistryError(
        f"the files of {_named(generator)} cannot be fetched, although the registry lists it: {reason}. If "
        "they were deleted, use another version, or publish it anew with `ganlib retrain --force`"
    )


def _record(version: ModelVersion) -> RegisteredGenerator:
    return RegisteredGenerator(
        model=version.name,
        version=int(version.version),
        tracking_run_id=version.run_id or "",
        aliases=tuple(sorted(version.aliases)),
        created=timestamp(version.creation_timestamp / 1000),
        tags=dict(version.tags),
    )


def _models(client: MlflowClient) -> list[str]:
    names: list[str] = []
    page = client.search_registered_models()
    names += [model.name for model in page]
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        names += [model.name for model in page]
    return sorted(name for name in names if not is_log_name(name))


def _search(client: MlflowClient, words: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    page = client.search_model_versions(words, max_results=1000)
    found += page
    while page.token:
        page = client.search_model_versions(words, max_results=1000, page_token=page.token)
        found += page
    return found


def _require_model(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    if is_log_name(model):
        raise _unknown(client, model, "")
    try:
        client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code in _NOWHERE:
            raise _unknown(client, model, "") from error
        raise


def _version(client: MlflowClient, model: str, number: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    # MLflow's database fails on integers beyond 64 bits.
    if len(number) > _VERSION_DIGITS or is_log_name(model):
        raise _unknown(client, model, number)
    try:
        return client.get_model_version(model, number)
    except MlflowException as error:
        if error.error_code in _NOWHERE:
            raise _unknown(client, model, number) from error
        raise


def _by_alias(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    if is_log_name(model):
        raise _unknown(client, model, alias)
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
    versions = _search(client, f"name = {quoted(model)}")
    aliases = client.get_registered_model(model).aliases
    return UnknownName(f"version or alias of {model}", asked, [*aliases, *(str(v.version) for v in versions)])


def _published(client: MlflowClient, publication: Publication) -> ModelVersion | None:
    """The ready version of this run, if there is one."""
    tag = f"tags.`{_RUN_TAG}` = {quoted(publication.run)}"
    found = client.search_model_versions(f"name = {quoted(publication.model)} and {tag}")
    ready = min((int(version.version) for version in found if version.status == "READY"), default=None)
    # Asked for again, because a search leaves the aliases empty.
    return None if ready is None else client.get_model_version(publication.model, str(ready))


def _log(client: MlflowClient, publication: Publication, folder: Path) -> tuple[LoggedModel, str]:
    """Export the program and store it as a logged model of the tracking run; also the digest of its list."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    from ganlib.programs import export_program
    from ganlib.pt2 import frozen_copy

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
        digest = write_listing(folder)
        client.log_model_artifacts(model.model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY"), digest


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
