"""The first look at each service: does it answer, let us in, keep others out, and what time is it.

Each is asked for something that it shows to nobody without a credential, first without one and then with.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.http_answers import Answer, NoAnswer, ask
from ganlib.errors import without_userinfo
from ganlib.logins import CREDENTIAL_VARIABLE, credentials_of, login_headers
from ganlib.settings import ADDRESS_VARIABLE, LOOPBACK, ServiceName, Settings

SERVICES: tuple[ServiceName, ...] = ("s3", "mlflow", "prefect", "ray")

SKEW_WARNING_SECONDS = 60
SKEW_LIMIT_SECONDS = 900
"""S3 refuses a request whose signature is this far from its own time."""

_PROTECTED: dict[ServiceName, str] = {
    "mlflow": "/api/2.0/mlflow/experiments/search?max_results=1",
    "prefect": "/admin/version",
    "ray": "/api/version",
}
"""Pages that a service shows only to those that it lets in; S3's is the bucket's list."""


def knock(settings: Settings, service: ServiceName, timeout_seconds: float) -> Iterator[Finding]:
    """Look at one service; the finding ``reachable`` comes first.

    Args:
        service: Which.
        timeout_seconds: Longest silence after a request; there are two.
    """
    topic = Topic("reachable", service)
    address = settings.address(service)
    if address is None:
        remedy = f"start the embedded services with `ganlib up`, or set {ADDRESS_VARIABLE[service]}"
        yield topic.broken("no address is known", remedy)
        return
    path = f"/{settings.s3_bucket}?list-type=2&max-keys=1" if service == "s3" else _PROTECTED[service]
    shown, url = without_userinfo(address), f"{address.rstrip('/')}{path}"
    try:
        stranger = ask(url, timeout_seconds=timeout_seconds)
        if problem := _foreign(service, stranger):
            raise NoAnswer(problem)
    except NoAnswer as error:
        yield topic.broken(f"{shown}: {error}", _remedy(settings, service))
        return
    yield topic.ok(shown)
    yield _clock(service, stranger)
    if service != "s3":  # whose requests are signed one by one, and which the check of the bucket asks
        answer = ask(url, login_headers(settings, service), timeout_seconds=timeout_seconds)
        yield _login(settings, service, answer)
        if answer.refused:
            return
    yield _openness(settings, service, stranger)


def _remedy(settings: Settings, service: ServiceName) -> str:
    if service in settings.own:
        return f"start it, or correct {ADDRESS_VARIABLE[service]}"
    return "`ganlib status` tells its state, and `ganlib up` starts it"


def _foreign(service: ServiceName, answer: Answer) -> str:
    """Why this is no answer of that service; empty when it may be one."""
    if b"Invalid Host header" in answer.body[:200]:
        return "it refuses this name: add host and port to its MLFLOW_SERVER_ALLOWED_HOSTS"
    if service == "s3":
        said = b"<Error>" in answer.body[:2000] or b"<ListBucketResult" in answer.body[:2000]
        return "" if said else f"something answers that is no S3 store (HTTP {answer.status})"
    if answer.refused or (answer.status == 200 and answer.body[:1] in (b"{", b'"')):
        return ""
    return f"something answers that is no {service} (HTTP {answer.status})"


def _clock(service: ServiceName, answer: Answer) -> Finding:
    topic = Topic("clock", service)
    skew = answer.skew_seconds()
    if skew is None:
        return topic.skipped("it does not tell its time")
    if abs(skew) < SKEW_WARNING_SECONDS:
        return topic.ok(f"{abs(skew):.0f} s from this machine's")
    seen = f"it is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    remedy = "set both clocks by NTP"
    if service == "s3" and abs(skew) >= SKEW_LIMIT_SECONDS:
        return topic.broken(seen, f"S3 refuses from {SKEW_LIMIT_SECONDS} s on: {remedy}")
    return topic.warning(seen, remedy)


def _login(settings: Settings, service: ServiceName, answer: Answer) -> Finding:
    topic = Topic("login", service)
    held, variable = login_headers(settings, service), CREDENTIAL_VARIABLE[service]
    if answer.refused:
        if held:
            return topic.broken(f"it refuses the credential (HTTP {answer.status})", f"correct {variable}")
        return topic.broken(f"it asks for a credential (HTTP {answer.status})", f"set {variable}")
    return topic.ok("the credential is accepted" if held else "none is asked for, and none is set")


def _openness(settings: Settings, service: ServiceName, stranger: Answer) -> Finding:
    topic = Topic("closed", service)
    if stranger.refused:
        return topic.ok("who has no credential is refused")
    if stranger.status != 200:
        return topic.skipped(f"a request without a credential is answered with HTTP {stranger.status}")
    if credentials_of(settings, service):
        seen = f"it lets everybody in who reaches it, although {CREDENTIAL_VARIABLE[service]} is set"
        return topic.warning(seen, "have the service demand its credential")
    if urlsplit(settings.require(service)).hostname in LOOPBACK:
        return topic.ok("it asks for no credential, and listens on this machine")
    return topic.warning(
        "it lets everybody in who reaches it",
        f"have the service demand a credential, and set {CREDENTIAL_VARIABLE[service]}",
    )
