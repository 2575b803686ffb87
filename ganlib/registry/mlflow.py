"""The model registry on MLflow: generators as exported programs (pt2), never as pickles.

Everything goes through the MLflow server, artifacts too, so neither the publisher nor those who
fetch need credentials for the object store.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganlib.errors import RegistryError
from ganlib.names import check_alias, check_tags, is_log_name
from ganlib.ports import Publication
from ganlib.records import AliasMove, RegisteredGenerator
from ganlib.registry.alias_log import MlflowAliasLog, timestamp
from ganlib.registry.aliases import Intent, fold, move
from ganlib.registry.checksums import DIGEST_TAG, verify_listing
from ganlib.registry.claims import CLAIM_TAG, agree
from ganlib.registry.versions import (
    DESCRIPTION_CHARACTERS,
    VERSION_DIGITS,
    MlflowClaims,
    get_aliased,
    get_version,
    model_names,
    record_of,
    require_model,
    search_versions,
    upload,
)
from ganlib.settings import Settings
from ganlib.tracking.server import MlflowConnection

# Torch takes seconds to import and moving an alias does not need it: it is imported where it is used.

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from torch import nn


class MlflowRegistry:
    """A :class:`~ganlib.ports.ModelRegistry` on an MLflow server.

    Args:
        settings: Where the server is.

    Raises:
        ConfigError: No address is configured, or it is no ``http://`` URL.
        ServiceError: From every method, within ten seconds when the server is down.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection = MlflowConnection(settings)

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        with self._session() as client:
            return model_names(client)

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        """Return the version that an alias points to, or that has a number. Raises ``UnknownName``."""
        if known := self._resolve_lightly(model, alias_or_version):
            return known
        with self._session() as client:
            if alias_or_version.isdecimal():
                return record_of(get_version(client, model, alias_or_version))
            found = get_aliased(client, model, alias_or_version)
            return record_of(found).model_copy(update={"alias": alias_or_version})

    def publish(self, publication: Publication) -> RegisteredGenerator:
        """Register a version; no alias moves. A run has one version (:mod:`ganlib.registry.claims`).

        A tracking run that was deleted in MLflow is restored; a version that was deleted is published anew.

        Raises:
            RegistryError: The generator does not turn latents into pictures, or cannot be exported.
            RequestRefused: There is no such tracking run.
        """
        with self._session() as client:
            claims = MlflowClaims(client, publication)
            number = agree(claims)
            if number is None:
                with tempfile.TemporaryDirectory(prefix="ganlib-publish-") as scratch:
                    model, digest = upload(client, publication, Path(scratch) / "model")
                claims.create(model, digest)
                number = agree(claims)
            if number is None:
                raise RegistryError(
                    f"the version of run {publication.run} was deleted from {publication.model} while it was "
                    "published; publish it anew with the same command"
                )
            return record_of(get_version(client, publication.model, str(number)))

    def load(self, generator: RegisteredGenerator) -> nn.Module:
        """Load the program on the CPU: latents [batch, latent_dim] to pictures in [−1, 1].

        Raises:
            RegistryError: The artifact is no exported program, holds a pickle, or brings code along; it
                is gone, damaged, or was not registered by ganlib.
            UnknownName: The version is not there any more.
        """
        with self._session() as client, self._fetched(client, generator) as folder:
            from ganlib.registry.program import read_program

            return read_program(folder, _named(generator))

    def download(self, generator: RegisteredGenerator, folder: Path) -> None:
        """Bring all files of a version into an empty folder. Raises as :meth:`load`."""
        with self._session() as client, self._fetched(client, generator) as fetched:
            shutil.copytree(fetched, folder, dirs_exist_ok=True)

    def versions(self, model: str) -> list[RegisteredGenerator]:
        """Return all versions, the newest first. Raises ``UnknownName``."""
        with self._session() as client:
            require_model(client, model)
            # A search leaves the aliases of what it finds empty.
            aliases = client.get_registered_model(model).aliases
            found = [record_of(version) for version in search_versions(client, model)]
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
        """Set tags of a version. Raises ``UnknownName``, and ``ConfigError`` for an invalid tag."""
        check_tags(tags)
        with self._session() as client:
            get_version(client, model, str(version))
            for name, value in tags.items():
                client.set_model_version_tag(model, str(version), name, value)

    def describe(self, model: str, version: int, markdown: str) -> None:
        """Replace the text that the version's page shows. Raises ``UnknownName``."""
        with self._session() as client:
            get_version(client, model, str(version))
            client.update_model_version(model, str(version), markdown[:DESCRIPTION_CHARACTERS])

    def files(self, generator: RegisteredGenerator) -> dict[str, bytes]:
        """Return the files beside the program by name. Raises as :meth:`load`."""
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
        """Move an alias, provided that it still points to ``expected`` (:mod:`ganlib.registry.aliases`).

        Raises:
            AliasMoved: It points elsewhere.
            UnknownName: There is no such model or version.
            ConfigError: The alias is no valid name, or ``who`` or ``why`` cannot be recorded.
        """
        check_alias(alias)
        intent = Intent(alias, version, expected, who, why, kind)
        intent.check()
        with self._session() as client:
            get_version(client, model, str(version))
            return move(model, MlflowAliasLog(client, model), intent, time.time())

    def history(self, model: str) -> list[AliasMove]:
        """Return every move of the model's aliases, the oldest first. Raises ``UnknownName``."""
        with self._session() as client:
            require_model(client, model)
            return fold(model, MlflowAliasLog(client, model).entries())

    def _resolve_lightly(self, model: str, alias_or_version: str) -> RegisteredGenerator | None:
        """Resolve without MLflow's client, whose import takes longer than loading a cached generator.

        Returns ``None`` when anything is unusual; :meth:`resolve` then asks MLflow's client for the reason.
        """
        number = alias_or_version.isdecimal()
        if is_log_name(model) or len(alias_or_version) > (VERSION_DIGITS if number else 255):
            return None
        path, field = ("model-versions/get", "version") if number else ("registered-models/alias", "alias")
        answer = self._connection.ask(path, **{"name": model, field: alias_or_version})
        if answer is None:
            return None
        found = answer["model_version"]
        tags = {tag["key"]: tag.get("value", "") for tag in found.get("tags", ())}
        if CLAIM_TAG in tags:
            return None
        return RegisteredGenerator(
            model=found["name"],
            version=int(found["version"]),
            alias="" if number else alias_or_version,
            tracking_run_id=found.get("run_id", ""),
            aliases=tuple(sorted(found.get("aliases", ()))),
            created=timestamp(int(found["creation_timestamp"]) / 1000),
            tags=tags,
        )

    @contextmanager
    def _fetched(self, client: MlflowClient, generator: RegisteredGenerator) -> Iterator[Path]:
        """Yield a folder with all files of a version, verified and without pickles, and remove it."""
        import mlflow.artifacts

        from ganlib.registry.program import refuse_pickles

        with tempfile.TemporaryDirectory(prefix="ganlib-fetch-") as scratch:
            found = get_version(client, generator.model, str(generator.version))
            if DIGEST_TAG not in found.tags:  # and its source may be anywhere, or need credentials
                raise RegistryError(
                    f"{_named(generator)} was not registered by ganlib: it has no tag {DIGEST_TAG}, by which "
                    "its files could be verified. Use another version, or fetch it with MLflow's own client"
                )
            try:
                where = client.get_model_version_download_uri(found.name, found.version)
                folder = mlflow.artifacts.download_artifacts(
                    artifact_uri=where,
                    dst_path=scratch,
                    tracking_uri=self._connection.address,
                    registry_uri=self._connection.address,
                )
            except Exception as error:  # each kind of artifact store has exceptions of its own
                self._connection.check()
                raise _gone(generator, error) from error
            refuse_pickles(Path(folder), _named(generator))
            verify_listing(Path(folder), found.tags.get(DIGEST_TAG, ""), _named(generator))
            yield Path(folder)

    @contextmanager
    def _session(self) -> Iterator[MlflowClient]:
        self._connection.check()
        with self._connection.client() as client:
            yield client


def _named(generator: RegisteredGenerator) -> str:
    return f"{generator.model} version {generator.version}"


def _gone(generator: RegisteredGenerator, error: Exception) -> RegistryError:
    reason = " ".join(str(error).split())[:300]
    return RegistryError(
        f"the files of {_named(generator)} cannot be fetched, although the registry lists it: {reason}. If "
        "they were deleted, use another version, or publish it anew with `ganlib retrain RECIPE --force`"
    )
