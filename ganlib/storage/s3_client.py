"""Clients of an S3 endpoint, and the failures of their requests as errors of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.session import Session as BotocoreSession
from s3transfer.exceptions import RetriesExceededError

from ganlib.errors import ConfigError, Interrupted, ServiceError
from ganlib.settings import ADDRESS_VARIABLE, Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CREDENTIALS = "GANLIB_S3_ACCESS_KEY_ID and GANLIB_S3_SECRET_ACCESS_KEY"
# Codes with which a service that is up asks to be asked again.
_PASSING = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_REFUSED = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "InvalidToken",
    "ExpiredToken",
    "403",
}


def make_client(settings: Settings, *, attempts: int, connect: float, read: float) -> S3Client:
    """A client of the settings' endpoint, to be used by several threads; making it sends no request.

    Args:
        settings: Endpoint, region, credentials and checksums.
        attempts: How often a request is sent at most, with pauses between.
        connect: Seconds that a connection may take.
        read: Seconds of silence after which an answer is given up.

    Raises:
        ConfigError: No endpoint is configured, or it is no URL; half of the credentials is missing; or there
            are none, and AWS's own configuration cannot be used.
    """
    endpoint = settings.require("s3")
    secret = settings.s3_secret_access_key
    if (settings.s3_access_key_id is None) != (secret is None):
        raise ConfigError(f"half of the S3 credentials is missing: set both, {_CREDENTIALS}, or neither")
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect,
        read_timeout=read,
        max_pool_connections=16,
        request_checksum_calculation=settings.s3_checksums,
        response_checksum_validation=settings.s3_checksums,
    )
    try:
        # A session of its own: boto3's default one is shared and not safe between threads.
        return Session(botocore_session=_session(given=secret is not None)).client(
            "s3",
            endpoint_url=endpoint,
            region_name=settings.s3_region,
            aws_access_key_id=settings.s3_access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=config,
        )
    except (ProfileNotFound, ConfigNotFound, ConfigParseError) as error:
        raise ConfigError(
            f"the AWS configuration cannot be used: {error}. Correct it, or set {_CREDENTIALS}: with them "
            "it is not read"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{ADDRESS_VARIABLE['s3']} cannot be used: {endpoint!r} is no http:// URL"
        ) from error


def _session(*, given: bool) -> BotocoreSession:
    """A session of botocore that reads profiles and AWS's files only when no credentials are given."""
    if not given:
        return BotocoreSession()
    nowhere = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull}
    return BotocoreSession({name: (None, None, value, None) for name, value in nowhere.items()})


def error_code(error: ClientError) -> str:
    """The code by which S3 names an error, as ``NoSuchKey``, or ``unknown``."""
    return error.response.get("Error", {}).get("Code", "unknown")


def may_pass(error: ClientError) -> bool:
    """Whether the same request may succeed later: the service is overloaded or fails inside."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status in (408, 429) or error_code(error) in _PASSING


def interrupted(endpoint: str, error: Exception) -> Interrupted:
    """The failure of one request that may be repeated."""
    if isinstance(error, ClientError):
        reason = f"{error.operation_name} failed with {error_code(error)}"
    else:
        reason = f"a request broke off ({type(error).__name__})"
    return Interrupted("s3", endpoint, ADDRESS_VARIABLE["s3"], reason)


def service_error(endpoint: str, bucket: str, error: Exception) -> ServiceError:
    """The failure, with the setting that may cause it; it repeats no header, signature or secret."""
    where = ADDRESS_VARIABLE["s3"]
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        code, message = error_code(error), answer.get("Message", "")
        if code in _REFUSED:
            return ServiceError("s3", endpoint, _CREDENTIALS, f"it refuses the credentials ({code})")
        if code == "NoSuchBucket":
            return ServiceError("s3", endpoint, "GANLIB_S3_BUCKET", f"it has no bucket {bucket!r}")
        if code.isdigit():
            return ServiceError("s3", endpoint, where, f"it does not answer as S3 does (HTTP {code})")
        return ServiceError("s3", endpoint, where, f"{error.operation_name} failed with {code}: {message}")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ServiceError("s3", endpoint, _CREDENTIALS, "there are no credentials for it")
    if isinstance(error, NoConnection | HTTPClientError | RetriesExceededError):
        return ServiceError("s3", endpoint, where, f"nothing answers there ({type(error).__name__})")
    return ServiceError("s3", endpoint, where, f"it does not answer as S3 does ({type(error).__name__})")
