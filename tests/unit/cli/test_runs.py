"""`ganlib runs`: the training runs for people and for programs."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.cli.runs import age
from ganlib.registry import newest_runs as listing
from ganlib.registry.newest_runs import TrackedRun
from ganlib.settings import Settings

FINISHED = TrackedRun(
    run="digits-wgan-dddddddd-cccccccc-manual",
    status="finished",
    recipe="digits-wgan",
    dataset="digits",
    dataset_digest="d" * 64,
    metric="fd_classifier",
    value=247.5123,
    started=1_764_000_000.5,
    versions=("digits-wgan/1",),
)
RUNNING = TrackedRun(
    "run-b", "running", "digits-wgan", None, None, None, None, time.time() - 3 * 86_400 - 3_600, ()
)


def say(monkeypatch: pytest.MonkeyPatch, found: list[TrackedRun], *words: str, width: int = 200) -> str:
    def newest(settings: Settings, count: int) -> list[TrackedRun]:
        return found[:count]

    monkeypatch.setattr(listing, "newest_runs", newest)
    monkeypatch.setattr("ganlib.cli.output._PAPER", width)
    return CliRunner().invoke(app, ["runs", *words], catch_exceptions=False).stdout


def test_runs_are_values_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    [running, finished] = json.loads(say(monkeypatch, [RUNNING, FINISHED], "--json"))
    assert finished == {
        "run": FINISHED.run,
        "status": "finished",
        "recipe": "digits-wgan",
        "dataset": "digits",
        "dataset_digest": "d" * 64,
        "metric": "fd_classifier",
        "value": 247.5123,
        "started": "2025-11-24T16:00:00+00:00",
        "versions": ["digits-wgan/1"],
    }
    assert [running[name] for name in ("dataset", "metric", "value", "versions")] == [None, None, None, []]
    assert json.loads(say(monkeypatch, [], "--json")) == []


def test_runs_are_rows_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = say(monkeypatch, [RUNNING, FINISHED]).splitlines()
    [row] = [line for line in lines if "run-b" in line]
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "run-b",
        "running",
        "",
        "",
        "",
        "3 d",
        "",
    ]
    assert any("digits dddddddd" in line and "247.5" in line and "digits-wgan/1" in line for line in lines)
    assert "run-b" not in say(monkeypatch, [FINISHED, RUNNING], "-n", "1")
    assert say(monkeypatch, []) == "there is no run yet; `ganlib retrain digits-wgan` starts one\n"


def test_a_narrow_terminal_keeps_name_status_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    text = say(monkeypatch, [FINISHED], width=70)
    assert all(word in text for word in (FINISHED.run, "finished", "247.5"))
    assert max(map(len, text.splitlines())) <= 70


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (59, "59 s"), (3599, "59 min"), (86_399, "23 h"), (9e6, "104 d")]
)
def test_an_age_is_in_its_largest_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text
