"""Reaching one MLflow server: waits that are bounded, no chatter, and errors of our own tree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests

from ganlib.errors import ConfigError, RequestRefused, ServiceError
from ganlib.settings import ADDRESS_VARIABLE, Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CONNECT_SECONDS, _ANSWER_SECONDS = 3, 4
_CLIENT_ENVIRONMENT = {
    # MLflow's own bounds are 8 attempts of 120 s: a quarter of an hour for one call.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_LOGIN = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


class MlflowServer:
    """A server and a client of its own for it; MLflow's process-wide tracking URI is neither read nor set.

    MLflow takes its timeouts from the environment alone, so the first use of :meth:`client` puts
    bounds there; what the user has set stays.

    Args:
        settings: Where the server is.

    Raises:
        ConfigError: No address is configured, or it is no ``http://`` URL.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = settings.require("mlflow").rstrip("/")
        if not self.address.startswith(("http://", "https://")):
            raise ConfigError(
                f"{ADDRESS_VARIABLE['mlflow']} cannot be used: {self.address!r} is no server's URL; "
                "it must be as http://host:port"
            )

    @cached_property
    def _client(self) -> MlflowClient:
        for name, value in _CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # Not before the environment is set: importing MLflow prepares its usage reports.
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.address, registry_uri=self.address)

    def check(self) -> None:
        """Ask whether the server is there; anything that it answers will do.

        Raises:
            ServiceError: Nothing answers, known within eight seconds.
        """
        try:
            requests.get(f"{self.address}/health", timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS))
        except requests.ReadTimeout:
            raise self._error(
                f"it takes connections and does not answer within {_ANSWER_SECONDS} s"
            ) from None
        except requests.RequestException as error:
            # The text of these errors repeats the URL, with a password in it if there is one.
            raise self._error(f"nothing answers there ({type(error).__name__})") from None

    def ask(self, path: str, **query: str) -> dict[str, Any] | None:
        """What the REST interface answers to a simple question, without importing MLflow's client.

        Args:
            path: Below ``/api/2.0/mlflow/``.
            query: Its parameters.

        Returns:
            ``None`` for every answer but a plain yes: :meth:`client` tells what is the matter, and knows all
            ways to log in.
        """
        user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD"))
        token = os.environ.get("MLFLOW_TRACKING_TOKEN", "")
        try:
            answer = requests.get(
                f"{self.address}/api/2.0/mlflow/{path}",
                params=query,
                auth=(user, password) if user else None,
                headers={"Authorization": f"Bearer {token}"} if token and not user else None,
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            )
            return dict(answer.json()) if answer.status_code == 200 else None
        except (requests.RequestException, ValueError):
            return None

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """MLflow's client for this server; what it raises inside becomes ours.

        Raises:
            RequestRefused: The server works and refuses this request.
            ServiceError: It cannot be reached, fails, or refuses the login.
        """
        client = self._client
        from mlflow.exceptions import MlflowException

        try:
            yield client
        except MlflowException as error:
            raise self._translated(error) from None
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in {401, 403}:
                raise self._error(f"it refuses the login (HTTP {status})", _LOGIN) from None
            reason = f"it answers with HTTP {status}"
            raise (self.refusal(reason) if 400 <= status < 500 else self._error(reason)) from None
        except requests.RequestException as error:
            raise self._error(f"the connection failed ({type(error).__name__})") from None

    def _translated(self, error: Exception) -> ServiceError:
        code = str(getattr(error, "error_code", ""))
        reason = " ".join(str(error).removeprefix(f"{code}: ").split())
        reason = reason if len(reason) <= 400 else reason[:400] + "…"
        if code in {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}:
            return self._error(f"it refuses the login: {reason}", _LOGIN)
        return self.refusal(reason) if code in _REFUSALS else self._error(reason)

    def refusal(self, reason: str) -> RequestRefused:
        """An error for a request that no repetition will make succeed."""
        return RequestRefused("mlflow", self.address, ADDRESS_VARIABLE["mlflow"], reason)

    def _error(self, reason: str, setting: str = ADDRESS_VARIABLE["mlflow"]) -> ServiceError:
        return ServiceError("mlflow", self.address, setting, reason)


def quoted(value: str) -> str:
    """A string literal of MLflow's search language.

    Raises:
        ConfigError: It holds both kinds of quotes, which that language cannot write.
    """
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise ConfigError(f"{value!r} cannot be looked for in MLflow: use at most one kind of quotation marks")
