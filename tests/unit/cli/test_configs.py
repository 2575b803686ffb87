"""`ganlib recipes` and `ganlib config …`: every field with its value, default, meaning and bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.config.run import KINDS, config_fields, load_config, recipes
from ganlib.errors import ConfigError, UnknownName
from ganlib.fakes.stores import MemoryStore
from ganlib.records import DatasetVersion
from ganlib.training.spec import RunSpec, run_name, write_spec


def say(*words: str) -> str:
    return CliRunner().invoke(app, [*words], catch_exceptions=False).stdout


def fields(*words: str) -> dict[str, dict[str, Any]]:
    return {row["field"]: row for row in json.loads(say("config", "show", *words, "--json"))}


@pytest.mark.parametrize("recipe", recipes())
def test_every_field_that_a_recipe_has_is_shown_with_its_value(recipe: str) -> None:
    found, config = fields(recipe), load_config(recipe)
    kinds = {getattr(config, part).kind for part in KINDS}
    assert list(found) == [
        field.name for field in config_fields() if field.name != "recipe" and field.kind in ("", *kinds)
    ]
    assert {name: str(row["value"]) for name, row in found.items() if row["type"] != "list"} == {
        name: text
        for name, text in config.flat().items()
        if name != "recipe" and not name.endswith("_widths")
    }


def test_a_field_is_typed_for_programs() -> None:
    assert fields("digits-wgan", "objective.clip") == {
        "objective.clip": {
            "field": "objective.clip",
            "value": 0.1,
            "default": 0.01,
            "required": False,
            "source": "recipe",
            "type": "number",
            "nullable": False,
            "choices": None,
            "minimum": 0,
            "minimum_excluded": True,
            "maximum": 10,
            "maximum_excluded": False,
            "accepted": "a number above 0 and at most 10",
            "description": "Every critic parameter is kept in [−clip, clip].",
        }
    }
    kind = fields("fashion-mnist-vanilla", "network")["network.kind"]
    assert (kind["value"], kind["default"]) == ("dense", "dcgan")
    assert kind["choices"] == ["dcgan", "resnet", "dense"]
    seed = fields("digits-wgan", "seed", "--set", "seed=7")["seed"]
    assert [seed[name] for name in ("value", "source", "type", "maximum")] == [7, "set", "integer", 2**31 - 1]
    assert fields("digits-wgan", "dataset.name")["dataset.name"]["required"] is True


def test_people_read_value_default_meaning_and_bounds() -> None:
    text = say("config", "show", "digits-wgan", "objective.clip")
    assert text.splitlines() == [
        "objective.clip = 0.1   (default: 0.01)",
        "    Every critic parameter is kept in [−clip, clip]. Accepted: a number above 0 and at most 10.",
    ]
    changed = say("config", "show", "digits-wgan", "batch_size", "--set", "batch_size=32")
    assert changed.startswith("batch_size = 32   (--set; default: 64)")
    assert "network.generator_widths = [256,512,1024]   (default)" in say(
        "config", "show", "fashion-mnist-vanilla", "network"
    )


@pytest.mark.parametrize("recipe", recipes())
@pytest.mark.parametrize("part", KINDS)
def test_the_command_that_shows_another_kind_runs_as_printed(recipe: str, part: str) -> None:
    text = say("config", "show", recipe, part)
    ganlib, *words = text.split("`")[1].split()
    assert ganlib == "ganlib"
    assert f"--set; default: {KINDS[part]}" in say(*words) or "(--set; default)" in say(*words)


@pytest.mark.parametrize("part", ["augmentation", "schedule"])
def test_a_part_whose_kinds_share_their_fields_points_to_no_others(part: str) -> None:
    assert f"{part}.kind" in say("config", "show", "digits-wgan", part)
    assert "Other kinds" not in say("config", "show", "digits-wgan", part)


def test_a_text_finds_fields_by_a_part_of_their_name() -> None:
    assert list(fields("digits-wgan", "learning_rate")) == [
        "optimizer.generator_learning_rate",
        "optimizer.critic_learning_rate",
    ]
    with pytest.raises(UnknownName, match="close to it: objective.clip; .*leave it out"):
        say("config", "show", "digits-wgan", "objective.clop")


def test_recipes_are_listed_with_descriptions_for_people_and_programs() -> None:
    listed = json.loads(say("recipes", "--json"))
    assert [row["recipe"] for row in listed] == recipes()
    for row in listed:
        assert f"{row['description']}\n" in say("recipes")
        assert row["dataset"] == load_config(row["recipe"]).dataset.name
    assert "`ganlib config show RECIPE`" in say("recipes")


def test_differing_fields_are_told_with_the_side_that_has_them() -> None:
    found = json.loads(say("config", "diff", "digits-wgan", "fashion-mnist-wgan-gp", "--json"))
    rows = {row["field"]: row for row in found}
    assert rows["budget.max_seconds"] == {
        "field": "budget.max_seconds",
        "left": 120.0,
        "right": None,
        "only": None,
    }
    assert (rows["objective.clip"]["only"], rows["objective.penalty"]["only"]) == ("left", "right")
    assert "batch_size" not in rows
    same = say("config", "diff", "digits-wgan", "digits-wgan", "--set", "seed=3")
    assert [line.split("│")[1:4] for line in same.splitlines() if "seed" in line] == [
        [" seed  ", " 0                  ", " 3                   "]
    ]
    assert say("config", "diff", "digits-wgan", "digits-wgan") == "no difference\n"


def test_a_run_has_a_configuration_to_show_and_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    store, config = MemoryStore(), load_config("digits-wgan", {"seed": 5})
    dataset = DatasetVersion(
        name="digits", digest="a" * 64, image_shape=(1, 28, 28), classes=(), shards=(), source=""
    )
    run = run_name(config, dataset, "manual")
    write_spec(
        store,
        RunSpec(run=run, config=config, dataset_name="digits", dataset_digest="a" * 64, code_version="1"),
    )
    monkeypatch.setattr("ganlib.storage.open_store", lambda _: store)
    assert json.loads(say("config", "diff", "digits-wgan", run, "--json")) == [
        {"field": "seed", "left": 0, "right": 5, "only": None}
    ]
    assert fields(run, "seed")["seed"]["source"] == "run"
    with pytest.raises(ConfigError, match="there is no run"):
        say("config", "show", run.replace("manual", "other"))


def test_a_name_that_is_nothing_is_refused_without_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANLIB_HOME", str(tmp_path))
    with pytest.raises(UnknownName, match="no recipe 'digits-wgn'; close to it: digits-wgan"):
        say("config", "show", "digits-wgn")
