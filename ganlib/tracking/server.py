"""Requests to one MLflow server, with bounded waits, no output, and ganlib's own errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests

from ganlib.errors import ConfigError, RequestRefused, ServiceError
from ganlib.logins import CREDENTIAL_VARIABLE, library_variables, login_headers
from ganlib.settings import ADDRESS_VARIABLE, Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_log = logging.getLogger(__name__)
_CONNECT_SECONDS, _ANSWER_SECONDS = 3, 4
_CLIENT_ENVIRONMENT = {
    # MLflow's defaults, 8 attempts of 120 s, would hold one call for a quarter of an hour.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Artifacts come through the server. By default clients ask it for addresses in its object store, which is
    # often out of their reach, and then try for a quarter of an hour.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}
_LOGIN = f"{CREDENTIAL_VARIABLE['mlflow']}, or MLflow's own MLFLOW_TRACKING_TOKEN"


class MlflowConnection:
    """One MLflow server and a client for it; MLflow's process-wide tracking URI is neither read nor set.

    MLflow takes its timeouts from the environment alone, so the first use of :meth:`client` sets them
    there; variables that the user has set stay.

    Args:
        settings: Where the server is.

    Raises:
        ConfigError: No address is configured, or it is no ``http://`` URL.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = settings.require("mlflow").rstrip("/")
        self._variables = library_variables(settings, "mlflow")
        self._headers = login_headers(settings, "mlflow")
        if not self.address.startswith(("http://", "https://")):
            raise ConfigError(
                f"{ADDRESS_VARIABLE['mlflow']} cannot be used: {self.address!r} is no server's URL; "
                "it must be as http://host:port"
            )

    @cached_property
    def _client(self) -> MlflowClient:
        for name, value in _CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        os.environ.update(self._variables)
        # Not before the environment is set: importing MLflow prepares its usage reports.
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.address, registry_uri=self.address)

    def check(self) -> None:
        """Ask whether the server is there; any answer is good enough.

        Raises:
            ServiceError: Nothing answers; this is known within eight seconds.
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
        """Read from the REST interface without importing MLflow's client, which takes over a second.

        Args:
            path: The part of the URL after ``/api/2.0/mlflow/``.
            query: The request's parameters.

        Returns:
            The answer, or ``None`` if it has any other status than 200: :meth:`client` can tell the reason,
            and knows all ways to log in.
        """
        try:
            answer = requests.get(
                f"{self.address}/api/2.0/mlflow/{path}",
                params=query,
                headers=self._headers,
                allow_redirects=False,
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            )
            return dict(answer.json()) if answer.status_code == 200 else None
        except (requests.RequestException, ValueError):
            return None

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """Yield MLflow's client for this server; exceptions that it raises become ganlib's.

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
            raise (self._refusal(reason) if 400 <= status < 500 else self._error(reason)) from None
        except requests.RequestException as error:
            raise self._error(f"the connection failed ({type(error).__name__})") from None

    def _translated(self, error: Exception) -> ServiceError:
        code = str(getattr(error, "error_code", ""))
        reason = " ".join(str(error).removeprefix(f"{code}: ").split())
        reason = reason if len(reason) <= 400 else reason[:400] + "…"
        if code in {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}:
            return self._error(f"it refuses the login: {reason}", _LOGIN)
        return self._refusal(reason) if code in _REFUSALS else self._error(reason)

    def _refusal(self, reason: str) -> RequestRefused:
        """Make an error for a request that would be refused again if it were repeated."""
        return RequestRefused("mlflow", self.address, ADDRESS_VARIABLE["mlflow"], reason)

    def _error(self, reason: str, setting: str = ADDRESS_VARIABLE["mlflow"]) -> ServiceError:
        return ServiceError("mlflow", self.address, setting, reason)


def active_run(client: MlflowClient, run_id: str) -> Run:
    """Return a tracking run that can be written to: one that was deleted in MLflow is restored first.

    Its experiment is restored too, with all the experiment's runs, if it was deleted. A warning is logged.
    """
    run = client.get_run(run_id)
    if run.info.lifecycle_stage == "active":
        return run
    restore_experiment(client, run.info.experiment_id)
    client.restore_run(run_id)
    _log.warning("run %s (%s) was deleted in MLflow and is still in use: restored", run.info.run_name, run_id)
    return client.get_run(run_id)


def restore_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Restore an experiment if it was deleted in MLflow, which restores its runs too, and log a warning."""
    experiment = client.get_experiment(experiment_id)
    if experiment.lifecycle_stage == "active":
        return
    client.restore_experiment(experiment_id)
    _log.warning(
        "experiment %s was deleted in MLflow and is still in use: restored with its runs", experiment.name
    )


def quoted(value: str) -> str:
    """Write a string literal of MLflow's search language.

    Raises:
        ConfigError: It holds both kinds of quotes, which that language cannot write.
    """
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise ConfigError(f"{value!r} cannot be looked for in MLflow: use at most one kind of quotation marks")
