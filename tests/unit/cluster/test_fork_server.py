"""Forks of a server in place of Python processes: real processes, and a small package as the big ones."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ganlib.cluster.fork_client import HEADER
from ganlib.cluster.node import stand_in, start_fork_server

PLAIN = [sys.executable]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forks")


def until(found: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def serve(folder: Path) -> subprocess.Popen[bytes]:
    server = start_fork_server(folder, ["colorsys"])
    until(lambda: (folder / "fork.sock").exists())
    return server


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    started = serve(folder)
    yield started
    started.terminate()
    assert started.wait(30) == 0


@pytest.fixture(scope="module")
def forked(folder: Path, server: subprocess.Popen[bytes]) -> list[str]:
    return [str(stand_in(folder))]


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def result(python: list[str], arguments: list[str], **options: object) -> tuple[int, str, str]:
    ended = subprocess.run(
        [*python, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        **options,  # type: ignore[call-overload]
    )
    return ended.returncode, ended.stdout, ended.stderr


TELL = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv, "folder": os.getcwd(), "path": sys.path[0], "name": __name__,
    "variables": {name: os.environ[name] for name in sorted(os.environ) if name.startswith("TEST_")},
    "warm": "colorsys" in sys.modules,
    "umask": os.umask(0), "nice": os.getpriority(os.PRIO_PROCESS, 0),
}))
print(sys.stdin.read(), file=sys.stderr, end="")
"""


def test_a_fork_has_arguments_folder_environment_and_streams_of_its_client(
    forked: list[str], tmp_path: Path
) -> None:
    options = {"cwd": tmp_path, "env": {**os.environ, "TEST_A": "1 ü", "TEST_B": ""}, "input": "typed"}
    arguments = [script(tmp_path, TELL), "one", "two words"]
    code, out, err = result(forked, arguments, **options)
    told, expected = json.loads(out), json.loads(result(PLAIN, arguments, **options)[1])
    assert (code, err) == (0, "typed")
    assert told.pop("warm")
    assert not expected.pop("warm")
    assert told == expected


def test_a_module_is_run_as_python_runs_it(forked: list[str], tmp_path: Path) -> None:
    script(tmp_path, TELL)
    options = {"cwd": tmp_path, "input": ""}
    told = json.loads(result(forked, ["-m", "script", "x"], **options)[1])
    expected = json.loads(result(PLAIN, ["-m", "script", "x"], **options)[1])
    assert told.pop("warm") != expected.pop("warm")
    assert (told.pop("path"), told.pop("argv")[1:]) == (str(tmp_path), ["x"])
    assert (expected.pop("path"), expected.pop("argv")[1:]) == (str(tmp_path), ["x"])
    assert told == expected


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a reason')",
        "import sys; sys.exit(None)",
        "1 / 0",
        "import os; os._exit(7)",
        "import atexit; atexit.register(print, 'at exit')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
    ],
)
def test_it_ends_as_python_does(forked: list[str], tmp_path: Path, text: str) -> None:
    path = script(tmp_path, text)
    code, out, err = result(forked, [path])
    expected = result(PLAIN, [path])
    assert (code, out) == expected[:2]
    assert err.splitlines()[-1:] == expected[2].splitlines()[-1:]


@pytest.mark.parametrize("arguments", [["-c", "print(1)"], ["-m"], ["-V"]])
def test_other_options_go_to_plain_python(forked: list[str], arguments: list[str]) -> None:
    assert result(forked, arguments)[:2] == result(PLAIN, arguments)[:2]


WAIT = """
import os, signal, sys, time
def stop(number, frame):
    print("stopped by", number, flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, stop)
print(os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


def waiting(forked: list[str], tmp_path: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    client = subprocess.Popen([*forked, script(tmp_path, WAIT)], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    return client, psutil.Process(int(client.stdout.readline()))


def test_signals_go_to_the_fork(forked: list[str], tmp_path: Path) -> None:
    client, fork = waiting(forked, tmp_path)
    assert fork.pid != client.pid
    client.terminate()
    assert client.stdout is not None
    assert client.stdout.read() == f"stopped by {signal.SIGTERM.value}\n"
    assert client.wait(60) == 5
    assert not fork.is_running()


def test_a_fork_dies_with_its_client(forked: list[str], tmp_path: Path) -> None:
    client, fork = waiting(forked, tmp_path)
    client.kill()
    client.wait(60)
    psutil.wait_procs([fork], timeout=60)
    assert not fork.is_running() or fork.status() == psutil.STATUS_ZOMBIE


def test_many_at_once(forked: list[str], tmp_path: Path) -> None:
    path = script(tmp_path, "import sys; print(sys.argv[1]); sys.exit(int(sys.argv[1]))")
    clients = [
        subprocess.Popen([*forked, path, str(number)], stdout=subprocess.PIPE, text=True)
        for number in range(8)
    ]
    for number, client in enumerate(clients):
        assert client.communicate(timeout=60)[0] == f"{number}\n"
        assert client.returncode == number


@pytest.mark.parametrize("threads", ["1", "1,2"])
def test_threads_are_limited_as_the_client_s_environment_says(
    forked: list[str], tmp_path: Path, threads: str
) -> None:
    text = (
        "from threadpoolctl import threadpool_info as i; import numpy; print({x['num_threads'] for x in i()})"
    )
    options = {"env": {**os.environ, "OMP_NUM_THREADS": threads}}
    assert result(forked, [script(tmp_path, text)], **options)[1] == "{1}\n"


def test_a_request_that_is_none_harms_nobody(
    server: subprocess.Popen[bytes], folder: Path, forked: list[str]
) -> None:
    for words in (b"", b"\xff\xff\xff\xff", b"\x00\x00\x00\x02[]"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "fork.sock"))
            client.sendall(words)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
    assert server.poll() is None
    assert result(forked, ["-m", "calendar", "2026"])[0] == 0


def test_a_killed_server_costs_nothing_but_time(tmp_path: Path) -> None:
    server = serve(tmp_path)
    forked = [str(stand_in(tmp_path))]
    client, fork = waiting(forked, tmp_path)
    server.kill()
    server.wait(60)
    assert fork.is_running()
    fork.terminate()
    assert client.wait(60) == 5, "the fork's own word"
    code, out, _ = result(forked, [script(tmp_path, TELL), "x"], input="")
    assert (code, json.loads(out)["warm"]) == (0, False), "plain Python"


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    text = f"""
from pathlib import Path
from ganlib.cluster.node import start_fork_server
print(start_fork_server(Path({str(tmp_path)!r}), ["colorsys"]).pid, flush=True)
"""
    parent = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=60
    )
    pid = int(parent.stdout)
    until(lambda: not psutil.pid_exists(pid))


GRANDCHILD = """
import os, sys
if os.fork() == 0:
    open(sys.argv[1]).read()
    open(sys.argv[2], "w").close()
    os._exit(0)
sys.exit(3)
"""


def test_a_client_does_not_wait_for_processes_that_its_fork_started(
    forked: list[str], tmp_path: Path
) -> None:
    pipe, mark = tmp_path / "pipe", tmp_path / "grandchild ended"
    os.mkfifo(pipe)
    client = subprocess.Popen([*forked, script(tmp_path, GRANDCHILD), str(pipe), str(mark)])
    assert client.wait(60) == 3
    assert not mark.exists()
    # Opening it waits for the grandchild, which opens it for reading; closing it lets it go on.
    pipe.write_text("")
    until(mark.exists)


def test_a_folder_that_is_gone_is_left_to_plain_python(forked: list[str], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = shlex.join([*forked, script(tmp_path, "print('ran')")])
    done = subprocess.run(
        ["/bin/sh", "-c", f"cd {gone} && rmdir {gone} && {command}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ran\n")


def test_a_signal_before_a_fork_runs_anything_ends_the_fork_and_not_the_server(
    server: subprocess.Popen[bytes], folder: Path, tmp_path: Path
) -> None:
    request = json.dumps(
        {
            "arguments": [script(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w')")],
            "environment": {},
            "folder": str(tmp_path),
            "umask": 0o22,
            "niceness": 0,
            "oom_score": 0,
            "open_files": 256,
            "interruptible": True,
            "blocked": [],
        }
    ).encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "fork.sock"))
        socket.send_fds(client, [HEADER.pack(len(request))], [0, 1, 2])
        client.sendall(request)
        with client.makefile("rb") as lines:
            os.kill(json.loads(lines.readline())["pid"], signal.SIGTERM)
            assert json.loads(lines.readline()) == {"exit": -signal.SIGTERM}
    assert server.poll() is None
    assert not (tmp_path / "ran").exists()
