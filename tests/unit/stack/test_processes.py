from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ganlib.stack.processes import MARK, created, end, is_alive, mark, members, spawn
from ganlib.stack.state import StartedService

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def started(tmp_path):
    """A process that ignores SIGTERM, with a child in a session of its own."""
    environment = {MARK: mark("s3", tmp_path), "PATH": ""}
    log = tmp_path / "log"
    child = spawn([sys.executable, "-c", STUBBORN], environment=environment, folder=tmp_path, log=log)
    deadline = time.monotonic() + 20
    while not log.read_text().strip() and time.monotonic() < deadline:
        time.sleep(0.05)
    detached = int(log.read_text())
    yield child.pid, detached
    # Not by end(): it waits a second for a detached child that nobody reaps, as in some containers.
    for pid in (child.pid, detached):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait(10)


def record(pid: int, created_at: float) -> StartedService:
    return StartedService(pid=pid, created=created_at, url="", since="", bound_to={}, settings="")


def pids(home: Path) -> dict[int, str]:
    return {process.pid: service for process, service in members(home).items()}


def test_a_process_and_its_detached_child_are_found_with_their_service(started, tmp_path):
    assert pids(tmp_path) == dict.fromkeys(started, "s3")


def test_processes_of_another_home_are_left_alone(started, tmp_path):
    assert pids(tmp_path / "other") == {}
    assert end(tmp_path / "other", grace_seconds=0) == 0
    assert pids(tmp_path)


def test_without_grace_no_handler_of_a_process_runs(tmp_path):
    code = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: pathlib.Path('undone').touch())\n"
        "pathlib.Path('ready').touch()\n"
        "time.sleep(600)"
    )
    environment = {MARK: mark("worker", tmp_path), "PATH": ""}
    child = spawn(
        [sys.executable, "-c", code], environment=environment, folder=tmp_path, log=tmp_path / "log"
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert end(tmp_path, ["worker"], grace_seconds=0) == 1
    child.wait(10)
    assert not (tmp_path / "undone").exists()


def test_only_the_named_services_end(started, tmp_path):
    assert end(tmp_path, ["ray"], grace_seconds=0) == 0
    assert pids(tmp_path)


def test_what_ignores_sigterm_is_killed_after_the_grace(started, tmp_path):
    begun = time.monotonic()
    assert end(tmp_path, grace_seconds=0.5) == 2
    assert time.monotonic() - begun >= 0.5
    assert pids(tmp_path) == {}


def test_a_recorded_process_is_alive_and_a_recycled_pid_is_not(started, tmp_path):
    pid, _ = started
    assert is_alive(record(pid, created(pid)), "s3", tmp_path)
    # The same pid, born at another time and without the mark of that service, is a stranger.
    assert not is_alive(record(pid, created(pid) - 3600), "mlflow", tmp_path)
    # A clock that was set moves births; the mark tells.
    assert is_alive(record(pid, created(pid) - 3600), "s3", tmp_path)


def test_a_process_that_ended_is_not_alive_even_unreaped(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    at = created(child.pid)
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert not is_alive(record(child.pid, at), "s3", tmp_path)
    child.wait()
    assert created(child.pid) == 0
    assert not is_alive(record(child.pid, at), "s3", tmp_path)


OVERWRITES = """
import ctypes, sys
start = int(open("/proc/self/stat").read().rpartition(")")[2].split()[47])
ctypes.memset(start, 0, 32)
print(1, flush=True)
sys.stdin.read()
"""


def test_a_process_that_wrote_its_title_over_its_environment_is_found(tmp_path):
    environment = {"A": "x" * 64, MARK: mark("s3", tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-c", OVERWRITES], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    assert MARK not in psutil.Process(child.pid).environ()
    assert pids(tmp_path) == {child.pid: "s3"}
    child.communicate(b"")


def test_the_log_is_appended_to_and_there_is_no_input(tmp_path):
    log = tmp_path / "log"
    for _ in range(2):
        code = "import sys; print(repr(sys.stdin.read()))"
        spawn([sys.executable, "-c", code], environment={}, folder=tmp_path, log=log).wait(20)
    assert log.read_text().split() == ["''", "''"]


def test_this_process_is_never_its_own_member(tmp_path):
    code = (
        "from pathlib import Path; from ganlib.stack.processes import members; "
        f"print(len(members(Path({str(tmp_path)!r}))))"
    )
    environment = {**os.environ, MARK: mark("s3", tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"
