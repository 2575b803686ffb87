"""A stand-in for ``python`` that runs its command line in a fork of the fork server.

``python -I -S fork_client.py SOCKET ARGUMENT …`` behaves as ``python ARGUMENT …``: same working directory,
environment, standard streams, exit status, and death by the same signal; signals that it gets go to the fork,
and the fork dies with it. Without a server behind the socket, and for options that a fork cannot take, it
becomes that ``python``. It imports the standard library's quick parts alone: it starts for every process.
"""

import json
import os
import resource
import signal
import socket
import struct
import sys

CONNECT_SECONDS = 5.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
GO = b"\1"
"""The client's word that it has heard of the fork and waits for it; without it the fork runs nothing."""
HEADER = struct.Struct("!I")
"""Length in bytes of the request's JSON; the descriptors of the three standard streams come with it."""

CREDENTIALS = struct.Struct("3i")
"""Process, user and group at the other end of a Unix socket."""


def main() -> None:
    """Run ``sys.argv[2:]`` as Python's arguments, and end as that process does."""
    path, *arguments = sys.argv[1:]
    fork = _ask(path, arguments) if _can_fork(arguments) else None
    if fork is None:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
    connection, pid = fork
    for number in FORWARDED:
        signal.signal(number, lambda received, _: _forward(pid, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
    _end_as(_status(connection))


def _can_fork(arguments: list[str]) -> bool:
    """Whether the command line names a module or a script."""
    return len(arguments) > 1 if arguments[:1] == ["-m"] else bool(arguments) and arguments[0][:1] != "-"


def _ask(path: str, arguments: list[str]) -> tuple[socket.socket, int] | None:
    """Have the server fork; ``None`` when it does not."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(CONNECT_SECONDS)
    try:
        connection.connect(path)
        if _user_of(connection) != os.getuid():
            raise OSError("it is another user's")
        request = json.dumps(_request(arguments)).encode()
        socket.send_fds(connection, [HEADER.pack(len(request))], [0, 1, 2])
        connection.sendall(request)
        answer = connection.makefile("rb").readline()
        pid = json.loads(answer)["pid"]
        connection.sendall(GO)
    except (OSError, ValueError, KeyError):
        connection.close()
        return None
    connection.settimeout(None)
    return connection, pid


def _request(arguments: list[str]) -> dict[str, object]:
    return {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109  pathlib takes longer to import than all of this
        "umask": _umask(),
        "niceness": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score": _oom_score(),
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "interruptible": signal.getsignal(signal.SIGINT) != signal.SIG_IGN,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    }


def _user_of(connection: socket.socket) -> int:
    """The user at the other end, who is about to get this process's environment."""
    size = CREDENTIALS.size
    _, user, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


def _oom_score() -> int:
    # Raylets give their workers a higher one than themselves.
    with open("/proc/self/oom_score_adj") as file:  # noqa: PTH123
        return int(file.read())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _forward(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has just ended, and its status is on the way


def _status(connection: socket.socket) -> int:
    """The fork's status as ``waitstatus_to_exitcode`` gives it.

    A server that was killed reports nothing; then the fork's own word counts, which it gave before it left.
    """
    known = {"expected": 1}
    with connection.makefile("rb") as lines:
        for line in lines:
            known.update(json.loads(line))
            if "exit" in known:
                break
    return known.get("exit", known["expected"])


def _end_as(status: int) -> None:
    if status < 0:
        if -status != signal.SIGKILL:  # which nobody may handle
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-status])
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main()
