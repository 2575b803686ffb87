"""Files fetched through boto3 from a server that breaks off, stalls, and fails."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ganlib.data.fetching import Retries, WantedFile, fetch_files
from ganlib.errors import Interrupted, ObjectMissing, ServiceError
from ganlib.settings import Settings
from ganlib.storage import S3Store, s3_store

CONTENT = os.urandom(3 * 2**20 + 17)
BLOCK = 2**18
AT_ONCE = Retries(first=0, longest=0)


class Server(ThreadingHTTPServer):
    """Serves one object at any key, and misbehaves in the answers that it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: Callable[[int], str] = lambda number: ""
        """From the number of the request, from 1 on: the name of a fault, or nothing."""
        self.count = 0
        self.lock = threading.Lock()
        self.over = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are expected."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.count += 1
            fault = self.server.faults(self.server.count)
        if fault.isdigit():
            code = {"404": "NoSuchKey", "403": "AccessDenied"}.get(fault, "InternalError")
            body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self._head(int(fault), len(body))
            self.wfile.write(body)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert match
        start, end = int(match[1]), min(int(match[2]) + 1, len(CONTENT))
        if fault == "no ranges":
            self._head(200, len(CONTENT))
            self.wfile.write(CONTENT)
            return
        self._head(206, end - start, {"Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}"})
        data = CONTENT[start:end]
        if fault:
            self.wfile.write(data[: max(1, len(data) * 2 // 3)])
            self.wfile.flush()
            self.close_connection = True
        if fault == "stall":
            self.server.over.wait(60)
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif not fault:
            self.wfile.write(data)

    def _head(self, status: int, length: int, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def store(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setattr(s3_store, "_READ_SECONDS", 0.3)
    host, port = server.server_address[:2]
    settings = Settings(
        home=tmp_path,
        s3_endpoint_url=f"http://{host!s}:{port}",
        s3_access_key_id="someone",
        s3_secret_access_key=SecretStr("secret"),
    )
    return S3Store(settings, bucket="bucket")


@pytest.fixture
def wanted(tmp_path: Path) -> WantedFile:
    return WantedFile("key", tmp_path / "file", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "short", "stall"])
def test_what_breaks_off_comes_whole_all_the_same(
    store: S3Store, server: Server, wanted: WantedFile, fault: str
) -> None:
    server.faults = lambda number: fault if number % 3 == 1 else ""
    fetch_files(store, [wanted], retries=AT_ONCE, block_bytes=BLOCK, threads=3)
    assert wanted.path.read_bytes() == CONTENT
    assert [path.name for path in wanted.path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("fault", ["500", "reset", "short"])
def test_pieces_before_a_break_are_given_and_then_it_is_said(
    store: S3Store, server: Server, fault: str
) -> None:
    server.faults = lambda number: fault
    came: list[bytes] = []
    with pytest.raises(Interrupted, match="GANLIB_S3_ENDPOINT_URL"):
        came.extend(store.stream("key", 5, 2**20))
    assert b"".join(came) == CONTENT[5 : 5 + sum(map(len, came))]
    assert server.count == 1, "whoever asks repeats it, not the store"


@pytest.mark.parametrize(
    ("fault", "error"), [("404", ObjectMissing), ("403", ServiceError), ("no ranges", ServiceError)]
)
def test_what_no_repetition_mends_is_not_repeated(
    store: S3Store, server: Server, wanted: WantedFile, fault: str, error: type[Exception]
) -> None:
    server.faults = lambda number: fault if number > 1 else ""
    with pytest.raises(error) as caught:
        fetch_files(store, [wanted], retries=AT_ONCE, block_bytes=BLOCK, threads=1)
    assert not isinstance(caught.value, Interrupted)
    assert server.count == 2


def test_a_server_that_always_fails_is_given_up(store: S3Store, server: Server, wanted: WantedFile) -> None:
    server.faults = lambda number: "503"
    with pytest.raises(Interrupted, match="InternalError"):
        fetch_files(store, [wanted], retries=AT_ONCE, block_bytes=BLOCK, threads=1)
    assert server.count == AT_ONCE.attempts
