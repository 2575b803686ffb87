"""Files of the embedded services, all below one folder, the home.

::

    HOME/                    mode 0700
      credentials.json       keys of the S3 gateway, Ray's token, Prefect's login, mode 0600
      services.json          addresses, read by ganlib.settings
      stack.json             processes and ports, read by `ganlib up`, `down` and `status`
      stack.lock             held by the one `up` or `down` at work
      logs/NAME.log          one for each service; logs/ray is the newest session's folder
      s3/ mlflow/ prefect/ ray/
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ganlib.errors import ConfigError

RAY_FOLDER_LIMIT = 39
"""Bytes left for Ray's folder: 107 of a unix socket's path less ``/session_…/sockets/dash_MetricsHead``."""

_LOG_LIMIT = 20 * 2**20
_SESSIONS_KEPT = 3


@dataclass(frozen=True)
class Layout:
    """Paths below a home folder."""

    home: Path

    @property
    def credentials(self) -> Path:
        """Keys of the S3 gateway, Ray's token and Prefect's login, mode 0600."""
        return self.home / "credentials.json"

    @property
    def services(self) -> Path:
        """Addresses, as :mod:`ganlib.settings` reads them."""
        return self.home / "services.json"

    @property
    def state(self) -> Path:
        """Processes and ports."""
        return self.home / "stack.json"

    def folder(self, name: str) -> Path:
        """State of one service."""
        return self.home / name

    def log(self, name: str) -> Path:
        """Log of one service."""
        return self.home / "logs" / f"{name}.log"


@dataclass(frozen=True)
class Credentials:
    """Keys of the S3 store that the services use."""

    key_id: str
    secret: SecretStr


def prepare_home(home: Path) -> Layout:
    """Create the home and its folders, open to their owner only.

    Raises:
        ConfigError: The folder cannot be made, or is one that must stay open to others.
    """
    layout = Layout(home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = home.stat()
        if stat.S_IMODE(status.st_mode) & 0o077:
            if (
                status.st_uid != os.getuid()
                or status.st_mode & stat.S_ISVTX
                or home in (Path("/"), Path.home())
            ):
                raise ConfigError(
                    f"GANLIB_HOME is {home}, which others may enter (mode "
                    f"{stat.S_IMODE(status.st_mode):o}) and is not "
                    "ganlib's alone; choose a folder of its own, as in GANLIB_HOME=~/.ganlib"
                )
            home.chmod(0o700)
        for name in ("logs", "s3", "mlflow", "prefect", "ray"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"GANLIB_HOME={home} cannot be used: {error.strerror}") from error
    return layout


def write_atomically(path: Path, value: Mapping[str, Any], mode: int = 0o600) -> None:
    """Write JSON beside ``path`` with that mode from the first byte, then rename it into place."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def make_credentials(layout: Layout) -> None:
    """Write random credentials for the embedded services; those that are there already stay.

    Raises:
        ConfigError: The file is there and holds no JSON object.
    """
    made = {
        "s3_access_key_id": secrets.token_hex(10),
        "s3_secret_access_key": secrets.token_hex(20),
        "ray_token": secrets.token_hex(32),
        "prefect_auth": f"ganlib:{secrets.token_hex(20)}",
    }
    if not layout.credentials.exists():
        write_atomically(layout.credentials, made)
        return
    layout.credentials.chmod(0o600)
    kept = _read_object(layout.credentials)
    if not made.keys() <= kept.keys():
        write_atomically(layout.credentials, {**made, **kept})


def read_credentials(layout: Layout) -> Credentials:
    """Return the gateway's keys.

    Raises:
        ConfigError: The file holds something else.
    """
    read = _read_object(layout.credentials)
    try:
        return Credentials(str(read["s3_access_key_id"]), SecretStr(read["s3_secret_access_key"]))
    except (KeyError, TypeError) as error:
        raise _damaged(layout.credentials, "lacks s3_access_key_id or s3_secret_access_key") from error


def embedded_credentials(layout: Layout) -> dict[str, Any]:
    """The credentials' file as fields of :class:`~ganlib.settings.Settings`, secrets wrapped.

    Raises:
        ConfigError: The file holds something else.
    """
    read = _read_object(layout.credentials)
    return {name: SecretStr(str(read[name])) for name in ("ray_token", "prefect_auth") if read.get(name)}


def _read_object(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path, "is not JSON") from error
    if not isinstance(read, dict):
        raise _damaged(path, "holds no JSON object")
    return read


def _damaged(path: Path, how: str) -> ConfigError:
    return ConfigError(f"{path} {how}; remove it after `ganlib down`, and `ganlib up` makes a new one")


@contextmanager
def exclusive(layout: Layout, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the home's lock; whoever asks for it meanwhile waits, and reports that."""
    with (layout.home / "stack.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another `ganlib up` or `ganlib down` is at work here; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def rotate(log: Path) -> None:
    """Put a log of more than 20 MiB aside as ``NAME.log.1``."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_name(log.name + ".1"))


def tail(log: Path, hidden: Sequence[str] = (), lines: int = 15) -> list[str]:
    """The last lines of a log, with the ``hidden`` texts starred out."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return redact(text, hidden).splitlines()[-lines:]


def redact(text: str, hidden: Sequence[str]) -> str:
    """``text`` with every occurrence of the ``hidden`` texts starred out."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return text


def short_path(target: Path, before: str, limit: int = RAY_FOLDER_LIMIT) -> Path:
    """A path of at most ``limit`` bytes that leads to ``target``: itself, or a link in a private folder.

    The link's folder is made anew unless ``before`` is still ours: names under the system's
    temporary folder are for anyone to take.

    Raises:
        ConfigError: No temporary folder has a path short enough.
    """
    if len(os.fsencode(target)) <= limit:
        return target
    if before and _is_our_link(Path(before), target) and len(os.fsencode(before)) <= limit:
        return Path(before)
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108
        if len(os.fsencode(base)) + len("/ganlib-12345678/ray") <= limit and os.access(
            base, os.W_OK | os.X_OK
        ):
            link = Path(tempfile.mkdtemp(prefix="ganlib-", dir=base)) / "ray"
            link.symlink_to(target, target_is_directory=True)
            return link
    raise ConfigError(
        f"Ray's sockets need a folder of at most {limit} bytes, and neither {target} nor a link to it in "
        f"{tempfile.gettempdir()} is short enough; set GANLIB_HOME or TMPDIR to a shorter path"
    )


def remove_short_path(link: str, target: Path) -> None:
    """Remove a link that :func:`short_path` made, with its folder; anything else is left alone."""
    if link and Path(link) != target and _is_our_link(Path(link), target):
        Path(link).unlink()
        Path(link).parent.rmdir()


def _is_our_link(link: Path, target: Path) -> bool:
    try:
        folder = link.parent.lstat()
        return (
            stat.S_ISDIR(folder.st_mode)
            and folder.st_uid == os.getuid()
            and not folder.st_mode & 0o077
            and link.readlink() == target
        )
    except OSError:
        return False


def ray_sessions(layout: Layout) -> list[Path]:
    """Folders of Ray's sessions, the newest first."""
    found = [
        path for path in layout.folder("ray").glob("session_2*") if path.is_dir() and not path.is_symlink()
    ]
    return sorted(found, key=lambda path: path.name, reverse=True)


def prune_ray_sessions(layout: Layout) -> None:
    """Remove all but the newest few sessions: each start of Ray leaves one."""
    for session in ray_sessions(layout)[_SESSIONS_KEPT:]:
        shutil.rmtree(session)


def link_ray_logs(layout: Layout) -> None:
    """Point the link ``logs/ray`` to the newest session's logs, relative, so that the home can be moved."""
    newest = ray_sessions(layout)[:1]
    link = layout.home / "logs" / "ray"
    for session in newest:
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / "ray" / session.name / "logs", target_is_directory=True)
