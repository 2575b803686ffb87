"""Fixtures for tests that need the embedded services.

The services run in a home of their own, on ports of their own: ``GANLIB_PORTS=free`` keeps them off
the usual ones, and nothing of ``GANLIB_…`` in the environment of the test run is used.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from prometheus_package import Programs, find_programs

from ganlib import stack
from ganlib.logins import login_headers
from ganlib.settings import Settings, load_settings

# Torch's threads wait in busy loops: two processes of two threads each on two cores crawl.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background makes them ignore SIGINT, and child processes would inherit
# that; some tests interrupt the processes that they started.
signal.signal(signal.SIGINT, signal.default_int_handler)

_FOREIGN = (
    "GANLIB_",
    "PREFECT_",
    "MLFLOW_",
    "RAY_",
    "AWS_ACCESS",
    "AWS_SECRET",
    "AWS_PROFILE",
    "AWS_ENDPOINT",
)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Number parameters that are bytes instead of naming tests by them.

    Packed bytes hold the time at which they were made, and all of pytest's processes must collect the same
    tests.
    """
    return argname if isinstance(val, bytes) else None


def environ_for(home: Path, **more: str) -> dict[str, str]:
    """The environment for a process that uses the services of ``home`` and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "GANLIB_HOME": str(home), "GANLIB_PORTS": "free", "DO_NOT_TRACK": "true", **more}


@pytest.fixture(scope="session")
def environ_of() -> Callable[..., dict[str, str]]:
    """:func:`environ_for`, for tests that start services in homes of their own."""
    return environ_for


@pytest.fixture(scope="session")
def stack_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a stack that the first test that needs it starts and that runs to the session's end."""
    environ = environ_for(tmp_path_factory.mktemp("stack"))
    stack.up(load_settings(environ), report=print)
    yield load_settings(environ)
    stack.down(load_settings(environ), report=print)


@pytest.fixture(scope="session")
def stack_environ(stack_settings: Settings) -> dict[str, str]:
    """Environment for subprocesses that use the session's stack, as in ``python -m ganlib.cli``."""
    return environ_for(stack_settings.home)


@pytest.fixture(scope="module", autouse=True)
def job_budget(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a module that starts more jobs on the stack's cluster than its ``JOBS``: each takes seconds.

    Jobs of session fixtures count for the module that needs them first.
    """
    most = getattr(request.module, "JOBS", None)
    if most is None:
        yield
        return
    settings = request.getfixturevalue("stack_settings")
    url, headers = f"{settings.require('ray')}/api/jobs/", login_headers(settings, "ray")

    def jobs() -> set[str]:
        listed = requests.get(url, headers=headers, timeout=30).json()
        return {job["submission_id"] or job["job_id"] for job in listed}

    before = jobs()
    yield
    started = sorted(jobs() - before)
    assert len(started) <= most, f"{len(started)} jobs, and JOBS = {most}: {started}"


@pytest.fixture(scope="session")
def prometheus_or_reason(tmp_path_factory: pytest.TempPathFactory) -> Programs | str:
    """Prometheus' programs, or why there are none here; for tests of which they are a part only."""
    return find_programs(tmp_path_factory.mktemp("prometheus"))


@pytest.fixture
def prometheus_programs(prometheus_or_reason: Programs | str) -> Programs:
    """Prometheus' programs; without them the test is skipped."""
    if isinstance(prometheus_or_reason, str):
        pytest.skip(prometheus_or_reason)
    return prometheus_or_reason
