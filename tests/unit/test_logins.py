"""Credentials of the services: where they are read, and how a process logs in with them."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from pathlib import Path

import pytest

from ganlib.cluster.launch import connect
from ganlib.doctor.preflight import require_prefect
from ganlib.errors import ConfigError, ServiceError
from ganlib.logins import (
    credential_variables,
    credentials_of,
    library_variables,
    login_headers,
    secrets_of,
)
from ganlib.settings import Settings, load_settings
from ganlib.stack.probes import NotAnswering, answer

GIVEN = {
    "GANLIB_MLFLOW_USERNAME": "admin",
    "GANLIB_MLFLOW_PASSWORD": "pw-mlflow",
    "GANLIB_PREFECT_AUTH": "ganlib:pw-prefect",
    "GANLIB_RAY_TOKEN": "token-ray",
    "GANLIB_S3_ACCESS_KEY_ID": "key",
    "GANLIB_S3_SECRET_ACCESS_KEY": "pw-s3",
}


def settings(tmp_path: Path, **environ: str) -> Settings:
    return load_settings({"GANLIB_HOME": str(tmp_path), **environ})


def test_each_service_gets_its_own_credential(tmp_path: Path) -> None:
    given = settings(tmp_path, **GIVEN)
    basic = base64.b64encode(b"admin:pw-mlflow").decode()
    assert login_headers(given, "mlflow") == {"Authorization": f"Basic {basic}"}
    basic = base64.b64encode(b"ganlib:pw-prefect").decode()
    assert login_headers(given, "prefect") == {"Authorization": f"Basic {basic}"}
    assert login_headers(given, "ray") == {"Authorization": "Bearer token-ray"}
    assert library_variables(given, "mlflow")["MLFLOW_TRACKING_PASSWORD"] == "pw-mlflow"
    assert library_variables(given, "prefect") == {"PREFECT_API_AUTH_STRING": "ganlib:pw-prefect"}
    assert library_variables(given, "ray") == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "token-ray"}
    assert credentials_of(given, "mlflow") == ["admin", "pw-mlflow"]


def test_without_credentials_nothing_is_sent(tmp_path: Path) -> None:
    bare = settings(tmp_path)
    for service in ("mlflow", "prefect", "ray"):
        assert login_headers(bare, service) == {}
        assert credentials_of(bare, service) == []
    assert library_variables(bare, "ray") == {"RAY_AUTH_MODE": "disabled"}
    assert secrets_of(bare) == []


def test_no_secret_is_shown(tmp_path: Path) -> None:
    given = settings(tmp_path, **GIVEN)
    shown = f"{given} {given!r} {given.model_dump_json()}"
    assert not [secret for secret in secrets_of(given) if secret in shown]
    assert set(secrets_of(given)) == {"pw-mlflow", "ganlib:pw-prefect", "pw-prefect", "token-ray", "pw-s3"}


@pytest.mark.parametrize("variable", sorted(GIVEN))
def test_a_credential_may_stand_in_a_file(tmp_path: Path, variable: str) -> None:
    path = tmp_path / "secret"
    path.write_text(GIVEN[variable] + "\n")
    rest = {name: value for name, value in GIVEN.items() if name != variable}
    assert settings(tmp_path, **rest, **{f"{variable}_FILE": str(path)}) == settings(tmp_path, **GIVEN)


def test_a_credential_and_its_file_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GANLIB_RAY_TOKEN and GANLIB_RAY_TOKEN_FILE are both set"):
        settings(tmp_path, GANLIB_RAY_TOKEN="a", GANLIB_RAY_TOKEN_FILE="/nowhere")


def test_a_credentials_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GANLIB_RAY_TOKEN_FILE names /nowhere, which cannot be read"):
        settings(tmp_path, GANLIB_RAY_TOKEN_FILE="/nowhere")


def test_what_is_no_secret_is_not_read_from_files(tmp_path: Path) -> None:
    assert settings(tmp_path, GANLIB_MLFLOW_URI_FILE="/nowhere").mlflow_uri is None


def test_a_service_of_ones_own_never_gets_the_embedded_credential(tmp_path: Path) -> None:
    made = {"ray_token": "embedded", "prefect_auth": "a:b"}
    (tmp_path / "credentials.json").write_text(json.dumps(made))
    own = settings(tmp_path, GANLIB_RAY_ADDRESS="http://ray.example:8265")
    assert own.ray_token is None
    assert own.prefect_auth is not None


def test_another_process_is_handed_the_credentials_of_the_services_that_it_uses(tmp_path: Path) -> None:
    handed = credential_variables(settings(tmp_path, **GIVEN), ["mlflow", "ray"])
    assert handed == {name: GIVEN[name] for name in GIVEN if "MLFLOW" in name or "RAY" in name}


@pytest.mark.parametrize("variable", ["GANLIB_MLFLOW_URI", "GANLIB_RAY_ADDRESS", "GANLIB_S3_ENDPOINT_URL"])
def test_an_address_with_a_password_is_refused_without_repeating_it(tmp_path: Path, variable: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable} holds a user or a password") as refused:
        settings(tmp_path, **{variable: "https://bob:hunter2@host.example"})
    assert "hunter2" not in str(refused.value)


def test_mlflows_own_login_counts_for_a_server_of_ones_own_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "mine")
    assert login_headers(settings(tmp_path), "mlflow") == {}
    own = settings(tmp_path, GANLIB_MLFLOW_URI="https://mlflow.example")
    assert login_headers(own, "mlflow") == {"Authorization": "Bearer mine"}


def test_a_credential_never_follows_a_redirect(tmp_path: Path) -> None:
    seen: list[str] = []

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        given = settings(tmp_path, **GIVEN, GANLIB_RAY_ADDRESS=url, GANLIB_PREFECT_API_URL=url)
        with pytest.raises(ServiceError, match="HTTP 302"):
            connect(given)
        with pytest.raises(ServiceError, match="HTTP 302"):
            require_prefect(given)
        with pytest.raises(NotAnswering, match="HTTP 302"):
            answer(f"{url}/probe", headers=login_headers(given, "prefect"))
        server.shutdown()
    assert "/elsewhere" not in seen
