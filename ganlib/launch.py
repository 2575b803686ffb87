"""Submit a job to a Ray cluster, attach to it again, follow its log, stop it.

Jobs are submitted to Ray's job server under an id made from the run's name, so a process that
crashed finds its job still running and attaches to it instead of training twice. The job's log is
handed on line by line; its result lies in the object store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from ganlib.errors import ConfigError, JobFailed, ServiceError
from ganlib.settings import ADDRESS_VARIABLE, Settings

log = logging.getLogger(__name__)

STOP_TIMEOUT_SECONDS = 10.0
"""How long :func:`run_job` waits for a job that it was told to stop."""

LOST_TIMEOUT_SECONDS = 30.0
"""How long a cluster may be out of reach before :func:`run_job` gives it up."""

T = TypeVar("T")

# Ray's job server has no call that waits for a job's end, and each question costs the cluster's head
# some milliseconds that training wants.
_STATUS_SECONDS = 1.0
_POLL_SECONDS = 0.2

_CONNECTION_LOST = (OSError, RuntimeError, aiohttp.ClientError)
"""What Ray's client raises when its server is gone: requests' errors are OSErrors."""


def run_job(settings: Settings, job: str, arguments: list[str], on_line: Callable[[str], None]) -> None:
    """Run ``python -m ganlib.jobs.…`` on the cluster until it ends, or attach to it if it runs.

    Args:
        settings: Where the cluster is.
        job: Identity of the work: a job of this name that still runs is followed, not repeated.
        arguments: The module's name and its arguments.
        on_line: Gets every line of the job's log, from its beginning.

    Raises:
        ServiceError: The cluster does not answer, or was lost while the job ran.
        JobFailed: The job ended without success; its last lines are in the message.
        KeyboardInterrupt: And any other request to end this process: the job is stopped first.
    """
    client = connect(settings)
    job_id = _running(client, job) or _submit(client, settings, job, arguments)
    tail: list[str] = []

    def keep(line: str) -> None:
        tail.append(line)
        del tail[:-20]
        on_line(line)

    with _stopped_on_interrupt(client, job_id):
        status = asyncio.run(_follow(client, job_id, keep))
    if status != JobStatus.SUCCEEDED:
        message = client.get_job_info(job_id).message or ""
        raise JobFailed(job_id, str(status), _reason(tail, message))


def connect(settings: Settings) -> JobSubmissionClient:
    """A client of the cluster's job server.

    Raises:
        ServiceError: It does not answer within five seconds.
    """
    address = settings.require("ray")
    try:
        with urllib.request.urlopen(f"{address}/api/version", timeout=5) as answer:  # noqa: S310
            json.load(answer)
    except (urllib.error.URLError, TimeoutError, ValueError, OSError) as error:
        raise ServiceError("ray", address, ADDRESS_VARIABLE["ray"], f"no answer ({error})") from error
    # It says of every job that was followed to its end that a connection was closed.
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    return JobSubmissionClient(address)


def require_capacity(settings: Settings, workers: int) -> None:
    """Refuse a run that the cluster could never place; Ray itself would wait for ever.

    Raises:
        ConfigError: Fewer CPUs than workers.
    """
    address = settings.require("ray")
    connect(settings)
    with urllib.request.urlopen(f"{address}/api/cluster_status", timeout=10) as answer:  # noqa: S310
        status: dict[str, Any] = json.load(answer)
    usage = (((status.get("data") or {}).get("clusterStatus") or {}).get("loadMetricsReport") or {}).get(
        "usage"
    )
    cpus = float((usage or {}).get("CPU", [0.0, 0.0])[1])
    if usage is not None and cpus < workers:
        raise ConfigError(
            f"compute.workers = {workers} needs {workers} CPUs, the cluster at {address} has {cpus:g}; "
            "lower compute.workers or add nodes"
        )


def _running(client: JobSubmissionClient, job: str) -> str | None:
    for details in _attempts(client, job):
        if details.status in (JobStatus.PENDING, JobStatus.RUNNING):
            log.info("job %s is running already; following it", details.submission_id)
            return details.submission_id
    return None


def _attempts(client: JobSubmissionClient, job: str) -> list[JobDetails]:
    return [d for d in client.list_jobs() if (d.submission_id or "").rpartition("--")[0] == job]


def _submit(client: JobSubmissionClient, settings: Settings, job: str, arguments: list[str]) -> str:
    number = 1 + len(_attempts(client, job))
    return client.submit_job(
        entrypoint="python -m " + " ".join(arguments),
        submission_id=f"{job}--{number}",
        runtime_env={"env_vars": public_environment(settings)},
    )


def public_environment(settings: Settings) -> dict[str, str]:
    """Settings that a job may carry in the open; Ray's dashboard shows a job's environment.

    Only services of one's own are passed on. The embedded ones are found through ``GANLIB_HOME``,
    which the embedded cluster inherits, and secrets through the nodes' own environment.
    """
    values = {"GANLIB_S3_BUCKET": settings.s3_bucket, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5"}
    if "mlflow" in settings.own:
        values[ADDRESS_VARIABLE["mlflow"]] = settings.require("mlflow")
    if "s3" in settings.own:
        values |= {
            ADDRESS_VARIABLE["s3"]: settings.require("s3"),
            "GANLIB_S3_REGION": settings.s3_region,
            "GANLIB_S3_CHECKSUMS": settings.s3_checksums,
        }
    return values


async def _follow(client: JobSubmissionClient, job_id: str, on_line: Callable[[str], None]) -> JobStatus:
    """Hand on the job's log until it has ended; a connection that breaks off is taken up again."""
    log_lines, lost_at = _Lines(on_line), None
    tail = asyncio.create_task(_tail(client, job_id, log_lines))
    try:
        while True:
            try:
                # Ray's stream ends up to five seconds after the job does, so the job is asked, too.
                status = await asyncio.to_thread(_ask, client.get_job_status, job_id)
                if status.is_terminal():
                    await _cancelled(tail)
                    log_lines.all_of(await asyncio.to_thread(_ask, client.get_job_logs, job_id))
                    return status
                lost_at = None
            except _ConnectionLost as lost:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > LOST_TIMEOUT_SECONDS:
                    why = f"it was lost while {job_id} ran ({lost}); the same command goes on"
                    raise ServiceError("ray", client.get_address(), ADDRESS_VARIABLE["ray"], why) from lost
            await asyncio.wait([tail], timeout=_STATUS_SECONDS)
            if tail.done():
                if not isinstance(tail.exception(), _ConnectionLost):
                    tail.result()  # raises what the reader of the lines raised
                await asyncio.sleep(_POLL_SECONDS)
                tail = asyncio.create_task(_tail(client, job_id, log_lines))
    finally:
        await _cancelled(tail)


async def _tail(client: JobSubmissionClient, job_id: str, log_lines: _Lines) -> None:
    """Read the job's log from its beginning until the stream ends."""
    log_lines.restart()
    texts = client.tail_job_logs(job_id)
    while True:
        with _client_errors():
            text = await anext(texts, None)
        if text is None:
            return
        log_lines.feed(text)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # an exception that nobody looks at would be printed


class _Lines:
    """Hands on every line of a log once, however often the log is read from its beginning."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._handed_on = 0
        self.restart()

    def restart(self) -> None:
        """What is fed next is the log's beginning."""
        self._number, self._unfinished = 0, ""

    def feed(self, text: str) -> None:
        """Take the next part of the log."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._number += 1
            if self._number > self._handed_on:
                self._handed_on = self._number
                self._on_line(line)

    def all_of(self, text: str) -> None:
        """Take the whole log, whose last line may have no end."""
        self.restart()
        self.feed(text if text.endswith("\n") or not text else f"{text}\n")


class _ConnectionLost(Exception):
    """The job server is gone, for now or for good; not what a caller's own code raises."""


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except _CONNECTION_LOST as error:
        raise _ConnectionLost(type(error).__name__) from error


def _ask(question: Callable[[str], T], job_id: str) -> T:
    with _client_errors():
        return question(job_id)


@contextmanager
def _stopped_on_interrupt(client: JobSubmissionClient, job_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            # Ctrl-C, or a flow cancelled from outside: whoever wanted the job no longer does.
            stop_job(client, job_id)
        raise


def stop_job(client: JobSubmissionClient, job_id: str) -> None:
    """Stop a job and wait until it has ended, at most :data:`STOP_TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    try:
        client.stop_job(job_id)
        while not client.get_job_status(job_id).is_terminal():
            if time.monotonic() > deadline:
                log.warning("job %s did not end within %g s", job_id, STOP_TIMEOUT_SECONDS)
                return
            time.sleep(_POLL_SECONDS)
    except _CONNECTION_LOST as error:
        log.warning("job %s could not be stopped, its cluster does not answer: %s", job_id, error)


def _reason(tail: list[str], message: str) -> str:
    errors = [line for line in tail if "Error" in line or "error:" in line]
    return (errors or [line for line in tail if line.strip()] or [message])[-1].strip()
