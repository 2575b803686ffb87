"""Opening a store: the bucket is looked at once, and made where it is ours."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from ganlib.errors import ConfigError
from ganlib.settings import Settings
from ganlib.storage.s3_client import error_code, make_client, service_error
from ganlib.storage.s3_store import S3Store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.literals import BucketLocationConstraintType


def open_store(settings: Settings) -> S3Store:
    """The store of the settings' bucket, looked at once; a bucket that does not exist is created.

    Raises:
        ConfigError: No endpoint is configured, or it is no URL.
        ServiceError: Within ten seconds: it cannot be reached, does not speak S3, refuses the
            credentials, or does not let us create the bucket.
    """
    endpoint, bucket = settings.require("s3"), settings.s3_bucket
    probe = make_client(settings, attempts=1, connect=3, read=4)
    try:
        if not _bucket_exists(probe, bucket):
            _create_bucket(probe, bucket, settings.s3_region)
    except (ClientError, BotoCoreError) as error:
        raise service_error(endpoint, bucket, error) from error
    return S3Store(settings)


def open_prefix(settings: Settings, uri: str) -> S3Store:
    """A store of what lies below ``s3://BUCKET/PREFIX`` at the same endpoint; keys start after the prefix.

    Raises:
        ConfigError: It is no such address, or there is no such bucket; none is created.
        ServiceError: As :func:`open_store`.
    """
    match = re.fullmatch(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])(?:/+(.*))?", uri)
    if match is None:
        raise ConfigError(f"{uri!r} is no address in object storage; it must be as s3://BUCKET/PREFIX")
    bucket, prefix = match[1], (match[2] or "").strip("/")
    endpoint = settings.require("s3")
    try:
        exists = _bucket_exists(make_client(settings, attempts=1, connect=3, read=4), bucket)
    except (ClientError, BotoCoreError) as error:
        raise service_error(endpoint, bucket, error) from error
    if not exists:
        raise ConfigError(f"{uri!r} cannot be read: there is no bucket {bucket!r} at {endpoint}")
    return S3Store(settings, bucket=bucket, prefix=f"{prefix}/" if prefix else "")


def _bucket_exists(client: S3Client, bucket: str) -> bool:
    # Listing, not HEAD: only an answer with a body tells a wrong key from a wrong secret.
    try:
        client.list_objects_v2(Bucket=bucket, MaxKeys=1)
    except ClientError as error:
        if error_code(error) == "NoSuchBucket":
            return False
        raise
    return True


def _create_bucket(client: S3Client, bucket: str, region: str) -> None:
    try:
        if region == "us-east-1":  # the one region that must not be named
            client.create_bucket(Bucket=bucket)
        else:
            where: BucketLocationConstraintType = region  # type: ignore[assignment]
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": where})
    except ClientError as error:
        if error_code(error) != "BucketAlreadyOwnedByYou":
            raise
