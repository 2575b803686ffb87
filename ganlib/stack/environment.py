"""Environment variables of the services' processes.

Nothing of the caller's own Prefect, MLflow, Ray, S3 or ganlib settings leaks in: what is meant is
set here from :class:`~ganlib.settings.Settings`. None of the services is allowed to report its use.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ganlib.errors import ConfigError
from ganlib.logins import MLFLOW_VARIABLES, credential_variables, library_variables, login_headers
from ganlib.records import digest_of
from ganlib.settings import (
    ADDRESS_VARIABLE,
    CREDENTIALS,
    ServiceName,
    Settings,
    page_of,
    reach_loopback_directly,
)
from ganlib.stack import probes
from ganlib.stack.home import Credentials, Layout, embedded_credentials, read_credentials
from ganlib.stack.state import StackRecord

POOL = "ganlib"
"""Prefect's work pool, and the name of the worker that serves it here."""

_STRIPPED = ("GANLIB_", "PREFECT_", "MLFLOW_", "RAY_", "MINIO_", "JFS_")


@dataclass(frozen=True)
class Context:
    """Settings, files, ports and keys that a service needs to start."""

    settings: Settings
    layout: Layout
    ports: Mapping[str, int]
    keys: Credentials
    """Keys of the S3 gateway here, or of the store that the settings point to."""
    ray_folder: Path

    @classmethod
    def recorded(cls, settings: Settings, record: StackRecord) -> Context:
        """Return the context that ``stack.json`` records.

        Raises:
            ConfigError: The credentials are damaged, or the environment gives others.
        """
        layout = Layout(settings.home)
        if layout.credentials.exists():
            settings = with_embedded_credentials(settings, layout)
        given = Credentials(settings.s3_access_key_id or "", settings.s3_secret_access_key or SecretStr(""))
        keys = given if "s3" in settings.own or not layout.credentials.exists() else read_credentials(layout)
        if given.key_id not in ("", keys.key_id):
            raise ConfigError(
                f"the environment gives S3 keys, and the S3 gateway of {settings.home} has its own: unset "
                "GANLIB_S3_ACCESS_KEY_ID, or set GANLIB_S3_ENDPOINT_URL too for a store of your own"
            )
        return cls(settings, layout, record.ports, keys, Path(record.ray_folder or layout.folder("ray")))

    def url(self, service: str) -> str:
        """Return a service's address: an embedded one's, or the one that the settings point to."""
        for name in self.settings.own:
            if name == service:
                return self.settings.address(name) or ""
        if service == "worker":
            return page_of("prefect", self.url("prefect")) + f"/work-pools/work-pool/{POOL}"
        if service not in self.ports:
            raise ConfigError(
                f"{service} has never been started in {self.settings.home}: start it with `ganlib up`"
            )
        return f"http://127.0.0.1:{self.ports[service]}" + ("/api" if service == "prefect" else "")

    def ask(self, service: ServiceName, path: str, body: Any = None, *, at: str | None = None) -> Any:
        """Return a service's JSON answer to a GET, or to a POST of ``body``, logged in.

        Args:
            service: Any but ``"s3"``.
            path: Beginning with a slash; it follows the service's address.
            body: JSON to post.
            at: The address, where it is another one than :meth:`url` gives.

        Raises:
            NotAnswering: No connection, no answer in time, an error status, or no JSON.
        """
        address = at or self.url(service)
        return probes.answer(f"{address}{path}", body, login_headers(self.settings, service))


def with_embedded_credentials(settings: Settings, layout: Layout) -> Settings:
    """Return the settings with the home's own credentials for all services that run here.

    Settings that were read before the first `ganlib up` had made credentials lack them.

    Raises:
        ConfigError: The credentials' file is damaged.
    """
    foreign = {name for service in settings.own for name in CREDENTIALS[service]}
    made = embedded_credentials(layout)
    return settings.model_copy(update={name: made[name] for name in made.keys() - foreign})


def digest_of_settings(settings: Settings) -> str:
    """Digest of what the services' environment depends on, secrets left out."""
    names = ("s3_bucket", "s3_region", "s3_checksums", "cache_bytes")
    chosen = {name: getattr(settings, name) for name in names}
    own = {name: settings.address(name) for name in sorted(settings.own)}
    # Services that an older ganlib started ask for none.
    asking = [name for name in ("prefect", "ray") if name not in settings.own]
    return digest_of({"chosen": chosen, "own": own, "asking for credentials": asking})


def common(context: Context) -> dict[str, str]:
    """The environment that all services share; it carries no secret of the embedded gateway."""
    settings = context.settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_STRIPPED)}
    if "s3" not in settings.own:
        environment = {name: value for name, value in environment.items() if not name.startswith("AWS_")}
    environment.update(
        GANLIB_HOME=str(settings.home),
        GANLIB_S3_BUCKET=settings.s3_bucket,
        GANLIB_S3_REGION=settings.s3_region,
        GANLIB_S3_CHECKSUMS=settings.s3_checksums,
        GANLIB_PORTS=settings.ports,
        # pyarrow's S3 filesystem sends chunked uploads otherwise, which S3-compatible servers refuse.
        AWS_REQUEST_CHECKSUM_CALCULATION=settings.s3_checksums,
        AWS_RESPONSE_CHECKSUM_VALIDATION=settings.s3_checksums,
        PATH=_first(sysconfig.get_path("scripts"), environment.get("PATH", os.defpath)),
        PYTHONPATH=_first(str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")),
        PYTHONUNBUFFERED="1",
        DO_NOT_TRACK="true",
        MLFLOW_DISABLE_TELEMETRY="true",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        RAY_USAGE_STATS_ENABLED="0",
    )
    if settings.cache_bytes is not None:
        environment["GANLIB_CACHE_BYTES"] = str(settings.cache_bytes)
    for service in settings.own:
        environment[ADDRESS_VARIABLE[service]] = settings.address(service) or ""
    if "mlflow" in settings.own:
        environment.update({name: os.environ[name] for name in MLFLOW_VARIABLES if name in os.environ})
    # Those of the embedded services are read from the home.
    environment.update(credential_variables(settings, settings.own))
    reach_loopback_directly(environment)
    return environment


def s3_client(context: Context) -> dict[str, str]:
    """Return the variables with which boto3 inside a server reaches the object store."""
    settings = context.settings
    environment = {
        "MLFLOW_S3_ENDPOINT_URL": context.url("s3"),
        "AWS_DEFAULT_REGION": settings.s3_region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    if "s3" not in settings.own:
        # The AWS profiles in the user's home belong to other stores.
        environment.update(AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    elif not context.keys.key_id:
        del environment["AWS_EC2_METADATA_DISABLED"]
        return environment
    environment.update(
        AWS_ACCESS_KEY_ID=context.keys.key_id, AWS_SECRET_ACCESS_KEY=context.keys.secret.get_secret_value()
    )
    return environment


def prefect_client(context: Context) -> dict[str, str]:
    """Return the variables for Prefect's client, worker and flow runs; nothing goes to ``~/.prefect``."""
    return {
        "PREFECT_HOME": str(context.layout.folder("prefect")),
        "PREFECT_API_URL": context.url("prefect"),
        **library_variables(context.settings, "prefect"),
        **prefect_options(),
    }


def prefect_options() -> dict[str, str]:
    """Return the settings of Prefect's client, worker and flow runs that are the same everywhere."""
    return {
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        # So that a run started by hand is picked up within seconds, and a dead one noticed within minutes.
        "PREFECT_WORKER_QUERY_SECONDS": "3",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }


def _first(folder: str, path: str) -> str:
    return os.pathsep.join([folder, *(part for part in path.split(os.pathsep) if part and part != folder)])
