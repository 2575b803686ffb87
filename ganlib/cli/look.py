"""Commands that show what runs: the services' pages, and the logs of services and of runs' jobs."""

from __future__ import annotations

import subprocess
import webbrowser
from typing import Annotated, Literal

import typer

from ganlib.cli.options import say
from ganlib.errors import ConfigError, ServiceError
from ganlib.logins import CREDENTIAL_VARIABLE, credentials_of, login_headers
from ganlib.settings import ADDRESS_VARIABLE, Settings, load_settings, page_of

Page = Literal["mlflow", "prefect", "ray"]

_LOGIN_HINT: dict[Page, str] = {
    "mlflow": "it asks for a login: `ganlib login mlflow` prints it",
    "prefect": "it asks for a login: `ganlib login prefect` prints it",
    "ray": "it asks for a login: `ganlib login ray` prints it",
}

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")]
Lines = Annotated[
    int | None,
    typer.Option(
        "--lines",
        "-n",
        min=1,
        max=1_000_000,
        metavar="COUNT",
        help="Lines from the end of each log.",
        show_default="200 of a service, all of a run",
    ),
]


def open_page(
    service: Annotated[Page, typer.Argument(metavar="mlflow|prefect|ray", help="Which page.")],
) -> None:
    """Open a service's page in the browser, and print its address."""
    import requests

    settings = load_settings()
    address = page_of(service, settings.require(service))
    try:
        requests.get(address, headers=login_headers(settings, service), timeout=5).raise_for_status()
    except requests.RequestException as error:
        raise ServiceError(service, address, ADDRESS_VARIABLE[service], f"no page ({error})") from error
    say(address)
    if credentials_of(settings, service):
        typer.echo(_LOGIN_HINT[service], err=True)
    webbrowser.open(address)


def login(
    service: Annotated[
        Literal["s3", "mlflow", "prefect", "ray"],
        typer.Argument(metavar="s3|mlflow|prefect|ray", help="Which service."),
    ],
) -> None:
    """Print the credential for a service's page: a secret, so mind who sees the screen."""
    held = credentials_of(load_settings(), service)
    if not held:
        raise ConfigError(
            f"no credential is known for {service}: it asks for none, or {CREDENTIAL_VARIABLE[service]} "
            "must say it"
        )
    for line in held:
        say(line)


def logs(
    name: Annotated[str, typer.Argument(metavar="SERVICE|RUN", help="A service, or a run as logs name it.")],
    follow: Follow = False,
    lines: Lines = None,
) -> None:
    """Show the log of a service that `ganlib up` started, or all of a run's jobs' logs."""
    from ganlib import stack

    settings = load_settings()
    services = {service.name: service for service in stack.status(settings).services}
    if name not in services:
        _run_logs(settings, name, follow=follow, lines=lines)
        return
    path = services[name].log
    if not path:
        raise ConfigError(f"service {name} has no log here: `ganlib up` has not started it")
    command = ["tail", "-n", str(lines or 200), *(["-F"] if follow else []), path]
    try:
        subprocess.run(command, check=True)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"the log {path} cannot be read; `ganlib status` tells where logs are") from error


def _run_logs(settings: Settings, run: str, *, follow: bool, lines: int | None) -> None:
    """Print a run's jobs' logs, oldest first; with ``follow`` the last job to its end, if it runs."""
    import asyncio

    from ganlib.cluster.follow import follow as follow_job
    from ganlib.cluster.launch import connect, jobs_of
    from ganlib.cluster.lines import readable

    def show(line: str) -> None:
        say(readable(line))

    client = connect(settings)
    jobs = sorted(jobs_of(client, run), key=lambda job: job.start_time or 0)
    if not jobs:
        raise ConfigError(
            f"{run} is neither a service (`ganlib status`) nor a run with a job on the cluster at "
            f"{settings.require('ray')}; Ray forgets its jobs when it is restarted"
        )
    for job in jobs:
        job_id = job.submission_id or ""
        say(f"==> {job_id}: {job.status} <==")
        if follow and job is jobs[-1]:
            try:
                asyncio.run(follow_job(client, job_id, show))
            except KeyboardInterrupt:
                raise typer.Exit(130) from None
        else:
            whole = client.get_job_logs(job_id).rstrip("\n").split("\n")
            for line in whole[-lines:] if lines else whole:
                show(line)
