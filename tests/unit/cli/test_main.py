from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganlib.cli.main import app, main
from ganlib.cli.options import parse_overrides
from ganlib.config.run import load_config
from ganlib.errors import ConfigError


def test_overrides_are_read_in_their_fields_own_types() -> None:
    pairs = [
        "seed=010",
        "network.generator_widths=[256,512]",
        "evaluation.weights=1:30",
        "objective.clip=0.05",
        "cadence.bursts=true",
        "budget.max_seconds=null",
        "dataset.name=a-b",
    ]
    assert parse_overrides(pairs) == {
        "seed": 10,
        "network.generator_widths": [256, 512],
        "evaluation.weights": "1:30",
        "objective.clip": 0.05,
        "cadence.bursts": True,
        "budget.max_seconds": None,
        "dataset.name": "a-b",
    }


@pytest.mark.parametrize("text", ["1:30", "yes", "0x10", "2024-01-01", "["])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"seed = '{text}' cannot be used")):
        load_config("digits-wgan", parse_overrides([f"seed={text}"]))


def test_a_dataset_may_be_named_like_a_number() -> None:
    assert load_config("digits-wgan", parse_overrides(["dataset.name=2024"])).dataset.name == "2024"


@pytest.mark.parametrize("pair", ["seed", "seed: 1"])
def test_what_is_no_override_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_overrides([pair])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["demo", "--set", "objective.clip=-1"], "objective.clip = -1"),
        (["retrain", "fashion-mnist"], "close to it: fashion-mnist-wgan"),
        (["generate", "a@b", "--out", "picture.jpg"], "must end with .png"),
        (["generate", "a@b", "--out", "nowhere/picture.png"], "there is no folder"),
        (["generate", "a@b", "--out", "a.png", "--steps", "3"], "--steps is for --interpolate"),
        (["generate", "a@b", "--out", "a.gif", "--count", "1001"], "1001 pictures do not go into"),
        (["dataset", "prepare", "a", "--size", "28", "--channels", "2"], "1 (grey) or 3 (colour)"),
        (["dataset", "prepare", "a", "--size", "33"], "pictures of 28, 32, 64, 128, 256 pixels"),
        (["dataset", "remove", "a", "--used", "--yes"], "--used is for --versions"),
        (["dataset", "remove", "a"], "nothing was removed: there is nobody to ask; give --yes"),
        (["retrain", "digits-wgan"], "GANLIB_PREFECT_API_URL"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    for variable in [name for name in os.environ if name.startswith("GANLIB_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GANLIB_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ganlib", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: ")
    assert says in said
    assert len(said.splitlines()) == 1
    assert not home.exists()


def test_an_interrupt_says_that_the_command_goes_on() -> None:
    code = (
        "import os, signal, typer; from ganlib.cli.main import app\n"
        "from ganlib.cli.interrupts import resumable\n"
        "@app.command()\n"
        "def wait() -> None:\n"
        "    with resumable():\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "app(['wait'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 128 + signal.SIGINT
    assert "the same command goes on from here" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--version"], f"ganlib {version('ganlib')}"),
        (["retrain", "-h"], "--name"),
        (["recipes"], "digits-wgan            WGAN with weight clipping on handwritten digits"),
    ],
)
def test_what_a_newcomer_asks_first_is_answered(words: list[str], says: str) -> None:
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0
    assert says in answer.output


def test_the_services_state_has_nulls_for_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANLIB_HOME", str(tmp_path / "home"))
    for variable in ("S3_ENDPOINT_URL", "MLFLOW_URI", "PREFECT_API_URL", "RAY_ADDRESS"):
        monkeypatch.delenv(f"GANLIB_{variable}", raising=False)
    found = json.loads(CliRunner().invoke(app, ["status", "--json"], catch_exceptions=False).stdout)
    assert found["free_bytes"] is None
    assert {service["name"] for service in found["services"]} == {"s3", "mlflow", "prefect", "ray", "worker"}
    for service in found["services"]:
        assert [service[name] for name in ("url", "pid", "since")] == [None] * 3
        assert service["state"] == "down"
