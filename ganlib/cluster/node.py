"""A Ray node whose Python processes are forks: ``python -m ganlib.cluster.node FOLDER RAY-ARGUMENT …``.

It starts the fork server (:mod:`ganlib.cluster.fork_server`), writes the stand-in for ``python`` into the
folder, and becomes ``ray RAY-ARGUMENT …``. Jobs are told of the stand-in when they are submitted
(:mod:`ganlib.cluster.launch`). The node tells its versions and shared memory
(:mod:`ganlib.cluster.node_labels`).
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ganlib.cluster import fork_client, fork_server
from ganlib.cluster.node_labels import node_labels

_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # which would start a thread while MLflow is imported
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # CUDA once looked for in the server could not be used in a fork
}


def main(folder: str, *arguments: str) -> None:
    """Start the fork server and become Ray.

    Args:
        folder: Takes socket and stand-in; its user alone can enter it.
        arguments: Ray's command line.
    """
    start_fork_server(Path(folder), fork_server.PRELOADED)
    labels = [f"--labels={node_labels()}"] if arguments[:1] == ("start",) else []
    words = [sys.executable, "-P", "-m", "ray.scripts.scripts", *arguments, *labels]
    os.execv(sys.executable, words)  # noqa: S606


def stand_in(folder: Path) -> Path:
    """Path of the stand-in for ``python`` on a node with that folder."""
    return folder / "python"


def start_fork_server(folder: Path, packages: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a fork server, which ends with this process, and write the stand-in for ``python``.

    Until the server has imported the packages, and after it was killed, the stand-in is plain Python.
    """
    path = folder / "fork.sock"
    path.unlink(missing_ok=True)
    words = [sys.executable, "-I", "-S", fork_client.__file__, str(path)]
    beside = folder / f".python.{os.getpid()}"
    beside.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    beside.chmod(0o700)
    beside.replace(stand_in(folder))
    libc = ctypes.CDLL(None)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", fork_server.__name__, str(path), *packages],
        env={**os.environ, **_ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
