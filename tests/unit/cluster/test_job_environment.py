"""The environment of a job: whose addresses count, what it never carries, and room that may grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganlib.cluster import launch
from ganlib.cluster.launch import public_environment, require_capacity, runtime_environment
from ganlib.errors import ConfigError
from ganlib.logins import secrets_of
from ganlib.settings import Settings, load_settings

OWN = {
    "GANLIB_S3_ENDPOINT_URL": "http://127.0.0.1:8333",
    "GANLIB_S3_ACCESS_KEY_ID": "key-id",
    "GANLIB_S3_SECRET_ACCESS_KEY": "secret-s3",
    "GANLIB_MLFLOW_URI": "http://127.0.0.1:5000",
    "GANLIB_MLFLOW_USERNAME": "user",
    "GANLIB_MLFLOW_PASSWORD": "secret-mlflow",
    "GANLIB_RAY_ADDRESS": "http://127.0.0.1:8265",
    "GANLIB_RAY_TOKEN": "secret-ray",
}


def submitters(home: Path, **more: str) -> Settings:
    return load_settings({"GANLIB_HOME": str(home), **OWN, **more})


def test_a_node_that_knows_a_services_address_keeps_it(tmp_path: Path) -> None:
    told = public_environment(submitters(tmp_path))
    node = {"GANLIB_HOME": str(tmp_path), "GANLIB_S3_ENDPOINT_URL": "http://s3:8333"}
    settings = load_settings({**node, **told})
    assert settings.s3_endpoint_url == "http://s3:8333"
    assert settings.mlflow_uri == "http://127.0.0.1:5000", "its own environment says nothing of MLflow"
    assert settings.own == {"s3", "mlflow"}


def test_on_the_embedded_cluster_the_submitters_addresses_count(tmp_path: Path) -> None:
    given = {name: value for name, value in OWN.items() if "RAY" not in name}
    told = public_environment(load_settings({"GANLIB_HOME": str(tmp_path), **given}))
    node = {"GANLIB_HOME": str(tmp_path), "GANLIB_S3_ENDPOINT_URL": "http://of-an-earlier-up"}
    assert load_settings({**node, **told}).s3_endpoint_url == "http://127.0.0.1:8333"


def test_a_job_carries_no_credential(tmp_path: Path) -> None:
    settings = submitters(tmp_path)
    carried = str(runtime_environment(settings))
    assert "127.0.0.1:8333" in carried
    assert not [secret for secret in (*secrets_of(settings), "key-id") if secret in carried]


def test_workers_that_do_not_fit_are_refused_unless_the_cluster_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "cluster_resources", lambda _: {"CPU": 2.0, "GPU": 0.0})
    with pytest.raises(ConfigError, match=r"needs 4 CPUs.* has 2;.*GANLIB_RAY_MOST_CPUS"):
        require_capacity(submitters(tmp_path), 4)
    require_capacity(submitters(tmp_path, GANLIB_RAY_MOST_CPUS="4"), 4)
    with pytest.raises(ConfigError, match="needs 5 CPUs"):
        require_capacity(submitters(tmp_path, GANLIB_RAY_MOST_CPUS="4"), 5)
    assert public_environment(submitters(tmp_path, GANLIB_RAY_MOST_GPUS="8"))["GANLIB_RAY_MOST_GPUS"] == "8"


def test_a_number_that_cannot_be_used_names_its_variable(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"GANLIB_RAY_MOST_GPUS cannot be used: it must be a number of GPUs"
    ):
        submitters(tmp_path, GANLIB_RAY_MOST_GPUS="many")
