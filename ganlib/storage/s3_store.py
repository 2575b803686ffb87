"""The object store of one bucket, or of a prefix in it."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ResponseStreamingError,
)
from botocore.exceptions import ConnectionError as NoConnection
from s3transfer.exceptions import RetriesExceededError

from ganlib.errors import DataError, ObjectMissing, ServiceError
from ganlib.ports import ObjectInfo, ObjectStore, range_refused
from ganlib.settings import ADDRESS_VARIABLE, Settings, require_room
from ganlib.storage.s3_client import error_code, interrupted, make_client, may_pass, service_error

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CopySourceTypeDef

_SPARE_BYTES = 16_000_000
"""Room that the gateway needs for its own records beside an object."""

_ATTEMPTS = 5
_READS = 10
# Five attempts and botocore's pauses between them (under a second in all) stay below ten seconds.
_CONNECT_SECONDS = 1.6
_READ_SECONDS = 30
_PART_BYTES = 16 * 2**20
# Larger ones are given back to the system after each use, and filled with zeros again by it for the next.
_READ_BYTES = 2**18
# A HEAD has no body to name its error; any other bare 404 comes from something that is not S3.
_MISSING = {("GetObject", "NoSuchKey"), ("HeadObject", "404")}


class S3Store:
    """An :class:`~ganlib.ports.ObjectStore` in one bucket, below a prefix; safe to use from several threads.

    A service that cannot be reached is retried for less than ten seconds in all. Building a store makes no
    request; :func:`open_store` does.

    Args:
        settings: Endpoint, region, credentials and bucket.
        bucket: Stands in for the settings' bucket.
        prefix: Put before every key; ends in ``/`` or is empty.
        page: Objects to ask for at a time when listing, 1 to 1,000.

    Raises:
        ConfigError: No endpoint is configured, or it is no URL.
        DiskFull: From :meth:`put`, when the embedded gateway's disk has no room.
        ServiceError: From every method: the service cannot be reached, refuses the credentials, or
            has no such bucket.
    """

    def __init__(
        self, settings: Settings, *, bucket: str | None = None, prefix: str = "", page: int = 1000
    ) -> None:
        self.endpoint = settings.require("s3")
        self.bucket = bucket or settings.s3_bucket
        self.prefix = prefix
        self._page, self._settings = page, settings
        self._home = settings.home if "s3" not in settings.own and settings.home.is_dir() else None
        self.client = make_client(settings, attempts=_ATTEMPTS, connect=_CONNECT_SECONDS, read=_READ_SECONDS)
        """boto3's client, for what this class does not offer."""
        self._transfer = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
        )

    def __repr__(self) -> str:
        return f"S3Store({self.uri!r})"

    @property
    def uri(self) -> str:
        """Address of the keys: ``s3://BUCKET/PREFIX``."""
        return f"s3://{self.bucket}/{self.prefix}"

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes, or a file's content as a stream, whole or not at all."""
        self._require_room(data.stat().st_size if isinstance(data, Path) else len(data))
        with self._reported(key):
            if isinstance(data, Path):
                with data.open("rb") as file:
                    self.client.upload_fileobj(file, self.bucket, self.prefix + key, Config=self._transfer)
            else:
                self.client.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=data)

    def copy(self, key: str, source: ObjectStore, info: ObjectInfo) -> None:
        """Store a copy of an object, which the server makes where the source is of the same endpoint.

        Raises:
            ObjectMissing: It is gone.
            DataError: It was replaced since it was listed.
        """
        if not isinstance(source, S3Store) or source.endpoint != self.endpoint:
            self.put(key, source.get(info.key))
            return
        self._require_room(info.size)
        origin: CopySourceTypeDef = {"Bucket": source.bucket, "Key": source.prefix + info.key}
        unchanged = {"CopySourceIfMatch": f'"{info.etag}"'}
        with self._reported(info.key):
            try:
                self.client.copy(
                    origin, self.bucket, self.prefix + key, ExtraArgs=unchanged, Config=self._transfer
                )
            except ClientError as error:
                if error_code(error) in {"PreconditionFailed", "412"}:
                    raise range_refused(info.key, 0, replaced=True) from error
                raise

    def _require_room(self, size: int) -> None:
        if self._home is not None:
            # The embedded gateway would answer after 90 s, and not tell that its disk is full.
            require_room(self._home, size + _SPARE_BYTES)

    def get(self, key: str) -> bytes:
        """An object's bytes. Raises :class:`~ganlib.errors.ObjectMissing`.

        While an object is being replaced, the embedded gateway may answer with the old length and the new
        bytes. An object is therefore read again until its MD5 is its ETag or, where the ETag is encrypted,
        until two reads agree. Objects uploaded in parts have another ETag and are never replaced.
        """
        before: bytes | None = None
        with self._reported(key):
            for attempt in range(1, _READS + 1):
                answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + key)
                try:
                    data = answer["Body"].read()
                except (IncompleteReadError, ResponseStreamingError):
                    if attempt == _READS:
                        raise
                    continue
                # During a replacement the answer may lack it.
                etag = answer.get("ETag", "").strip('"')
                digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
                if "-" in etag or etag == digest or data == before:
                    return data
                before = data
        raise DataError(f"{key} was replaced each of the {_READS} times that it was read; try again")

    def get_range(self, key: str, start: int, length: int, *, etag: str = "") -> bytes:
        """Part of an object's bytes, fewer than ``length`` where it ends before; repeated when it breaks off.

        Raises:
            ObjectMissing: There is no such object.
            DataError: It ends before ``start``, or has another ETag by now.
        """
        part = f"bytes={start}-{start + length - 1}"
        ask = partial(self.client.get_object, Bucket=self.bucket, Key=self.prefix + key, Range=part)
        with self._reported(key):
            for attempt in range(1, _READS + 1):
                try:
                    answer = ask(IfMatch=f'"{etag}"') if etag else ask()
                    return answer["Body"].read()
                except (IncompleteReadError, ResponseStreamingError):
                    if attempt == _READS:
                        raise
                except ClientError as error:
                    code = error_code(error)
                    if code in {"InvalidRange", "416"}:
                        raise range_refused(key, start, replaced=False) from error
                    if code in {"PreconditionFailed", "412"}:
                        raise range_refused(key, start, replaced=True) from error
                    raise
        raise AssertionError("the last attempt returns or raises")

    def stream(self, key: str, start: int, length: int) -> Generator[bytes, None, None]:
        """Give an object's bytes from ``start`` on as they come, by one request without a retry.

        Raises:
            Interrupted: A timeout, a reset, an answer cut short, a 5xx.
            ObjectMissing: There is no such object.
            DataError: It ends at or before ``start``.
        """
        part, left = f"bytes={start}-{start + length - 1}", length
        with self._reported(key):
            try:
                answer = self._once.get_object(Bucket=self.bucket, Key=self.prefix + key, Range=part)
                body = answer["Body"]
                try:
                    self._check_start(answer.get("ContentRange", ""), start)
                    while left and (piece := body.read(min(_READ_BYTES, left))):
                        left -= len(piece)
                        yield piece
                finally:
                    if left:
                        # The rest of this answer is still in the connection, which must not be used again.
                        body.close()
            except ClientError as error:
                if error_code(error) in {"InvalidRange", "416"}:
                    raise range_refused(key, start, replaced=False) from error
                if may_pass(error):
                    raise interrupted(self.endpoint, error) from error
                raise
            except (NoConnection, HTTPClientError, IncompleteReadError) as error:
                raise interrupted(self.endpoint, error) from error

    def _check_start(self, content_range: str, start: int) -> None:
        """Check that an answer begins where it was asked to; one with no range begins at 0."""
        begins = re.match(r"bytes (\d+)-", content_range)
        if (int(begins[1]) if begins else 0) != start:
            reason = "it does not answer requests for a part of an object"
            raise ServiceError("s3", self.endpoint, ADDRESS_VARIABLE["s3"], reason)

    @cached_property
    def _once(self) -> S3Client:
        """A client that repeats nothing, for callers that do it themselves."""
        return make_client(self._settings, attempts=1, connect=_CONNECT_SECONDS, read=_READ_SECONDS)

    def download(self, key: str, path: Path) -> None:
        """Bring an object into a new file, written beside and renamed. Raises ``ObjectMissing``."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
        try:
            with self._reported(key), beside.open("wb") as file:
                self.client.download_fileobj(self.bucket, self.prefix + key, file, Config=self._transfer)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix``, in the server's order.

        Empty folder markers, which some tools leave behind, are not objects and are passed over.
        """
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + prefix, PaginationConfig={"PageSize": self._page}
        )
        with self._reported(prefix):
            for page in pages:
                for found in page.get("Contents", []):
                    if not found["Key"].endswith("/"):
                        key = found["Key"].removeprefix(self.prefix)
                        yield ObjectInfo(key, found["Size"], found["ETag"].strip('"'))

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
        with self._reported(key):
            self.client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    @contextmanager
    def _reported(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if (error.operation_name, error_code(error)) in _MISSING:
                raise ObjectMissing(self.prefix + key) from error
            raise service_error(self.endpoint, self.bucket, error) from error
        except (BotoCoreError, RetriesExceededError) as error:
            raise service_error(self.endpoint, self.bucket, error) from error
