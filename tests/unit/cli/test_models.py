from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from ganlib.cli.models import model_app
from ganlib.core.dense import DenseGenerator
from ganlib.errors import ConfigError, GanlibError, RegistryError, UnknownName
from ganlib.fakes.stores import MemoryRegistry
from ganlib.ports import Publication


def publish(registry: MemoryRegistry, run: str, latent_dim: int = 5, size: int = 28) -> None:
    torch.manual_seed(len(run))
    registry.publish(
        Publication(
            model="shirts",
            run=run,
            tracking_run_id="t",
            generator=DenseGenerator(size=size, channels=1, latent_dim=latent_dim, widths=(8,)).eval(),
            latent_dim=latent_dim,
            tags={
                "ganlib.latent_dim": str(latent_dim),
                "ganlib.metric": "fd_efficientnet_lite0",
                "ganlib.value": "198.53217",
                "ganlib.kernel_distance": "0.0123456",
                "ganlib.dataset": "[bold]digits",
                "ganlib.dataset_digest": "d" * 64,
            },
            files={"grid.png": b"\x89PNG", "model_card.md": b"# Shirts"},
        )
    )


@pytest.fixture
def registry() -> MemoryRegistry:
    made = MemoryRegistry()
    for run in ("run-1", "run-22", "run-333"):
        publish(made, run)
    made.move("shirts", "champion", 1, expected=None, who="flow", why="first")
    made.move("shirts", "champion", 2, expected=1, who="flow", why="better")
    return made


def ask(registry: MemoryRegistry, *words: str) -> Result:
    return CliRunner().invoke(model_app, list(words), obj=lambda: registry, catch_exceptions=False)


def say(registry: MemoryRegistry, *words: str) -> str:
    result = ask(registry, *words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_models_and_versions_are_listed(registry: MemoryRegistry) -> None:
    text = say(registry, "list")
    assert "shirts" in text
    assert "champion → 2" in text
    table = say(registry, "list", "shirts")
    for words in ("198.5", "0.01235", "[bold]digits dddddddd", "run-333", "fd_efficientnet_lite0", "+00:00"):
        assert words in table
    assert "no room" not in table
    assert "no generator is registered yet" in say(MemoryRegistry(), "list")
    with pytest.raises(UnknownName, match="close to it: shirts"):
        ask(registry, "list", "shirt")


def test_a_version_is_shown_with_decision_files_and_history(registry: MemoryRegistry) -> None:
    registry.tag("shirts", 3, {"ganlib.gate.reason": "not better"})
    shown = json.loads(say(registry, "show", "shirts/3", "--json"))
    assert (shown["version"], shown["aliases"]) == (3, {})
    assert shown["gate"] == {"ganlib.gate.reason": "not better"}
    assert shown["files"] == {"grid.png": 4, "model_card.md": 8}
    assert [(move["previous"], move["version"], move["who"]) for move in shown["history"]] == [
        (None, 1, "flow"),
        (1, 2, "flow"),
    ]
    assert shown["differences"] == shown["problems"] == []
    text = say(registry, "show", "shirts@champion")
    for words in ("shirts version 2 (champion)", "model_card.md", "better", "flow"):
        assert words in text
    assert json.loads(say(registry, "show", "shirts", "--json"))["version"] == 2


def test_a_model_without_a_champion_shows_its_newest(registry: MemoryRegistry) -> None:
    registry.ledgers["shirts"].aliases.clear()
    shown = json.loads(say(registry, "show", "shirts", "--json"))
    assert shown["version"] == 3
    assert "champion points nowhere" in shown["differences"][0]
    with pytest.raises(UnknownName):
        ask(registry, "show", "shirts@champion")


def test_an_alias_moved_without_ganlib_is_said(registry: MemoryRegistry) -> None:
    registry.ledgers["shirts"].aliases["champion"] = 3
    text = say(registry, "show", "shirts/1")
    assert "champion points at version 3, and the last recorded move left it at version 2" in text


def test_promoting_moves_and_records_who_and_why(registry: MemoryRegistry) -> None:
    assert "version 3 now; it was version 2" in say(registry, "promote", "shirts/3", "--why", "by eye")
    last = registry.history("shirts")[-1]
    assert (last.previous, last.version, last.why) == (2, 3, "by eye")
    assert "@" in last.who
    assert "already" in say(registry, "promote", "shirts/3", "--why", "again")
    say(registry, "promote", "shirts/1", "--alias", "stable", "--why", "x", "--who", "anna")
    assert registry.history("shirts")[-1].who == "anna"
    assert registry.resolve("shirts", "stable").version == 1
    assert ask(registry, "promote", "shirts/1").exit_code == 2


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["promote", "shirts", "--why", "x"], ConfigError),
        (["promote", "shirts/9", "--why", "x"], UnknownName),
        (["promote", "shirts/1", "--why", " "], ConfigError),
        (["promote", "shirts/1", "--alias", "v3", "--why", "x"], ConfigError),
        (["rollback", "shirt"], UnknownName),
        (["rollback", "shirts", "--alias", "7"], ConfigError),
        (["rollback", "shirts", "--alias", "stable"], RegistryError),
        (["show", "shirts@nobody"], UnknownName),
        (["show", "shirts.moves"], ConfigError),
        (["compare", "shirts/1", "shirts/2", "--out", "a.jpg"], ConfigError),
        (["compare", "shirts/1", "shirts/2", "--out", "no/where/a.png"], ConfigError),
        (["compare", "shirts/1", "shirts/9", "--out", "a.png"], UnknownName),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    registry: MemoryRegistry, words: list[str], error: type[GanlibError]
) -> None:
    before = registry.history("shirts")
    with pytest.raises(error):
        ask(registry, *words)
    assert registry.history("shirts") == before
    assert registry.ledgers["shirts"].aliases == {"champion": 2}


def test_rolling_back_goes_a_move_back_each_time(registry: MemoryRegistry) -> None:
    say(registry, "promote", "shirts/3", "--why", "by eye")
    assert "version 2 again; it was version 3" in say(registry, "rollback", "shirts", "--why", "blots")
    assert "version 1 again" in say(registry, "rollback", "shirts")
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        ask(registry, "rollback", "shirts")
    assert [move.kind for move in registry.history("shirts")] == ["move"] * 3 + ["rollback"] * 2


def test_two_versions_are_drawn_side_by_side(registry: MemoryRegistry, tmp_path: Path) -> None:
    out = tmp_path / "both.png"
    text = say(registry, "compare", "shirts/1", "shirts/3", "--out", str(out), "--count", "9")
    for words in ("shirts/1", "shirts/3", "kernel distance", "0.01235"):
        assert words in text
    with Image.open(out) as picture:
        assert picture.size == (2 * (3 * 30 + 2) + 4, 3 * 30 + 2)
        left, right = picture.crop((0, 0, 92, 92)), picture.crop((96, 0, 188, 92))
        assert left.tobytes() != right.tobytes()
    say(registry, "compare", "shirts/1", "shirts/1", "--out", str(out), "--count", "9")
    with Image.open(out) as picture:
        assert picture.crop((0, 0, 92, 92)).tobytes() == picture.crop((96, 0, 188, 92)).tobytes()


def test_generators_that_do_not_fit_are_not_compared(registry: MemoryRegistry, tmp_path: Path) -> None:
    publish(registry, "run-4444", latent_dim=6)
    publish(registry, "run-55555", size=32)
    for other, words in (("shirts/4", "same latents"), ("shirts/5", "side by side")):
        with pytest.raises(ConfigError, match=words):
            ask(registry, "compare", "shirts/1", other, "--out", str(tmp_path / "a.png"))
    assert not list(tmp_path.iterdir())


def test_fetching_brings_the_files(registry: MemoryRegistry, tmp_path: Path) -> None:
    to = tmp_path / "shirts"
    assert "shirts version 2 in" in say(registry, "fetch", "shirts@champion", "--to", str(to))
    assert (to / "files" / "model_card.md").read_text() == "# Shirts"
    with pytest.raises(ConfigError, match="not empty"):
        ask(registry, "fetch", "shirts@champion", "--to", str(to))
