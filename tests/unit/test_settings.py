from __future__ import annotations

import http.server
import json
import os
import shutil
import threading
import urllib.request
from pathlib import Path

import pytest
import requests

from ganlib import stack
from ganlib.errors import ConfigError, DiskFull
from ganlib.settings import load_settings
from ganlib.storage import S3Store


def write(home: Path, name: str, values: object) -> None:
    home.mkdir(exist_ok=True)
    (home / name).write_text(json.dumps(values))


def test_the_embedded_services_are_found_in_the_home(tmp_path: Path) -> None:
    write(
        tmp_path,
        "services.json",
        {"s3_endpoint_url": "http://127.0.0.1:1", "mlflow_uri": "http://127.0.0.1:2"},
    )
    write(tmp_path, "credentials.json", {"s3_access_key_id": "a", "s3_secret_access_key": "hidden"})
    settings = load_settings({"GANLIB_HOME": str(tmp_path)})
    assert settings.require("mlflow") == "http://127.0.0.1:2"
    assert settings.own == frozenset()
    assert settings.s3_secret_access_key is not None
    assert settings.s3_secret_access_key.get_secret_value() == "hidden"
    assert "hidden" not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_the_environment_goes_first_and_its_s3_never_gets_the_embedded_credentials(tmp_path: Path) -> None:
    write(
        tmp_path,
        "services.json",
        {"s3_endpoint_url": "http://127.0.0.1:1", "mlflow_uri": "http://127.0.0.1:2"},
    )
    write(tmp_path, "credentials.json", {"s3_access_key_id": "a", "s3_secret_access_key": "hidden"})
    settings = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_S3_ENDPOINT_URL": "https://s3.example"})
    assert settings.s3_endpoint_url == "https://s3.example"
    assert settings.own == {"s3"}
    assert settings.s3_access_key_id is None
    assert settings.s3_secret_access_key is None


def test_a_service_that_is_nowhere_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ray.*`ganlib up`.*GANLIB_RAY_ADDRESS"):
        load_settings({"GANLIB_HOME": str(tmp_path)}).require("ray")


@pytest.mark.parametrize("text", ["{", "[]", '{"unknown": 1}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "services.json").write_text(text)
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_settings({"GANLIB_HOME": str(tmp_path)})


def test_a_wrong_value_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GANLIB_S3_CHECKSUMS"):
        load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_S3_CHECKSUMS": "never"})


def test_loopback_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("GANLIB_HOME", str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        load_settings()
        for address in ("127.0.0.1", "localhost"):
            url = f"http://{address}:{server.server_port}"
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert answer.status == 200
            assert requests.get(url, timeout=10).status_code == 200
        server.shutdown()
    assert os.environ["no_proxy"] == "example.org,127.0.0.1,localhost", "what was excepted before stays so"


@pytest.mark.parametrize("content", [None, "[profile work]\nregion = us-east-1\n", "[broken"])
def test_given_keys_need_no_aws_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    if content is not None:
        (tmp_path / "config").write_text(content)
    environ = {"GANLIB_HOME": str(tmp_path), "GANLIB_S3_ENDPOINT_URL": "http://127.0.0.1:9"}
    keys = {"GANLIB_S3_ACCESS_KEY_ID": "key", "GANLIB_S3_SECRET_ACCESS_KEY": "secret"}
    S3Store(load_settings(environ | keys), bucket="pictures")
    with pytest.raises(ConfigError, match="the AWS configuration cannot be used"):
        S3Store(load_settings(environ), bucket="pictures")


def test_a_full_disk_is_named_before_the_gateway_hangs_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(tmp_path, "services.json", {"s3_endpoint_url": "http://127.0.0.1:9"})
    write(tmp_path, "credentials.json", {"s3_access_key_id": "a", "s3_secret_access_key": "hidden"})
    store = S3Store(load_settings({"GANLIB_HOME": str(tmp_path)}), bucket="pictures")
    usage = shutil.disk_usage(tmp_path)._replace(free=17_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        DiskFull, match=f"the disk of {tmp_path} is full: 17 MB are free and 18 MB are needed"
    ):
        store.put("key", bytes(2_000_000))
    with pytest.raises(DiskFull, match="1,000 MB are needed"):
        stack.up(load_settings({"GANLIB_HOME": str(tmp_path)}), report=print)
    assert "nearly full: 17 MB are free" in str(stack.status(load_settings({"GANLIB_HOME": str(tmp_path)})))
