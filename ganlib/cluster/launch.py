"""Submit a job to a Ray cluster, attach to it again, follow its log, stop it.

Jobs are submitted to Ray's job server under an id made from the run's name, so a process that
crashed finds its job still running and attaches to it instead of training twice. The job's log is
handed on line by line; its result lies in the object store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from ganlib.cluster.follow import CONNECTION_LOST, follow
from ganlib.cluster.lines import marked, readable
from ganlib.cluster.node import stand_in
from ganlib.errors import ConfigError, JobFailed, ServiceError
from ganlib.logins import CREDENTIAL_VARIABLE, NoRedirects, login_headers
from ganlib.settings import ADDRESS_VARIABLE, JOB_PREFIX, VARIABLES, Settings

STOP_TIMEOUT_SECONDS = 10.0
"""How long :func:`run_job` waits for a job that it was told to stop."""

_SUBMISSIONS = 20  # of one job by others, before this process gives up
_POLL_SECONDS = 0.2  # Ray's job server has no call that waits for a job's end


def run_job(settings: Settings, job: str, arguments: list[str], on_line: Callable[[str], None]) -> None:
    """Run ``python -m ganlib.jobs.…`` on the cluster until it ends, or attach to it if it runs.

    Args:
        settings: Where the cluster is.
        job: Identity of the work: a job of this name that still runs is followed, not repeated.
        arguments: The module's name and its arguments.
        on_line: Gets every line of the job's log, from its beginning (:mod:`ganlib.cluster.lines`).

    Raises:
        ServiceError: The cluster does not answer, or was lost while the job ran.
        JobFailed: The job ended without success; its last lines are in the message.
        KeyboardInterrupt: And any other request to end this process: the job is stopped first. A note of the
            exception says whether it was.
    """
    client = connect(settings)
    job_id = _running(client, job)
    if job_id is None:
        job_id = _submit(client, settings, job, arguments)
    else:
        on_line(marked(f"job {job_id} runs already; following it"))
    tail: list[str] = []

    def keep(line: str) -> None:
        tail.append(line)
        del tail[:-20]
        on_line(line)

    with _stopped_on_interrupt(client, job_id):
        status = asyncio.run(follow(client, job_id, keep))
    if status != JobStatus.SUCCEEDED:
        message = client.get_job_info(job_id).message or ""
        raise JobFailed(job_id, str(status), _reason(tail, message))


def connect(settings: Settings) -> JobSubmissionClient:
    """A client of the cluster's job server.

    Raises:
        ServiceError: It does not answer within five seconds.
    """
    address = settings.require("ray")
    headers = login_headers(settings, "ray")
    try:
        _ask(address, "/api/version", headers, 5)
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise ServiceError("ray", address, ADDRESS_VARIABLE["ray"], f"HTTP {error.code}") from error
        reason = f"it refuses the token (HTTP {error.code})"
        raise ServiceError("ray", address, CREDENTIAL_VARIABLE["ray"], reason) from error
    except (urllib.error.URLError, TimeoutError, ValueError, OSError) as error:
        raise ServiceError("ray", address, ADDRESS_VARIABLE["ray"], f"no answer ({error})") from error
    # It says of every job that was followed to its end that a connection was closed.
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    return JobSubmissionClient(address, headers=headers)


def _ask(address: str, path: str, headers: dict[str, str], timeout_seconds: float) -> Any:
    request = urllib.request.Request(f"{address}{path}", headers=headers)  # noqa: S310
    opener = urllib.request.build_opener(NoRedirects())
    with opener.open(request, timeout=timeout_seconds) as answer:
        return json.load(answer)


def is_running(settings: Settings, job: str) -> bool:
    """Whether a job of this name is waiting or running on the cluster. Raises ``ServiceError``."""
    return _running(connect(settings), job) is not None


def require_capacity(settings: Settings, workers: int) -> None:
    """Check that the cluster can place a run; Ray itself would wait for ever.

    Raises:
        ConfigError: Fewer CPUs than workers.
    """
    resources = cluster_resources(settings)
    if resources is not None and max(resources["CPU"], settings.ray_most_cpus) < workers:
        raise ConfigError(
            f"compute.workers = {workers} needs {workers} CPUs, the cluster at {settings.require('ray')} has "
            f"{resources['CPU']:g}; lower compute.workers or add nodes, or set {VARIABLES['ray_most_cpus']} "
            "for a cluster that grows"
        )


def cluster_resources(settings: Settings) -> dict[str, float] | None:
    """CPUs and GPUs of the whole cluster, used or not, by Ray's names; no job is started to find out.

    ``None`` when Ray has not counted yet.

    Raises:
        ServiceError: The cluster does not answer.
    """
    address = settings.require("ray")
    connect(settings)
    status: dict[str, Any] = _ask(address, "/api/cluster_status", login_headers(settings, "ray"), 10)
    report = ((status.get("data") or {}).get("clusterStatus") or {}).get("loadMetricsReport") or {}
    usage = report.get("usage")
    return None if usage is None else {name: float(usage.get(name, [0, 0])[1]) for name in ("CPU", "GPU")}


def _running(client: JobSubmissionClient, job: str) -> str | None:
    for details in _attempts(client, job):
        if details.status in (JobStatus.PENDING, JobStatus.RUNNING):
            return details.submission_id
    return None


def _attempts(client: JobSubmissionClient, job: str) -> list[JobDetails]:
    return [details for name, details in _named(client) if name == job]


def jobs_of(client: JobSubmissionClient, run: str) -> list[JobDetails]:
    """The jobs that work for a run, in no order: named by it, or by it and a stage."""
    return [details for name, details in _named(client) if name == run or name.startswith(f"{run}-")]


def _named(client: JobSubmissionClient) -> Iterator[tuple[str, JobDetails]]:
    """All jobs, each with its name: its submission id less the attempt's number."""
    for details in client.list_jobs():
        yield (details.submission_id or "").rpartition("--")[0], details


def _submit(client: JobSubmissionClient, settings: Settings, job: str, arguments: list[str]) -> str:
    first = 1 + len(_attempts(client, job))
    for number in range(first, first + _SUBMISSIONS):
        try:
            return client.submit_job(
                entrypoint=" ".join([python_of(settings), "-m", *arguments]),
                submission_id=f"{job}--{number}",
                metadata={"job_name": job},  # what Ray's page calls it
                runtime_env=runtime_environment(settings),
            )
        except RuntimeError as error:
            # Ray answers HTTP 500 when somebody else submitted under this id since we looked.
            if "already exists" not in str(error):
                raise
            if running := _running(client, job):
                return running
    raise ServiceError(
        "ray",
        settings.require("ray"),
        ADDRESS_VARIABLE["ray"],
        f"others submitted {job} {_SUBMISSIONS} times, and each ended at once; see the jobs there",
    )


def python_of(settings: Settings) -> str:
    """The command that starts Python on the cluster: on the embedded one a fork, elsewhere plain Python."""
    path = stand_in(settings.home / "ray")
    # A cluster of one's own may run on other machines, and an older `ganlib up` wrote no stand-in.
    return shlex.quote(str(path)) if "ray" not in settings.own and path.exists() else "python"


def runtime_environment(settings: Settings) -> dict[str, Any]:
    """Ray's runtime environment for a job: its variables, and the Python that its workers start with."""
    python = python_of(settings)
    workers = {} if python == "python" else {"py_executable": python}
    return {"env_vars": public_environment(settings), **workers}


def public_environment(settings: Settings) -> dict[str, str]:
    """Settings that a job may carry in the open; Ray's dashboard shows a job's environment.

    Only services of one's own are passed on. To a Ray cluster of one's own they go as ``GANLIB_JOB_…``: a
    node whose own environment names a service's address keeps that one, as inside a container network it is
    another than outside. The embedded services are found through ``GANLIB_HOME``, which the embedded
    cluster inherits, and secrets through the nodes' own environment.
    """
    values = {
        "GANLIB_S3_BUCKET": settings.s3_bucket,
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        # The log's lines are read by a program: each as it was printed, and at once.
        "RAY_DEDUP_LOGS": "0",
        "RAY_COLOR_PREFIX": "0",
    }
    if settings.cache_bytes is not None:
        # A run's window was chosen for it.
        values["GANLIB_CACHE_BYTES"] = str(settings.cache_bytes)
    for name in ("ray_most_cpus", "ray_most_gpus"):
        if most := getattr(settings, name):
            values[VARIABLES[name]] = str(most)
    passed = {}
    if "mlflow" in settings.own:
        passed[ADDRESS_VARIABLE["mlflow"]] = settings.require("mlflow")
    if "s3" in settings.own:
        passed |= {
            ADDRESS_VARIABLE["s3"]: settings.require("s3"),
            "GANLIB_S3_REGION": settings.s3_region,
            "GANLIB_S3_CHECKSUMS": settings.s3_checksums,
        }
    # The embedded cluster's nodes share this machine's addresses, and have those of an earlier `ganlib up`.
    prefix = JOB_PREFIX if "ray" in settings.own else "GANLIB_"
    return values | {name.replace("GANLIB_", prefix, 1): value for name, value in passed.items()}


@contextmanager
def _stopped_on_interrupt(client: JobSubmissionClient, job_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception):
            # Ctrl-C, or a cancelled flow: nobody wants the job any more.
            error.add_note(stop_job(client, job_id))
        raise


def stop_job(client: JobSubmissionClient, job_id: str) -> str:
    """Stop a job and wait until it has ended, at most :data:`STOP_TIMEOUT_SECONDS`; returns how that went."""
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    try:
        client.stop_job(job_id)
        while not client.get_job_status(job_id).is_terminal():
            if time.monotonic() > deadline:
                return f"job {job_id} was told to stop, and had not ended {STOP_TIMEOUT_SECONDS:g} s later"
            time.sleep(_POLL_SECONDS)
    except CONNECTION_LOST as error:
        return f"job {job_id} goes on, since its cluster does not answer ({type(error).__name__})"
    return f"job {job_id} was stopped"


def _reason(tail: list[str], message: str) -> str:
    """Why a job ended, in a line: from Ray's message where the driver was killed, else from its log's end.

    A killed driver says nothing itself, and an error in its log is one that the job had recovered from.
    """
    killed = re.search(r"exit code (-\d+|1[3-9]\d)\b", message)
    if killed is not None:
        code = int(killed[1])
        return (
            f"its driver was killed by signal {-code if code < 0 else code - 128}; the same command goes on"
        )
    if "supervisor actor" in message or "actor died" in message:
        return f"its driver is gone: {message.strip().splitlines()[0][:300]}; the same command goes on"
    said = [readable(line) for line in tail]
    errors = [line for line in said if "Error" in line or "error:" in line]
    return (errors or [line for line in said if line.strip()] or [message])[-1].strip()
