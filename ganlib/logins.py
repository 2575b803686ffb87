"""How a process logs in to the services: headers for plain HTTP, and variables for their own libraries."""

from __future__ import annotations

import base64
import os
import urllib.request
from collections.abc import Iterable
from typing import Any

from pydantic import SecretStr

from ganlib.settings import CREDENTIALS, VARIABLES, ServiceName, Settings

CREDENTIAL_VARIABLE: dict[ServiceName, str] = {
    "s3": "GANLIB_S3_ACCESS_KEY_ID and GANLIB_S3_SECRET_ACCESS_KEY",
    "mlflow": "GANLIB_MLFLOW_USERNAME and GANLIB_MLFLOW_PASSWORD",
    "prefect": "GANLIB_PREFECT_AUTH",
    "ray": "GANLIB_RAY_TOKEN",
}
"""Environment variables with a service's credential, for messages, by service."""


MLFLOW_VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Variables with which MLflow's own library logs in to a server of one's own."""


def login_headers(settings: Settings, service: ServiceName) -> dict[str, str]:
    """HTTP headers with which a service lets this process in; none for one that asks for no credential.

    Args:
        service: Any but ``"s3"``, whose requests are signed one by one.
    """
    if service == "mlflow" and settings.mlflow_username:
        return _basic(f"{settings.mlflow_username}:{_text(settings.mlflow_password)}")
    if service == "mlflow" and "mlflow" in settings.own:
        return _mlflows_own_login()
    if service == "prefect" and settings.prefect_auth:
        return _basic(_text(settings.prefect_auth))
    if service == "ray" and settings.ray_token:
        return {"Authorization": f"Bearer {_text(settings.ray_token)}"}
    return {}


def _mlflows_own_login() -> dict[str, str]:
    """The header for a login in MLflow's own variables, which its library reads by itself."""
    user, password, token = (os.environ.get(name, "") for name in MLFLOW_VARIABLES)
    if user:
        return _basic(f"{user}:{password}")
    return {"Authorization": f"Bearer {token}"} if token else {}


def library_variables(settings: Settings, service: ServiceName) -> dict[str, str]:
    """Environment variables with which the service's own Python library logs in.

    Ray's library is told its mode in any case: a token in the user's home, which belongs to another cluster,
    would make it refuse one that asks for none.
    """
    if service == "mlflow" and settings.mlflow_username:
        return {
            "MLFLOW_TRACKING_USERNAME": settings.mlflow_username,
            "MLFLOW_TRACKING_PASSWORD": _text(settings.mlflow_password),
        }
    if service == "prefect" and settings.prefect_auth:
        return {"PREFECT_API_AUTH_STRING": _text(settings.prefect_auth)}
    if service == "ray" and settings.ray_token:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _text(settings.ray_token)}
    return {"RAY_AUTH_MODE": "disabled"} if service == "ray" else {}


def credential_variables(settings: Settings, services: Iterable[ServiceName]) -> dict[str, str]:
    """The credentials of some services as ganlib's own environment variables, for another process."""
    values = {name: getattr(settings, name) for service in services for name in CREDENTIALS[service]}
    texts = {name: _text(value) if isinstance(value, SecretStr) else value for name, value in values.items()}
    return {VARIABLES[name]: text for name, text in texts.items() if text}


def credentials_of(settings: Settings, service: ServiceName) -> list[str]:
    """A service's credential as a person types it, a field each; nothing where none is known."""
    held = [getattr(settings, name) for name in CREDENTIALS[service]]
    return [_text(value) if isinstance(value, SecretStr) else value for value in held if value]


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Hand a redirect on as an answer: followed, it would carry the credential to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return


def secrets_of(settings: Settings) -> list[str]:
    """Every secret that the settings hold, to be starred out of a text before a person sees it.

    A pair ``user:password`` counts as a whole and by its password, since programs print either.
    """
    held = [getattr(settings, name) for names in CREDENTIALS.values() for name in names]
    texts = [value.get_secret_value() for value in held if isinstance(value, SecretStr)]
    passwords = [_text(settings.prefect_auth).partition(":")[2]]
    return [text for text in [*texts, *passwords] if text]


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _basic(pair: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
