"""TLS certificates of services at https addresses."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.http_answers import NoAnswer
from ganlib.settings import ServiceName, Settings

WARNING_DAYS = 14
_DAY_SECONDS = 86_400


def look_at_certificate(
    settings: Settings,
    service: ServiceName,
    timeout_seconds: float,
    context: ssl.SSLContext | None = None,
) -> Iterator[Finding]:
    """Look when the certificate of a service expires; nothing is found at an http address.

    Args:
        settings: With its address.
        service: Which.
        timeout_seconds: Longest silence.
        context: Certificates to trust; the system's when omitted.
    """
    address = urlsplit(settings.require(service))
    if address.scheme != "https":
        return
    topic, host = Topic("certificate", service), address.hostname or ""
    trusted = context or ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, address.port or 443), timeout_seconds) as plain,
            trusted.wrap_socket(plain, server_hostname=host) as secure,
        ):
            certificate = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        yield topic.broken(f"it is not trusted: {error.verify_message}", "renew it, or trust its issuer here")
        return
    except OSError as error:
        # Behind a proxy the server is out of reach this way.
        raise NoAnswer(f"no TLS connection to {host} ({error})") from error
    expires = str(certificate["notAfter"])
    days = (ssl.cert_time_to_seconds(expires) - time.time()) / _DAY_SECONDS
    seen = f"it expires in {days:.0f} days, on {expires}"
    yield topic.warning(seen, "renew it") if days < WARNING_DAYS else topic.ok(seen)
