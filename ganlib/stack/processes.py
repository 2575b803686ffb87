"""Start services in sessions of their own; find and end them with all their children.

Every process that we start carries ``GANLIB_STACK=SERVICE@HOME`` in its environment, and its
children inherit it, also those that leave the process group. A process that has overwritten its
environment, as Ray's workers do with their titles, is known by its group, its parents or the
files of the home that it writes to. So nothing hangs on a pid that may have been given to
somebody else's process meanwhile.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import psutil

from ganlib.stack.home import rotate
from ganlib.stack.state import StartedService

MARK = "GANLIB_STACK"

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError, ProcessLookupError, PermissionError)


def mark(service: str, home: Path) -> str:
    """The value of ``GANLIB_STACK`` for the processes of a service."""
    return f"{service}@{home}"


def spawn(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own: no terminal, no input, output appended to ``log``."""
    rotate(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def created(pid: int) -> float:
    """Return when a process began, seconds since 1970; 0 when it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def is_alive(started: StartedService, service: str, home: Path) -> bool:
    """Whether the process that was recorded still runs, and is still that process."""
    try:
        process = psutil.Process(started.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # A clock correction shifts every process's start time, but not its mark.
        return abs(process.create_time() - started.created) < 1 or process.environ().get(MARK) == mark(
            service, home
        )
    except _GONE:
        return False


def members(home: Path) -> dict[psutil.Process, str]:
    """Every living process that belongs to the services of ``home``, with its service's name.

    This process and those above it are never among them.
    """
    mine = os.getuid()
    everyone: dict[int, psutil.Process] = {}
    parents: dict[int, int] = {}
    groups: dict[int, int] = {}
    marks: dict[int, str] = {}
    for process in psutil.process_iter():
        try:
            if process.uids().real != mine or process.status() == psutil.STATUS_ZOMBIE:
                continue
            everyone[process.pid] = process
            parents[process.pid] = process.ppid()
            groups[process.pid] = os.getpgid(process.pid)
            service, _, where = _mark_of(process.pid).partition("@")
            if where == str(home):
                marks[process.pid] = service
        except _GONE:
            continue
    # Only groups led by a marked process count: a marked process may run in somebody else's group.
    led = {pid: marks[group] for pid, group in groups.items() if group in marks}
    marks = {**led, **marks}
    marks.update(
        {pid: "ray" for pid, process in everyone.items() if pid not in marks and _writes_to(process, home)}
    )
    _add_descendants(marks, parents)
    above = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return {everyone[pid]: service for pid, service in marks.items() if pid in everyone and pid not in above}


def _mark_of(pid: int) -> str:
    # Read raw: JuiceFS writes its title over the beginning of its environment, where psutil finds nothing.
    prefix = f"{MARK}=".encode()
    for part in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if part.startswith(prefix):
            return os.fsdecode(part.removeprefix(prefix))
    return ""


def _writes_to(process: psutil.Process, home: Path) -> bool:
    try:
        if not process.name().startswith("ray::"):
            return False
        return any(Path(file.path).is_relative_to(home.resolve() / "ray") for file in process.open_files())
    except _GONE:
        return False


def _add_descendants(marks: dict[int, str], parents: Mapping[int, int]) -> None:
    found = True
    while found:
        new = {pid: marks[parent] for pid, parent in parents.items() if parent in marks and pid not in marks}
        marks.update(new)
        found = bool(new)


def end(home: Path, services: Collection[str] | None = None, *, grace_seconds: float) -> int:
    """End every process of these services, or of all: SIGTERM to all at once, SIGKILL to what is left.

    Args:
        home: The services' home.
        services: Their names; ``None``: all.
        grace_seconds: Time between the two signals; 0: SIGKILL at once, which no handler can answer.

    Returns:
        How many processes there were.

    Raises:
        psutil.AccessDenied: One of them may not be signalled.
    """

    def living() -> list[psutil.Process]:
        return [process for process, name in members(home).items() if services is None or name in services]

    first = living()
    if grace_seconds:
        for process in first:
            try:
                process.terminate()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(first, timeout=grace_seconds)
    # Look again for processes started meanwhile, until nothing is left.
    while left := living():
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1)
    return len(first)
