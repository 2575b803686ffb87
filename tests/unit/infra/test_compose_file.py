"""docker-compose.yml and its companions, read without an engine: what must hold of every service."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = ("docker-compose.yml", "infra/docker/compose.ha.yml", "infra/docker/compose.gpu.yml")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH|KEY(?!_ID)")


def services(file: str) -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / file).read_text())["services"]
    return read


MAIN = services(FILES[0])
ALL = [(file, name, service) for file in FILES for name, service in services(file).items()]
WHOLE = [(name, service) for file, name, service in ALL if "image" in service]
"""Services that are described whole, not changed by a companion file."""
IDS = [name for name, _ in WHOLE]


@pytest.mark.parametrize(("name", "service"), WHOLE, ids=IDS)
def test_every_service_has_limits_and_no_rights(name: str, service: dict[str, Any]) -> None:
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] in ("unless-stopped", "no")
    assert not service.get("privileged")
    assert not [volume for volume in service.get("volumes", ()) if "docker.sock" in str(volume)]


def test_every_server_has_a_health_check_and_waits_for_healthy_ones() -> None:
    for name, service in MAIN.items():
        assert service["healthcheck"]["test"], name
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, (name, needed)


def test_ports_are_published_on_loopback_alone() -> None:
    published = [port for _, _, service in ALL for port in service.get("ports", ())]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_foreign_images_are_pinned_by_digest() -> None:
    foreign = [service["image"] for _, service in WHOLE if "GANLIB_IMAGE" not in service["image"]]
    assert len(foreign) == 3
    assert all(re.search(r":-\S+:\S+@sha256:[0-9a-f]{64}}$", image) for image in foreign), foreign
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", _dockerfile(), re.MULTILINE)


def _dockerfile() -> str:
    return (ROOT / "infra/docker/Dockerfile").read_text()


@pytest.mark.parametrize(("file", "name", "service"), ALL)
def test_no_secret_has_a_default_or_stands_in_a_command(
    file: str, name: str, service: dict[str, Any]
) -> None:
    given = service.get("environment", {})
    secrets = {key: value for key, value in given.items() if SECRET.search(key) and "${" in str(value)}
    assert all(":?run make env}" in value for value in secrets.values()), secrets
    literal = {key: value for key, value in given.items() if SECRET.search(key) and "${" not in str(value)}
    assert set(literal) <= {"MLFLOW_AUTH_CONFIG_PATH", "RAY_AUTH_MODE"}
    asked = re.findall(r"(?<!\$)\$\{(\w+)", str(service.get("command", "")))
    assert not [variable for variable in asked if SECRET.search(variable)]


def required() -> set[str]:
    """Variables without which compose refuses to start."""
    return {name for file in FILES for name in re.findall(r"\$\{(\w+):\?", (ROOT / file).read_text())}


def make_env(path: Path) -> dict[str, str]:
    subprocess.run([ROOT / "infra/docker/make-env.sh", path], check=True, capture_output=True)
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and line[0] != "#")


def test_make_env_writes_what_compose_needs_for_its_owner_alone(tmp_path: Path) -> None:
    made = make_env(tmp_path / ".env")
    assert required() <= set(made)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    secrets = [value for name, value in made.items() if name in required() and SECRET.search(name)]
    assert len(set(secrets)) == len(secrets)
    assert min(map(len, secrets)) >= 48


def test_make_env_keeps_what_is_there_and_adds_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("GANLIB_RAY_TOKEN=mine\n")
    path.chmod(0o644)
    first = make_env(path)
    assert first["GANLIB_RAY_TOKEN"] == "mine"
    assert make_env(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_build_sees_no_credentials() -> None:
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not re.search(r"^(ARG|ENV) .*(PASSWORD|SECRET|TOKEN)", _dockerfile(), re.MULTILINE)


@pytest.mark.parametrize("more", [[], ["infra/docker/compose.ha.yml"], ["infra/docker/compose.gpu.yml"]])
def test_compose_accepts_the_files_with_credentials_and_refuses_them_without(
    tmp_path: Path, more: list[str]
) -> None:
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no docker-compose")
    make_env(tmp_path / "full.env")
    (tmp_path / "empty.env").touch()
    command = [program, *(word for file in [FILES[0], *more] for word in ("--file", file))]

    def config(file: str) -> subprocess.CompletedProcess[str]:
        words = [*command, "--env-file", str(tmp_path / file), "config", "--quiet"]
        return subprocess.run(words, cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)

    assert config("full.env").returncode == 0, config("full.env").stderr
    assert "run make env" in config("empty.env").stderr
