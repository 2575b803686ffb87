from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from pydantic import SecretStr

from ganlib.stack.home import Credentials
from ganlib.stack.port_numbers import choose
from ganlib.stack.probes import NotAnswering, answer, bucket_exists, signed

KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", SecretStr("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))


class Answers(BaseHTTPRequestHandler):
    """Answers each path with the status in it, and the text ``{"a": 1}`` or ``no json``."""

    def do_GET(self) -> None:
        status = int(self.path.split("/")[1].split("?")[0])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"no json" if "text" in self.path else b'{"a": 1}')

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_the_signature_is_the_one_in_amazons_example():
    """The worked example "GET Bucket (List Objects)" in the S3 API reference."""
    moment = datetime(2013, 5, 24, tzinfo=UTC)
    request = signed(
        "GET", "https://examplebucket.s3.amazonaws.com", "/", "max-keys=2&prefix=J", "us-east-1", KEYS, moment
    )
    signature = (request.get_header("Authorization") or "").rpartition("Signature=")[2]
    assert signature == "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"


def test_an_answer_is_read(server):
    assert answer(f"{server}/200") == {"a": 1}


def test_a_proxy_in_the_environment_is_not_asked(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert answer(f"{server}/200") == {"a": 1}


@pytest.mark.parametrize(("path", "said"), [("/503", "HTTP 503"), ("/200?text", "no JSON")])
def test_anything_else_is_no_answer(server, path, said):
    with pytest.raises(NotAnswering, match=said):
        answer(server + path)


def test_a_closed_port_is_no_answer():
    port = choose(["s3"], mode="free", before={}, kept={})["s3"]
    with pytest.raises(NotAnswering, match="refused"):
        answer(f"http://127.0.0.1:{port}/")


def test_a_store_that_refuses_the_keys_is_not_taken_for_an_empty_one(server):
    assert not bucket_exists(server, "404", "us-east-1", KEYS)
    assert bucket_exists(server, "200", "us-east-1", KEYS)
    with pytest.raises(NotAnswering, match="HTTP 403"):
        bucket_exists(server, "403", "us-east-1", KEYS)
