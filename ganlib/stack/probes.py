"""Requests that show whether a service works, over plain HTTP without client libraries.

The libraries take a second or more to import; `ganlib status` should not. What is asked here is
plain HTTP, with S3's signature (Signature Version 4) over the few headers that it needs.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ganlib.logins import NoRedirects
from ganlib.stack.home import Credentials

TIMEOUT_SECONDS = 3.0


class NotAnswering(Exception):
    """A service does not answer as it should, perhaps not yet."""


def answer(url: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
    """Return the JSON answer to a GET, or to a POST of ``body``.

    Args:
        url: Of the embedded service.
        body: JSON to post.
        headers: More headers, as :func:`ganlib.logins.login_headers` gives them.

    Raises:
        NotAnswering: No connection, no answer in time, an error status, or no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data=data, headers=sent)  # noqa: S310
    try:
        return json.loads(_send(request))
    except urllib.error.HTTPError as error:
        raise NotAnswering(f"HTTP {error.code} from {url}") from error
    except ValueError as error:
        raise NotAnswering(f"no JSON from {url}") from error


def bucket_exists(endpoint: str, bucket: str, region: str, keys: Credentials) -> bool:
    """Whether a signed listing of the bucket works.

    Raises:
        NotAnswering: The store does not answer, or answers with anything but "no such bucket".
    """
    try:
        _send(signed("GET", endpoint, f"/{bucket}", "list-type=2&max-keys=1", region, keys))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise NotAnswering(f"HTTP {error.code} for a listing of the bucket {bucket}") from error
    return True


def create_bucket(endpoint: str, bucket: str, region: str, keys: Credentials) -> None:
    """Make a bucket; one that is there already is no error.

    Raises:
        NotAnswering: The store does not.
    """
    try:
        _send(signed("PUT", endpoint, f"/{bucket}", "", region, keys))
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise NotAnswering(f"HTTP {error.code} when the bucket {bucket} was to be made") from error


def signed(
    method: str,
    endpoint: str,
    path: str,
    query: str,
    region: str,
    keys: Credentials,
    now: datetime | None = None,
) -> urllib.request.Request:
    """A request without a body, signed with S3's Signature Version 4.

    Args:
        path: Needs no escaping: a slash and a bucket's name.
        query: Already escaped and sorted.
        now: The time of signing; the present when omitted.
    """
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": endpoint.partition("://")[2], "x-amz-content-sha256": empty, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{empty}"
    to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{keys.secret.get_secret_value()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    url = f"{endpoint}{path}" + (f"?{query}" if query else "")
    return urllib.request.Request(url, headers=headers, method=method)  # noqa: S310


def _send(request: urllib.request.Request) -> bytes:
    # Never through a proxy: these services are on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects())
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            body: bytes = response.read()
            return body
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        raise NotAnswering(f"no answer from {request.full_url}: {getattr(error, 'reason', error)}") from error
    except http.client.HTTPException as error:
        raise NotAnswering(f"a broken answer from {request.full_url}: {error!r}") from error
