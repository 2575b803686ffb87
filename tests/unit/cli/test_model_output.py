"""Output of `ganlib model` for programs, and in narrow terminals."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from test_models import ask, publish, say

from ganlib.cli.output import as_json
from ganlib.fakes.stores import MemoryRegistry


@pytest.fixture
def registry() -> MemoryRegistry:
    made = MemoryRegistry()
    publish(made, "run-1")
    publish(made, "run-22")
    for alias, version in (("champion", 1), ("challenger", 2), ("stable", 1)):
        made.move("shirts", alias, version, expected=None, who="flow", why="first")
    return made


def is_utc(text: str) -> bool:
    return datetime.fromisoformat(text).tzinfo is UTC


def test_models_are_numbers_and_objects_for_programs(registry: MemoryRegistry) -> None:
    assert json.loads(say(registry, "list", "--json")) == [
        {
            "model": "shirts",
            "versions": 2,
            "aliases": {"challenger": 2, "champion": 1, "stable": 1},
            "metric": "fd_efficientnet_lite0",
            "value": 198.53217,
        }
    ]
    registry.ledgers["shirts"].aliases.clear()
    (row,) = json.loads(say(registry, "list", "--json"))
    assert (row["aliases"], row["metric"], row["value"]) == ({}, None, None)
    assert json.loads(say(MemoryRegistry(), "list", "--json")) == []


def test_versions_are_numbers_and_nulls_for_programs(registry: MemoryRegistry) -> None:
    registry.tag(
        "shirts", 2, {"ganlib.kernel_distance": "unknown", "ganlib.value": "nan", "ganlib.dataset": ""}
    )
    newest, oldest = json.loads(say(registry, "list", "shirts", "--json"))
    assert is_utc(oldest.pop("created"))
    assert oldest == {
        "version": 1,
        "aliases": {"champion": 1, "stable": 1},
        "metric": "fd_efficientnet_lite0",
        "value": 198.53217,
        "kernel_distance": 0.0123456,
        "dataset": "[bold]digits",
        "dataset_digest": "d" * 64,
        "run": "run-1",
    }
    assert [newest[name] for name in ("kernel_distance", "value", "dataset")] == [None, None, None]


def test_a_version_is_shown_in_types_that_its_tags_names_tell(registry: MemoryRegistry) -> None:
    gate = {"champion": "1", "interval": "-0.5 -0.25", "difference": "-0.375", "reason": "7", "fid": "12.5"}
    registry.tag("shirts", 2, {f"ganlib.gate.{name}": text for name, text in gate.items()})
    others = {"ganlib.challenged.by": "3", "ganlib.image_shape": "1,28,28", "ganlib.recall": "0.5"}
    more = {"ganlib.code_version": "1234567", "mine": "12", "ganlib.samples": "5000", "ganlib.licence": ""}
    registry.tag("shirts", 2, others | more)
    shown = json.loads(say(registry, "show", "shirts/2", "--json"))
    assert shown["aliases"] == {"challenger": 2}
    assert is_utc(shown["created"])
    assert shown["gate"] == {
        "ganlib.gate.champion": 1,
        "ganlib.gate.difference": -0.375,
        "ganlib.gate.fid": 12.5,
        "ganlib.gate.interval": [-0.5, -0.25],
        "ganlib.gate.reason": "7",
    }
    expected = {
        "ganlib.challenged.by": 3,
        "ganlib.image_shape": [1, 28, 28],
        "ganlib.recall": 0.5,
        "ganlib.latent_dim": 5,
        "ganlib.samples": 5000,
        "ganlib.value": 198.53217,
        "ganlib.metric": "fd_efficientnet_lite0",
        "ganlib.code_version": "1234567",
        "ganlib.licence": None,
        "mine": "12",
    }
    assert {name: shown["tags"][name] for name in expected} == expected
    assert type(shown["tags"]["ganlib.latent_dim"]) is type(shown["tags"]["ganlib.samples"]) is int
    assert all(is_utc(move["when"]) for move in shown["history"])
    assert "198.53217" in say(registry, "show", "shirts/2")


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert json.loads(as_json({"a": [float("nan"), 1.5], "b": (float("-inf"), "NaN", True)})) == {
        "a": [None, 1.5],
        "b": [None, "NaN", True],
    }


@pytest.mark.parametrize(
    ("width", "absent"),
    [
        (60, {"metric", "kernel distance", "dataset", "run"}),
        (80, {"kernel distance", "dataset", "run"}),
        (199, set()),
    ],
)
def test_a_narrow_terminal_has_a_line_for_each_version(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, width: int, absent: set[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # a terminal, to Rich
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    result = ask(registry, "list", "shirts")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).splitlines()
    head = {cell.strip() for cell in re.split("[┃│]", lines[1])}
    assert max(map(len, lines)) <= width
    assert not head & absent
    assert {"version", "aliases", "value", "created"} <= head
    newest, oldest = (next(line for line in lines if f"│ {number} " in line) for number in (2, 1))
    assert "challenger" in newest
    assert "champion, stable" in oldest
    assert "198.5" in oldest
    assert f"{datetime.now(UTC):%Y-}" in oldest
    assert ("no room for" in result.stdout) == bool(absent)
