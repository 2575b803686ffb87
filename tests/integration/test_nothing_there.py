"""Every command on services that are up and hold nothing of the name that is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ganlib.cli.main import main

NOTHING: dict[str, list[str]] = {
    "generate": ["not-there@champion", "--out", "made.png"],
    "dataset add": ["not-there", "--from", "pictures"],
    "dataset prepare": ["not-there", "--size", "28"],
    "dataset remove": ["not-there", "--yes"],
    "dataset show": ["not-there"],
    "dataset export": ["not-there", "out"],
    "dataset verify": ["not-there"],
    "config show": ["not-there@champion"],
    "config diff": ["digits-wgan", "not-00000000-00000000-there"],
    "model show": ["not-there"],
    "model promote": ["not-there/1", "--why", "it is better"],
    "model rollback": ["not-there"],
    "model compare": ["not-there/1", "not-there/2", "--out", "both.png"],
    "model fetch": ["not-there", "--to", "there"],
}
EMPTY: dict[str, list[str]] = {
    "dataset list": [],
    "model list": [],
    "sweep-status": [],
    "runs": [],
    "schedule": ["status"],
}
FLOWS = ("retrain", "sweep")


@pytest.fixture
def here(stack_environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, for commands that this process runs on the session's services."""
    for name in ("GANLIB_HOME", "GANLIB_PORTS"):
        monkeypatch.setenv(name, stack_environ[name])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    return tmp_path


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["ganlib", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def error_of(text: str) -> str:
    assert "Traceback" not in text
    [line] = [line for line in text.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("name", NOTHING)
def test_a_command_that_does_not_find_what_it_needs_says_so(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*name.split(), *NOTHING[name]], monkeypatch) in (1, 2)
    line = error_of(capsys.readouterr().err)
    assert "not-" in line or "pictures holds no picture" in line
    assert [path.name for path in here.iterdir()] == ["pictures"]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_flow_without_its_dataset_says_so(flow: str, here: Path, stack_environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "ganlib.cli", flow, "digits-wgan", "--set", "dataset.name=not-there"]
    done = subprocess.run(
        command, env=stack_environ, cwd=here, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode in (1, 2)
    assert "not-there" in error_of(done.stderr)


@pytest.mark.parametrize("name", EMPTY)
def test_a_list_says_at_least_a_line(
    name: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*name.split(), *EMPTY[name]], monkeypatch) in (0, None)
    assert capsys.readouterr().out.strip()
