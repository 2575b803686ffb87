"""Versions of the servers against the libraries that talk to them from here."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Literal

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.http_answers import NoAnswer, ask
from ganlib.logins import login_headers
from ganlib.settings import Settings

_PATH = {"mlflow": "/version", "prefect": "/admin/version"}


def look_at_version(
    settings: Settings, service: Literal["mlflow", "prefect"], timeout_seconds: float
) -> Iterator[Finding]:
    """Compare a server with the client installed here.

    A server of the same major version, and no older than the client, fits: both projects keep to that.
    """
    topic = Topic("version", service)
    url = f"{settings.require(service).rstrip('/')}{_PATH[service]}"
    answer = ask(url, login_headers(settings, service), timeout_seconds=timeout_seconds)
    if answer.status != 200:
        raise NoAnswer(f"{_PATH[service]} answers HTTP {answer.status}")
    server, client = answer.body.decode(errors="replace").strip().strip('"'), version(service)
    there, here = _numbers(server), _numbers(client)
    if there is None or here is None:
        seen = f"its version {server[:40]!r} has no numbers, client {client}"
        yield topic.warning(seen, f"install {service} {client} there")
        return
    seen = f"server {server}, client {client}"
    if there[0] != here[0]:
        yield topic.broken(seen, f"install a server of {service} {here[0]}.x")
    elif there < here:
        yield topic.warning(seen, f"bring the server to {client}: it may lack what the client asks for")
    else:
        yield topic.ok(seen)


def look_at_ray_version(settings: Settings, timeout_seconds: float) -> Iterator[Finding]:
    """Compare the cluster's Ray and Python with those here.

    Ray demands the same version of Ray on the same minor version of Python.
    """
    topic = Topic("version", "ray")
    url = f"{settings.require('ray').rstrip('/')}/api/v0/cluster_metadata"
    told = ask(url, login_headers(settings, "ray"), timeout_seconds=timeout_seconds).json()["data"]
    ray, python = str(told["rayVersion"]), str(told["pythonVersion"])
    here = platform.python_version()
    seen = f"cluster: Ray {ray} on Python {python}; here: Ray {version('ray')} on Python {here}"
    fits = ray == version("ray") and _numbers(python) == _numbers(here)
    remedy = f"run the cluster with Ray {version('ray')} on Python {here}"
    yield topic.ok(seen) if fits else topic.broken(seen, remedy)


def _numbers(text: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None
