from __future__ import annotations

import json
from pathlib import Path

import pytest

from ganlib.errors import ConfigError
from ganlib.settings import load_settings


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
