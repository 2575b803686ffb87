"""Getting files from outside, bounded in time: a web mirror, or a Debian package without root."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from ganlib.errors import DataError

_CHUNK = 1 << 18


class PlaceError(DataError):
    """A place does not have the files; the text says which place and why.

    Never leaves this package: what was tried ends as one ``SourceUnavailable``.
    """


def from_mirror(
    mirror: str, names: Sequence[str], folder: Path, *, connect_seconds: float, download_seconds: float
) -> None:
    """Download files into a new folder. They are not checked.

    Args:
        mirror: URL prefix ending in a slash, http or https; the environment's proxy settings are followed.
        names: File names to append to it.
        folder: Created.
        connect_seconds: Limit for the first answer, name resolution included, and for each silence after.
        download_seconds: Limit for all files together.

    Raises:
        PlaceError: With the reason.
    """
    if not mirror.startswith(("http://", "https://")):
        raise PlaceError(f"{mirror}: only http and https are fetched")
    folder.mkdir(parents=True)
    deadline = time.monotonic() + download_seconds
    for name in names:
        try:
            with _open_within(mirror + name, connect_seconds) as response, (folder / name).open("wb") as out:
                while part := response.read(_CHUNK):
                    out.write(part)
                    if time.monotonic() > deadline:
                        raise PlaceError(f"{mirror}: not finished after {download_seconds:g} s")
        except urllib.error.HTTPError as error:
            raise PlaceError(f"{mirror}{name}: HTTP {error.code} {error.reason}") from error
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise PlaceError(f"{mirror}: {reason}") from error


def _open_within(url: str, seconds: float) -> HTTPResponse:
    """Open a URL. A socket's own timeout does not cover name resolution, which can hang for minutes."""
    answers: queue.SimpleQueue[HTTPResponse | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=seconds))  # noqa: S310 (scheme is checked above)
        except Exception as error:  # noqa: BLE001 (handed over and raised below)
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="ganlib-mirror").start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def from_apt(package: str, folder: Path, *, apt_get: str, dpkg: str, seconds: float) -> Path:
    """Download a Debian package with ``apt-get`` and unpack it; needs no root and installs nothing.

    Where the system has no package lists, they are fetched into ``folder`` instead of the system's
    own place.

    Args:
        package: Package name.
        folder: Created; holds the package, its content, and lists if they had to be fetched.
        apt_get: The program.
        dpkg: The program.
        seconds: Limit for each call.

    Returns:
        The folder that stands for ``/`` of the package.

    Raises:
        PlaceError: With the reason.
    """
    folder.mkdir(parents=True)
    options = ["-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10"]
    if os.geteuid() == 0:
        # As root apt hands downloads to a user who may not enter our folder.
        options += ["-o", "APT::Sandbox::User=root"]
    download = [apt_get, *options, "download", package]
    reason = _run(download, folder, seconds)
    if reason is not None and "Unable to locate package" in reason:
        lists, cache = folder / "lists", folder / "cache"
        (lists / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        options += ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
        first = reason
        reason = _run([apt_get, *options, "update"], folder, seconds)
        if reason is None:
            reason = _run([apt_get, *options, "download", package], folder, seconds)
        if reason is not None:
            reason = f"{first}; with freshly fetched package lists: {reason}"
    if reason is not None:
        raise PlaceError(f"apt-get download {package}: {reason}")
    packages = sorted(folder.glob(f"{package}_*.deb"))
    if not packages:
        raise PlaceError(f"apt-get download {package}: it reported success but left no package")
    root = folder / "root"
    reason = _run([dpkg, "-x", str(packages[0]), str(root)], folder, seconds)
    if reason is not None:
        raise PlaceError(f"dpkg -x {packages[0].name}: {reason}")
    return root


def _run(command: list[str], folder: Path, seconds: float) -> str | None:
    """Run a program in a folder. ``None`` on success, otherwise why not, in one line."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        return f"{Path(command[0]).name} is not installed"
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"not finished after {seconds:g} s"
    if done.returncode == 0:
        return None
    errors = [line.strip() for line in done.stderr.splitlines() if line.startswith(("E:", "Err:", "dpkg"))]
    text = "; ".join(errors) or done.stderr.strip() or done.stdout.strip()
    return f"exit code {done.returncode}: {text[-500:]}"
