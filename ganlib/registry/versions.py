"""Versions of registered models on an MLflow server: find, describe, claim and upload them.

:class:`~ganlib.registry.mlflow.MlflowRegistry` is made of these functions; errors of the server pass through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ganlib.errors import UnknownName
from ganlib.names import RUN_TAG, is_log_name
from ganlib.ports import Publication
from ganlib.records import RegisteredGenerator
from ganlib.registry.alias_log import ensure_model, retry_when_locked, timestamp
from ganlib.registry.checksums import DIGEST_TAG, write_listing
from ganlib.registry.claims import CLAIM_TAG, Claim
from ganlib.tracking.server import active_run, quoted

# As in registry.mlflow: neither torch nor MLflow is imported before it is needed.

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

VERSION_DIGITS = 9
DESCRIPTION_CHARACTERS = 5000
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_NOWHERE = {_MISSING, "INVALID_PARAMETER_VALUE"}
_PUBLISH_FIRST = "publish one with `ganlib retrain digits-wgan`"


def record_of(version: ModelVersion) -> RegisteredGenerator:
    """Describe a version in ganlib's own terms."""
    return RegisteredGenerator(
        model=version.name,
        version=int(version.version),
        tracking_run_id=version.run_id or "",
        aliases=tuple(sorted(version.aliases)),
        created=timestamp(version.creation_timestamp / 1000),
        tags=dict(version.tags),
    )


def model_names(client: MlflowClient) -> list[str]:
    """Return the names of all registered models, sorted."""
    names: list[str] = []
    page = client.search_registered_models()
    names += [model.name for model in page]
    while page.token:
        page = client.search_registered_models(page_token=page.token)
        names += [model.name for model in page]
    return sorted(name for name in names if not is_log_name(name))


def search_versions(client: MlflowClient, model: str) -> list[ModelVersion]:
    """Return all versions that readers see; MLflow leaves the aliases of what a search finds empty."""
    return [found for found in _search(client, f"name = {quoted(model)}") if CLAIM_TAG not in found.tags]


def _search(client: MlflowClient, condition: str) -> list[ModelVersion]:
    found: list[ModelVersion] = []
    page = client.search_model_versions(condition, max_results=1000)
    found += page
    while page.token:
        page = client.search_model_versions(condition, max_results=1000, page_token=page.token)
        found += page
    return found


def require_model(client: MlflowClient, model: str) -> None:
    """Raise ``UnknownName`` if there is no such model."""
    with _asked(client, model, ""):
        client.get_registered_model(model)


def get_version(client: MlflowClient, model: str, number: str) -> ModelVersion:
    """Return a version by its number. Raises ``UnknownName``."""
    # MLflow's database fails on integers beyond 64 bits.
    if len(number) > VERSION_DIGITS:
        raise _unknown(client, model, number)
    with _asked(client, model, number):
        found = client.get_model_version(model, number)
    if CLAIM_TAG in found.tags:
        raise _unknown(client, model, number)
    return found


def get_aliased(client: MlflowClient, model: str, alias: str) -> ModelVersion:
    """Return the version that an alias points to. Raises ``UnknownName``."""
    with _asked(client, model, alias):
        return client.get_model_version_by_alias(model, alias)


@contextmanager
def _asked(client: MlflowClient, model: str, asked: str) -> Iterator[None]:
    """Turn MLflow's "not found" into ``UnknownName``; the log of a model's aliases counts as not found."""
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
    """Make an error that says that the model does not exist, or which versions and aliases it has."""
    names = model_names(client)
    if model not in names:
        return UnknownName("model", model, names, "" if names else _PUBLISH_FIRST)
    numbers = [str(found.version) for found in search_versions(client, model)]
    known = [*client.get_registered_model(model).aliases, *numbers]
    return UnknownName(f"version or alias of {model}", asked, known, "" if known else _PUBLISH_FIRST)


class MlflowClaims:
    """The :class:`~ganlib.registry.claims.Claims` of one run on an MLflow server.

    Args:
        client: A client of that server.
        publication: The model and the run.
    """

    def __init__(self, client: MlflowClient, publication: Publication) -> None:
        self._client, self._publication = client, publication
        self._versions: dict[int, ModelVersion] = {}

    def found(self) -> list[Claim]:
        """List the run's versions; those that ganlib did not make are left out."""
        of_run = f"tags.`{RUN_TAG}` = {quoted(self._publication.run)}"
        versions = _search(self._client, f"name = {quoted(self._publication.model)} and {of_run}")
        self._versions = {int(each.version): each for each in versions if DIGEST_TAG in each.tags}
        return [Claim(number, CLAIM_TAG not in each.tags) for number, each in self._versions.items()]

    def create(self, model: LoggedModel, digest: str) -> None:
        """Create a version with the claim's mark; its files are complete by now."""
        publication = self._publication
        ensure_model(self._client, publication.model)
        retry_when_locked(
            lambda: self._client.create_model_version(
                publication.model,
                source=f"models:/{model.model_id}",
                run_id=publication.tracking_run_id,
                tags={**publication.all_tags(), DIGEST_TAG: digest, CLAIM_TAG: "true"},
                description=publication.description[:DESCRIPTION_CHARACTERS] or None,
                # Not MLflow's own waiting: it logs, and sleeps for seconds.
                await_creation_for=0,
                model_id=model.model_id,
            )
        )

    def confirm(self, number: int) -> None:
        """Enter the version's files among the outputs of its run, and remove its mark."""
        version = self._versions[number]
        _add_output(self._client, version.run_id or "", _logged_model(version))
        retry_when_locked(lambda: self._client.delete_model_version_tag(version.name, str(number), CLAIM_TAG))

    def withdraw(self, number: int) -> None:
        """Delete a version and its logged model; what is gone is no error."""
        version = self._versions[number]
        with _may_be_missing():
            retry_when_locked(lambda: self._client.delete_model_version(version.name, str(number)))
        with _may_be_missing():
            self._client.delete_logged_model(_logged_model(version))


def _logged_model(version: ModelVersion) -> str:
    return (version.source or "").removeprefix("models:/")


def _add_output(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Enter a logged model among a run's outputs, once."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    def is_there() -> bool:
        outputs = active_run(client, run_id).outputs
        return outputs is not None and model_id in {output.model_id for output in outputs.model_outputs}

    if is_there():
        return
    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    except MlflowException:
        # MLflow takes no output twice, and another publisher may have been faster.
        if not is_there():
            raise


@contextmanager
def _may_be_missing() -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise


def upload(client: MlflowClient, publication: Publication, folder: Path) -> tuple[LoggedModel, str]:
    """Export the program and upload all files as a logged model of the tracking run.

    Args:
        client: A client of the server.
        publication: What to upload.
        folder: Scratch space; not there yet.

    Returns:
        The logged model, and the digest of its list of files.

    Raises:
        RegistryError: The generator does not turn latents into pictures, cannot be exported, or its program
            would be refused when it is fetched.
    """
    from mlflow.models import Model

    from ganlib.registry.export import export_program
    from ganlib.registry.program import frozen_copy, read_program

    generator, picture = frozen_copy(publication)
    run = active_run(client, publication.tracking_run_id)
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
        for name, data in publication.all_files().items():
            (folder / "files").mkdir(exist_ok=True)
            (folder / "files" / name).write_bytes(data)
        digest = write_listing(folder)
        # A version that every fetch would refuse must not be registered.
        read_program(folder, f"the program of run {publication.run}")
        client.log_model_artifacts(model.model_id, str(folder))
    except BaseException:
        client.finalize_logged_model(model.model_id, "FAILED")
        raise
    return client.finalize_logged_model(model.model_id, "READY"), digest
