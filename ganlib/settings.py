"""Endpoints, credentials and folders. The environment is read here and nowhere else.

Each service is looked for in this order:

1. its ``GANLIB_…`` environment variable, for a service of one's own;
2. in a job ``GANLIB_JOB_…``, the address that its submitter uses;
3. ``$GANLIB_HOME/services.json`` and ``credentials.json``, which ``ganlib up`` writes.

Secrets live in fields of type ``SecretStr``: printing, logging or serializing the settings shows
stars. Each may also stand in a file that ``GANLIB_…_FILE`` names, as container engines mount them. They
reach a cluster's workers through the environment of its nodes or the credentials file on the same
machine, never through a job's description, which Ray's dashboard shows to everybody.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from ganlib.errors import ConfigError, DiskFull, without_userinfo
from ganlib.field_words import Words, type_of


def _bytes(value: Any) -> int:
    """A number of bytes: plain, or with a unit, as 20GB (10⁹) or 20GiB (2³⁰)."""
    return int(TypeAdapter(ByteSize).validate_python(value))


ServiceName = Literal["s3", "mlflow", "prefect", "ray"]
ADDRESS_VARIABLE: dict[ServiceName, str] = {
    "s3": "GANLIB_S3_ENDPOINT_URL",
    "mlflow": "GANLIB_MLFLOW_URI",
    "prefect": "GANLIB_PREFECT_API_URL",
    "ray": "GANLIB_RAY_ADDRESS",
}
"""Environment variable that points to a service of one's own, by service."""

ADDRESS_FIELD: dict[ServiceName, str] = {
    "s3": "s3_endpoint_url",
    "mlflow": "mlflow_uri",
    "prefect": "prefect_api_url",
    "ray": "ray_address",
}
"""Field of :class:`Settings`, and of ``services.json``, with a service's address, by service."""

CREDENTIALS: dict[ServiceName, tuple[str, ...]] = {
    "s3": ("s3_access_key_id", "s3_secret_access_key"),
    "mlflow": ("mlflow_username", "mlflow_password"),
    "prefect": ("prefect_auth",),
    "ray": ("ray_token",),
}
"""Fields of :class:`Settings`, and of ``credentials.json``, that let one into a service, by service."""

VARIABLES = {
    "s3_endpoint_url": "GANLIB_S3_ENDPOINT_URL",
    "s3_region": "GANLIB_S3_REGION",
    "s3_bucket": "GANLIB_S3_BUCKET",
    "s3_access_key_id": "GANLIB_S3_ACCESS_KEY_ID",
    "s3_secret_access_key": "GANLIB_S3_SECRET_ACCESS_KEY",
    "s3_checksums": "GANLIB_S3_CHECKSUMS",
    "mlflow_uri": "GANLIB_MLFLOW_URI",
    "mlflow_username": "GANLIB_MLFLOW_USERNAME",
    "mlflow_password": "GANLIB_MLFLOW_PASSWORD",
    "prefect_api_url": "GANLIB_PREFECT_API_URL",
    "prefect_auth": "GANLIB_PREFECT_AUTH",
    "ray_address": "GANLIB_RAY_ADDRESS",
    "ray_token": "GANLIB_RAY_TOKEN",
    "ray_most_cpus": "GANLIB_RAY_MOST_CPUS",
    "ray_most_gpus": "GANLIB_RAY_MOST_GPUS",
    "ports": "GANLIB_PORTS",
    "cache_bytes": "GANLIB_CACHE_BYTES",
}
"""Environment variable of each field of :class:`Settings` that has one."""


JOB_PREFIX = "GANLIB_JOB_"
"""Begins the variables of a job that give the addresses of those who submitted it."""


def page_of(service: str, address: str) -> str:
    """Return the address for people: Prefect's without ``/api``, at which a browser finds no page."""
    return address.rstrip("/").removesuffix("/api") if service == "prefect" else address


LOOPBACK = ("127.0.0.1", "localhost")
"""Names of this machine, at which the embedded services listen."""


class Settings(BaseModel):
    """Addresses, credentials and folders for one process; build it with :func:`load_settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    """State, logs and caches of this machine (``GANLIB_HOME``)."""
    s3_endpoint_url: str | None = None
    """S3 endpoint; ``None`` means that no S3 is configured. Use ``https://s3.amazonaws.com`` for AWS."""
    s3_region: str = "us-east-1"
    s3_bucket: Annotated[str, Words("3 to 63 characters")] = Field(
        default="ganlib", min_length=3, max_length=63
    )
    s3_access_key_id: str | None = None
    """``None`` leaves credentials to boto3's own chain: profile, instance role."""
    s3_secret_access_key: SecretStr | None = None
    s3_checksums: Literal["when_required", "when_supported"] = "when_required"
    """boto3's own default, ``when_supported``, is refused by some S3-compatible servers."""
    mlflow_uri: str | None = None
    """MLflow tracking and registry server, as ``http://host:port``."""
    mlflow_username: str | None = None
    """User of an MLflow server with basic authentication; ``None`` for one that asks for no login."""
    mlflow_password: SecretStr | None = None
    prefect_api_url: str | None = None
    """Prefect API, as ``http://host:port/api``."""
    prefect_auth: Annotated[SecretStr, Words("user:password")] | None = None
    """Prefect server's authentication string, as ``user:password``; ``None`` for one without."""
    ray_address: str | None = None
    """Ray's dashboard and jobs server, as ``http://host:port``."""
    ray_token: SecretStr | None = None
    """Token of a Ray cluster in token mode (``RAY_AUTH_MODE=token``); ``None`` for one without."""
    ray_most_cpus: Annotated[int, Words("a number of CPUs")] = Field(default=0, ge=0, le=1_000_000)
    """CPUs that the cluster's autoscaler can bring it up to; 0 for a cluster that does not grow."""
    ray_most_gpus: Annotated[int, Words("a number of GPUs")] = Field(default=0, ge=0, le=1_000_000)
    """GPUs that the cluster's autoscaler can bring it up to; 0 for a cluster that does not grow."""
    ports: Literal["usual", "free"] = "usual"
    """Which ports ``ganlib up`` tries first: the well-known ones, or (for tests) none of them."""
    cache_bytes: (
        Annotated[
            int, BeforeValidator(_bytes), Field(ge=1), Words("a number of bytes, as 20000000000 or 20GB")
        ]
        | None
    ) = None
    """Most bytes of dataset versions in the cache; ``None``: as many as the disk takes."""
    own: frozenset[ServiceName] = frozenset()
    """Services that the environment points elsewhere; ``ganlib up`` leaves these alone."""

    @property
    def cache(self) -> Path:
        """Verified copies of shards and generators; may be deleted at any time."""
        return self.home / "cache"

    @property
    def scratch(self) -> Path:
        """Half-made files of running commands; swept when their process is gone."""
        return self.home / "scratch"

    def address(self, service: ServiceName) -> str | None:
        """The configured address of a service, or ``None``."""
        value: str | None = getattr(self, ADDRESS_FIELD[service])
        return value

    def require(self, service: ServiceName) -> str:
        """The address of a service.

        Raises:
            ConfigError: None is configured.
        """
        address = self.address(service)
        if address is None:
            raise ConfigError(
                f"no address is known for {service}: start the embedded services with `ganlib up`, "
                f"or set {ADDRESS_VARIABLE[service]}"
            )
        return address


def require_room(folder: Path, needed_bytes: int) -> None:
    """Check that a folder's disk has room.

    Raises:
        DiskFull: It has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise DiskFull(folder, free, needed_bytes)


def default_home() -> Path:
    """``.ganlib`` in the checkout that this package runs from, else in the working directory."""
    checkout = Path(__file__).resolve().parent.parent
    base = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return base / ".ganlib"


def reach_loopback_directly(environ: MutableMapping[str, str]) -> None:
    """Add loopback to ``no_proxy`` and ``NO_PROXY``, which every HTTP library reads."""
    for variable in ("no_proxy", "NO_PROXY"):
        present = [name.strip() for name in environ.get(variable, "").split(",") if name.strip()]
        missing = [name for name in LOOPBACK if name not in present]
        environ[variable] = ",".join([*present, *missing])


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process.

    Args:
        environ: Used instead of ``os.environ``. Without it, this process is also told to reach loopback
            directly (:func:`reach_loopback_directly`).

    Raises:
        ConfigError: A variable or one of the files under the home holds something unusable.
    """
    if environ is None:
        reach_loopback_directly(os.environ)
    environ = _with_jobs_addresses(os.environ if environ is None else environ)
    home = Path(environ.get("GANLIB_HOME") or default_home()).expanduser().absolute()
    values: dict[str, Any] = {"home": home}
    values.update(_read_json(home / "services.json"))
    own = frozenset(service for service, variable in ADDRESS_VARIABLE.items() if environ.get(variable))
    foreign = {name for service in own for name in CREDENTIALS[service]}
    kept = _read_json(home / "credentials.json")
    values.update({name: value for name, value in kept.items() if name not in foreign})
    given = {name: _given(environ, variable, name) for name, variable in VARIABLES.items()}
    values.update({name: value for name, value in given.items() if value})
    values["own"] = own
    for service, name in ADDRESS_FIELD.items():
        if without_userinfo(str(values.get(name, ""))) != str(values.get(name, "")):
            login = " and ".join(VARIABLES[one] for one in CREDENTIALS[service])
            raise ConfigError(
                f"{ADDRESS_VARIABLE[service]} holds a user or a password, and Ray's page shows addresses: "
                f"put them into {login}"
            )
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        info = Settings.model_fields.get(name)
        allowed = "there is no such setting" if info is None else f"it must be {type_of(info)}"
        raise ConfigError(
            f"{VARIABLES.get(name, name)} cannot be used: {allowed} (from the environment or {home})"
        ) from error


def _with_jobs_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, completed by what a job was told where the node's own says nothing."""
    told = {
        name.replace(JOB_PREFIX, "GANLIB_", 1): value
        for name, value in environ.items()
        if name.startswith(JOB_PREFIX)
    }
    return {**told, **environ}


def _given(environ: Mapping[str, str], variable: str, name: str) -> str | None:
    """The value of a variable, or for a credential the content of the file that ``VARIABLE_FILE`` names.

    Raises:
        ConfigError: Both are set, or the file cannot be read.
    """
    value = environ.get(variable)
    path = environ.get(f"{variable}_FILE") if any(name in names for names in CREDENTIALS.values()) else None
    if not path:
        return value
    if value:
        raise ConfigError(f"{variable} and {variable}_FILE are both set; unset one of them")
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{variable}_FILE names {path}, which cannot be read: {reason}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path} is not JSON ({error.msg}); `ganlib down` and `ganlib up` write it anew"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold one JSON object; `ganlib down` and `ganlib up` write it anew")
    return values
