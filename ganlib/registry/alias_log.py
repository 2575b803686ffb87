"""A model's log of alias moves on MLflow: the versions of a companion model, ``NAME.moves``."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar, cast

from ganlib.errors import UnknownName
from ganlib.names import log_name
from ganlib.records import MoveKind
from ganlib.registry.aliases import Intent, MoveEntry
from ganlib.tracking.server import quoted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

T = TypeVar("T")

_ATTEMPTS = 12
_PREFIX = "ganlib.move."
_SETTLED = f"{_PREFIX}settled"
_HIDING_TAG = "mlflow.prompt.is_prompt"
"""MLflow leaves a model with this tag out of its list of models, and shows it among the prompts, which only
its pages for language models have. Its client then finds no such model; searches for versions still do, since
these have no such tag."""
_NO_SOURCE = "s3://no-files/this-is-no-model"
"""A version must have a source; MLflow looks at its form, and nobody fetches this one."""
_DESCRIPTION = (
    "ganlib's log of the moves of the aliases of {model}: one version for each. It is no model. "
    "`ganlib model show {model}` reads it; do not change or delete it."
)


class MlflowAliasLog:
    """A :class:`~ganlib.registry.aliases.AliasLog` on an MLflow server.

    The server gives every new version the next number in a transaction of its own, so entries
    have one order, which all see alike.

    Args:
        client: For the server.
        model: The model; it exists.
    """

    def __init__(self, client: MlflowClient, model: str) -> None:
        self._client, self._model, self._log = client, model, log_name(model)

    def entries(self) -> list[MoveEntry]:
        """The whole log in its order; versions that ganlib did not write are left out."""
        found, token = [], None
        while True:
            page = self._client.search_model_versions(
                f"name = {quoted(self._log)}", max_results=10_000, page_token=token
            )
            found += [entry for version in page if (entry := _entry(version)) is not None]
            token = page.token
            if not token:
                return sorted(found, key=lambda entry: entry.number)

    def append(self, intent: Intent, settled: bool) -> MoveEntry:
        """Put an intent at the end of the log."""
        if ensure_model(self._client, self._log, _DESCRIPTION.format(model=self._model)):
            self._hide()
        where = "nowhere" if intent.version is None else f"to version {intent.version}"
        tags = {
            f"{_PREFIX}alias": intent.alias,
            f"{_PREFIX}version": _text(intent.version),
            f"{_PREFIX}expected": _text(intent.expected),
            f"{_PREFIX}who": intent.who,
            f"{_PREFIX}why": intent.why,
            f"{_PREFIX}kind": intent.kind,
            f"{_PREFIX}after": str(intent.after),
            f"{_PREFIX}token": intent.token,
            **({_SETTLED: "true"} if settled else {}),
        }

        def create() -> ModelVersion:
            return self._client.create_model_version(
                self._log,
                source=_NO_SOURCE,
                tags=tags,
                description=f"{intent.kind}: {intent.alias} {where}, by {intent.who}: {intent.why}",
                await_creation_for=0,
            )

        entry = _entry(retry_when_locked(create))
        assert entry is not None
        return entry

    def _hide(self) -> None:
        """Take the log out of MLflow's list of models, where a log that earlier versions made stands too."""
        retry_when_locked(lambda: self._client.set_registered_model_tag(self._log, _HIDING_TAG, "true"))

    def settle(self, number: int) -> None:
        """Mark an entry as settled."""
        # The call for models refuses one that is hidden; this one takes both.
        retry_when_locked(
            lambda: self._client.set_prompt_version_tag(self._log, str(number), _SETTLED, "true")
        )

    def pointed(self, alias: str) -> int | None:
        """Where an alias points."""
        version = self._client.get_registered_model(self._model).aliases.get(alias)
        return None if version is None else int(version)

    def point(self, alias: str, version: int | None) -> None:
        """Point an alias, or remove it. Raises ``UnknownName`` when the version is gone."""
        from mlflow.exceptions import MlflowException

        def write() -> None:
            if version is None:
                self._client.delete_registered_model_alias(self._model, alias)
            else:
                self._client.set_registered_model_alias(self._model, alias, str(version))

        try:
            retry_when_locked(write)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UnknownName(f"version of {self._model}", str(version), [], "it was deleted") from error


def ensure_model(client: MlflowClient, name: str, description: str | None = None) -> bool:
    """Make a registered model if there is none of that name.

    Returns:
        Whether it is seen among the models; not so a log that is hidden already.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    else:
        return True
    try:
        retry_when_locked(lambda: client.create_registered_model(name, description=description))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def retry_when_locked(ask: Callable[[], T]) -> T:
    """Return the server's answer; ask again when its database is locked by other writers."""
    from mlflow.exceptions import MlflowException

    pause = threading.Event()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return ask()
        except MlflowException as error:
            crowded = "Giving up after" in str(error) or "database is locked" in str(error)
            if not crowded or attempt == _ATTEMPTS:
                raise
            # No event tells when the others are done; a random pause keeps the writers apart.
            pause.wait(random.uniform(0.01, 0.05 * attempt))  # noqa: S311
    raise AssertionError("unreachable")


def _entry(version: ModelVersion) -> MoveEntry | None:
    tags = {name.removeprefix(_PREFIX): value for name, value in version.tags.items()}
    try:
        intent = Intent(
            alias=tags["alias"],
            version=_number(tags["version"]),
            expected=_number(tags["expected"]),
            who=tags["who"],
            why=tags["why"],
            kind=cast(MoveKind, tags["kind"]),
            after=int(tags["after"]),
            token=tags["token"],
        )
    except (KeyError, ValueError):  # somebody else's version, which says nothing about an alias
        return None
    if intent.kind not in ("move", "rollback", "found"):
        return None
    seconds = version.creation_timestamp / 1000
    return MoveEntry(int(version.version), intent, seconds, timestamp(seconds), "settled" in tags)


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as UTC, ISO 8601, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _text(number: int | None) -> str:
    return "nowhere" if number is None else str(number)


def _number(text: str) -> int | None:
    return None if text == "nowhere" else int(text)
