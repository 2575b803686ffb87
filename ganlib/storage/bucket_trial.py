"""Whether the settings' bucket can be used: listed, written, read and cleaned up; and until when."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING

from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

from ganlib.errors import DataError, ServiceError
from ganlib.settings import Settings
from ganlib.storage.s3_client import error_code, make_client, service_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PREFIX = "ganlib-doctor/"
"""Below it lies the small object that a trial writes and removes again."""


class TrialFailed(ServiceError):
    """One step of a trial was refused, or had no answer.

    Args:
        step: ``"list"``, ``"write"``, ``"read"`` or ``"delete"``.
        code: S3's name of the error, as ``AccessDenied``; empty when there was no answer.
        error: The failure as every other command tells it.
    """

    def __init__(self, step: str, code: str, error: ServiceError) -> None:
        super().__init__(error.service, error.address, error.setting, error.reason)
        self.step, self.code = step, code


def try_bucket(settings: Settings, *, timeout_seconds: float) -> None:
    """List the bucket, and write, read and remove a small object there.

    Nothing is left behind, and a bucket that does not exist is not made.

    Args:
        settings: Endpoint, region, credentials and bucket.
        timeout_seconds: Longest silence after each of the four requests; none is repeated.

    Raises:
        ConfigError: No endpoint is configured, or half of the credentials.
        TrialFailed: A step failed.
        DataError: The store gave other bytes than it had got.
    """
    endpoint, bucket = settings.require("s3"), settings.s3_bucket
    client = make_client(settings, attempts=1, connect=timeout_seconds, read=timeout_seconds)
    key, data = f"{PREFIX}{uuid.uuid4().hex}", uuid.uuid4().bytes
    version: str | None = None
    step = "list"
    try:
        client.list_objects_v2(Bucket=bucket, Prefix=PREFIX, MaxKeys=1)
        try:
            step = "write"
            version = client.put_object(Bucket=bucket, Key=key, Body=data).get("VersionId")
            step = "read"
            if client.get_object(Bucket=bucket, Key=key)["Body"].read() != data:
                raise DataError(f"bucket {bucket} gave other bytes for {key} than were written")
        except BaseException as error:
            # A write without an answer may have been done all the same.
            try:
                _delete(client, bucket, key, version)
            except (ClientError, BotoCoreError):
                error.add_note(f"{key} may be left in bucket {bucket}")
            raise
        step = "delete"
        _delete(client, bucket, key, version)
    except ClientError as error:
        raise TrialFailed(step, error_code(error), service_error(endpoint, bucket, error)) from error
    except BotoCoreError as error:
        raise TrialFailed(step, "", service_error(endpoint, bucket, error)) from error


def _delete(client: S3Client, bucket: str, key: str, version: str | None) -> None:
    if version:  # in a versioned bucket a plain DELETE adds a marker and removes nothing
        client.delete_object(Bucket=bucket, Key=key, VersionId=version)
    else:
        client.delete_object(Bucket=bucket, Key=key)


def credentials_expiry(settings: Settings) -> datetime | None:
    """When the S3 credentials expire that boto3 finds in a profile or role; ``None``: they do not tell.

    Keys that the settings hold do not tell: ganlib takes no session token.
    """
    if settings.s3_access_key_id is not None:
        return None
    found = Session().get_credentials()
    expiry = getattr(found, "_expiry_time", None)
    return expiry if isinstance(expiry, datetime) else None
