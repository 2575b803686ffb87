"""Requests to the services over plain HTTP, without their client libraries, which take seconds to import."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from ganlib.errors import without_userinfo
from ganlib.logins import NoRedirects

MOST_BYTES = 32 * 2**20
"""Longest answer that is read."""


class NoAnswer(Exception):
    """No connection, no answer in time, or none that HTTP knows; its text is the reason."""


@dataclass(frozen=True)
class Answer:
    """A service's answer to one request, whatever its status."""

    status: int
    headers: Message
    body: bytes
    sent: float
    """When the request was sent, seconds since 1970 by this machine's clock."""
    received: float
    """When the answer's headers were here."""

    @property
    def refused(self) -> bool:
        """Whether it asks for another credential."""
        return self.status in (401, 403)

    def json(self) -> Any:
        """Its body as JSON.

        Raises:
            NoAnswer: The status is an error's, or the body is no JSON.
        """
        if self.status >= 300:
            raise NoAnswer(f"HTTP {self.status}")
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NoAnswer("no JSON") from error

    def skew_seconds(self) -> float | None:
        """How far the service's clock is ahead of this machine's, to a second; ``None``: it tells no time."""
        stated = self.headers.get("Date")
        if stated is None:
            return None
        ahead = parsedate_to_datetime(stated).timestamp() - (self.sent + self.received) / 2
        return round(ahead)


def ask(
    url: str, headers: Mapping[str, str] | None = None, body: Any = None, *, timeout_seconds: float
) -> Answer:
    """The answer to a GET, or to a POST of ``body`` as JSON; an error status is an answer too.

    Args:
        url: With its path.
        headers: As :func:`ganlib.logins.login_headers` gives them.
        body: JSON to post.
        timeout_seconds: Longest silence. A server that sends byte by byte takes longer.

    Raises:
        NoAnswer: There is none.
    """
    data = None if body is None else json.dumps(body).encode()
    sent_headers = {"Content-Type": "application/json", **(headers or {})}
    sent = time.time()
    try:
        request = urllib.request.Request(url, data=data, headers=sent_headers)  # noqa: S310
        with urllib.request.build_opener(NoRedirects).open(request, timeout=timeout_seconds) as answer:
            received = time.time()
            return Answer(answer.status, answer.headers, answer.read(MOST_BYTES), sent, received)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read(MOST_BYTES), sent, time.time())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoAnswer(_reason(error)) from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"no answer ({without_userinfo(text)})"
