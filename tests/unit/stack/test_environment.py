from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import pytest
from pydantic import SecretStr

from ganlib.settings import load_settings
from ganlib.stack import environment as env
from ganlib.stack.environment import Context, digest_of_settings
from ganlib.stack.home import Credentials, prepare_home
from ganlib.stack.port_numbers import RAY_PORTS, USUAL
from ganlib.stack.processes import MARK
from ganlib.stack.services import SERVICES, embedded

SECRET = "s3cr3t-of-the-gateway"


def context(home: Path, **environ: str) -> Context:
    settings = load_settings({"GANLIB_HOME": str(home), **environ})
    ports = {name: 21000 + n for n, name in enumerate([*USUAL, *RAY_PORTS])}
    return Context(
        settings, prepare_home(home), ports, Credentials("key-id", SecretStr(SECRET)), home / "ray"
    )


def test_nothing_of_the_callers_own_services_leaks_in(tmp_path, monkeypatch):
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "AWS_PROFILE", "GANLIB_MLFLOW_URI"):
        monkeypatch.setenv(name, "elsewhere")
    assert "elsewhere" not in env.common(context(tmp_path)).values()


def test_children_find_the_home_this_interpreter_and_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "example.org")
    environment = env.common(context(tmp_path))
    assert environment["GANLIB_HOME"] == str(tmp_path)
    assert environment["PATH"].split(os.pathsep)[0] == sysconfig.get_path("scripts")
    assert environment["no_proxy"] == "example.org,127.0.0.1,localhost"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_no_service_reports_its_use_or_shows_the_secret_on_its_command_line(service, tmp_path):
    around = context(tmp_path)
    environment = service.environment(around)
    assert environment["DO_NOT_TRACK"] == "true"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
    assert environment[MARK] == f"{service.name}@{tmp_path}"
    command = service.command(around)
    assert not any(SECRET in word or "0.0.0.0" in word for word in command)


def test_who_runs_programs_asks_for_a_credential_and_its_clients_have_it(tmp_path):
    around = context(tmp_path, GANLIB_RAY_TOKEN="token", GANLIB_PREFECT_AUTH="ganlib:login")
    environment = {service.name: service.environment(around) for service in SERVICES}
    assert environment["ray"]["RAY_AUTH_MODE"] == "token"
    assert environment["ray"]["RAY_AUTH_TOKEN"] == "token"
    assert environment["prefect"]["PREFECT_SERVER_API_AUTH_STRING"] == "ganlib:login"
    assert environment["worker"]["PREFECT_API_AUTH_STRING"] == "ganlib:login"
    assert "token" not in environment["mlflow"].values()


def test_only_the_gateway_and_mlflow_hold_the_gateways_secret(tmp_path):
    around = context(tmp_path)
    holders = {service.name for service in SERVICES if SECRET in service.environment(around).values()}
    assert holders == {"s3", "mlflow"}


def test_two_services_never_share_a_port(tmp_path):
    around = context(tmp_path)
    words = [word for service in SERVICES for word in service.command(around)]
    words += [value for service in SERVICES for value in service.extra_environment(around).values()]
    for port in around.ports.values():
        assert any(str(port) in word for word in words), port


def test_a_store_of_ones_own_reaches_every_process(tmp_path):
    around = context(
        tmp_path,
        GANLIB_S3_ENDPOINT_URL="https://s3.example.org",
        GANLIB_S3_ACCESS_KEY_ID="mine",
        GANLIB_S3_SECRET_ACCESS_KEY="also mine",
    )
    environment = env.common(around)
    assert environment["GANLIB_S3_ENDPOINT_URL"] == "https://s3.example.org"
    assert environment["GANLIB_S3_SECRET_ACCESS_KEY"] == "also mine"
    assert env.s3_client(around)["MLFLOW_S3_ENDPOINT_URL"] == "https://s3.example.org"
    assert "s3" not in {service.name for service in embedded(around.settings)}


def test_a_prefect_of_ones_own_brings_its_own_worker(tmp_path):
    around = context(tmp_path, GANLIB_PREFECT_API_URL="https://prefect.example.org/api")
    assert {service.name for service in embedded(around.settings)} == {"s3", "ray", "mlflow"}
    assert around.url("prefect") == "https://prefect.example.org/api"


def test_other_settings_have_another_digest_and_other_secrets_have_not(tmp_path):
    plain = load_settings({"GANLIB_HOME": str(tmp_path)})
    keys = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_S3_SECRET_ACCESS_KEY": "x"})
    moved = load_settings({"GANLIB_HOME": str(tmp_path), "GANLIB_MLFLOW_URI": "http://mlflow:5000"})
    assert digest_of_settings(plain) == digest_of_settings(keys) != digest_of_settings(moved)
