"""A process with the big packages imported, of which the cluster's Python processes are forks.

Each job starts four or more Python processes, and importing torch and MLflow takes each of them seconds of a
processor. The server imports them once, listens on a socket of its own user, and forks for every request of
:mod:`ganlib.cluster.fork_client`, which stands in for ``python``. ganlib itself is imported by the forks: it
may have been edited since. So is Ray, whose workers hang when they are forks of a process that imported it.

A server that was killed costs those seconds again and nothing else: its forks live on, and later processes
start as plain Python.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from ganlib.cluster.fork_client import CREDENTIALS, GO, HEADER

PRELOADED = (
    "torch",
    "torch._dynamo",
    "torch.distributed",
    "torch.export",
    "torch.nn.parallel",
    "torch.utils.data",
    "safetensors.torch",
    "mlflow",
    "mlflow.pytorch",
    "boto3",
    "pandas",
    "PIL.Image",
    "pyarrow.dataset",
    "pydantic",
    "scipy.linalg",
    "threadpoolctl",
    "yaml",
)
"""Packages that jobs import and that start no thread when they are imported."""

_MAX_REQUEST_BYTES = 16 * 2**20
_REQUEST_SECONDS = 5.0


def main(path: str, *packages: str) -> None:
    """Serve on a Unix socket until SIGTERM.

    Args:
        path: The socket's path, in a folder that its user alone can enter.
        packages: Imported before the first fork.
    """
    for package in packages:
        importlib.import_module(package)
    Server(Path(path)).serve()


class Server:
    """Forks for each request, and tells each client how its fork ended."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._clients: dict[int, socket.socket] = {}
        """Connections by the forks' process ids."""

    def serve(self) -> None:
        """Answer requests until SIGTERM, which leaves the forks alone."""
        wakeup, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            for waited in (self._listener, wakeup):
                selector.register(waited, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._listener:
                        self._accept([wakeup, waker])
                    elif signal.SIGTERM in wakeup.recv(4096):
                        self._path.unlink(missing_ok=True)
                        return
                self._reap()

    def _accept(self, own: list[socket.socket]) -> None:
        """Fork for one request; a client that cannot be served is hung up on, and becomes plain Python.

        Args:
            own: Sockets of the server's that a fork has no use for.
        """
        client: socket.socket | None = None
        streams: list[int] = []
        try:
            client, _ = self._listener.accept()
            client.settimeout(_REQUEST_SECONDS)
            request, streams = _read(client)
            # A signal that came before the fork has handlers of its own would be taken for the server's.
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = os.fork()
                if pid == 0:
                    for other in (self._listener, *own, *self._clients.values()):
                        other.close()
                    _run(request, streams, client)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            self._clients[pid] = client
        except (OSError, ValueError, EOFError) as error:
            sys.stderr.write(f"a request was refused: {error}\n")
            if client is not None:
                client.close()
        finally:
            for stream in streams:
                os.close(stream)

    def _reap(self) -> None:
        while self._clients:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            client = self._clients.pop(pid)
            _tell(client, exit=os.waitstatus_to_exitcode(status))
            client.close()


def _read(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The request and the descriptors of its standard streams.

    Raises:
        ValueError: The client is another user's, or asks for something else.
    """
    _, user, _ = CREDENTIALS.unpack(
        client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    )
    if user != os.getuid():
        raise ValueError(f"it came from user {user}")
    header, streams, _, _ = socket.recv_fds(client, HEADER.size, 3)
    try:
        if len(header) != HEADER.size or len(streams) != 3:
            raise ValueError("it has no three standard streams")
        (length,) = HEADER.unpack(header)
        if length > _MAX_REQUEST_BYTES:
            raise ValueError(f"it has {length} bytes, more than {_MAX_REQUEST_BYTES}")
        with client.makefile("rb") as file:
            request: dict[str, Any] = json.loads(file.read(length))
    except BaseException:
        for stream in streams:
            os.close(stream)
        raise
    return request, streams


def _tell(client: socket.socket, **words: int) -> None:
    try:
        client.sendall(json.dumps(words).encode() + b"\n")
    except OSError:
        return  # the client was killed, and its fork with it


def _run(request: dict[str, Any], streams: list[int], client: socket.socket) -> NoReturn:
    """Become the process that the client stands for; in the fork."""
    try:
        _take_over(request, streams)
        _tell(client, pid=os.getpid())
        if client.recv(1) != GO:
            raise ConnectionError("the client gave up waiting")
    except BaseException as error:  # noqa: BLE001  whatever it was
        sys.stderr.write(f"a fork was given up: {error!r}\n")
        os._exit(1)  # the client becomes plain Python: nothing may run twice
    try:
        client.settimeout(None)
        # Processes that the program forks by itself must not keep the client waiting.
        os.register_at_fork(after_in_child=client.close)
        threading.Thread(target=_die_with, args=(client,), name="fork client", daemon=True).start()
        _execute(request["arguments"])
        status = 0
    except SystemExit as end:
        status = _leave(end.code)
    except BaseException:  # noqa: BLE001  as the interpreter does at a program's end
        sys.excepthook(*sys.exc_info())
        status = 1
    _tell(client, expected=status)
    sys.exit(status)


def _take_over(request: dict[str, Any], streams: list[int]) -> None:
    """Take the client's streams, folder, environment, limits and signal mask."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler if request["interruptible"] else signal.SIG_IGN)
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.setpriority(os.PRIO_PROCESS, 0, max(request["niceness"], os.getpriority(os.PRIO_PROCESS, 0)))
    Path("/proc/self/oom_score_adj").write_text(str(request["oom_score"]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(request["open_files"], hard), hard))
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    _limit_threads()
    sys.stdout.reconfigure(  # type: ignore[union-attr]
        line_buffering=True, write_through="PYTHONUNBUFFERED" in os.environ
    )


def _limit_threads() -> None:
    """Obey ``OMP_NUM_THREADS``, which the loaded libraries have read already, in the server."""
    # A list has a number for each level of nesting.
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    threadpoolctl = sys.modules.get("threadpoolctl")
    if threads.isdecimal() and int(threads) > 0 and threadpoolctl is not None:
        threadpoolctl.threadpool_limits(int(threads))


def _execute(arguments: list[str]) -> None:
    name, rest = (arguments[1], arguments[2:]) if arguments[0] == "-m" else (arguments[0], arguments[1:])
    more = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]
    first = (
        []
        if os.environ.get("PYTHONSAFEPATH")
        else [str(Path.cwd() if arguments[0] == "-m" else Path(name).parent)]
    )
    sys.path[:0] = [*first, *more]
    sys.argv = [name, *rest]
    if arguments[0] == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(name, run_name="__main__")


def _leave(code: object) -> int:
    """The exit status that Python makes of a ``SystemExit``."""
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _die_with(client: socket.socket) -> None:
    """Wait for the client's end: nobody else knows which process stands behind it."""
    while True:
        try:
            if client.recv(1):
                continue
        except InterruptedError:
            continue
        except OSError:
            pass
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
