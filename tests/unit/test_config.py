from __future__ import annotations

from typing import Any

import pytest

from ganlib.config import build_config, load_config, recipes
from ganlib.errors import ConfigError, UnknownName
from ganlib.jobs.spec import run_name
from ganlib.records import DatasetVersion


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_is_usable(recipe: str) -> None:
    config = load_config(recipe)
    assert config.recipe == recipe
    assert build_config(config.model_dump()) == config


def test_equal_configurations_have_equal_digests_and_compute_does_not_count() -> None:
    config = load_config("fashion-mnist-wgan")
    assert config.digest == load_config("fashion-mnist-wgan").digest
    assert config.digest == load_config("fashion-mnist-wgan", {"compute.workers": 4}).digest
    assert config.digest != load_config("fashion-mnist-wgan", {"seed": 1}).digest
    assert config.digest != load_config("fashion-mnist-wgan", {"objective.clip": 0.02}).digest


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("objective.clip", 0, r"objective\.clip = 0 .*greater than 0"),
        ("objective.clip", float("nan"), r"objective\.clip = nan"),
        ("cadence.n_critic", 101, r"cadence\.n_critic = 101 .*less than or equal to 100"),
        ("cadence.n_critic", 0, r"cadence\.n_critic = 0 .*greater than or equal to 1"),
        ("dataset.size", 30, r"dataset\.size = 30 .*28, 32, 64 or 128"),
        ("dataset.name", "Fashion MNIST", r"dataset\.name"),
        ("compute.workers", 3, "batch_size 64 cannot be divided between compute.workers 3"),
        ("compute.workers", 64, "batch norm needs two"),
        ("budget.max_seconds", -1, r"budget\.max_seconds = -1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_field_value_and_bound(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config("fashion-mnist-wgan", {field: value})


def test_an_unknown_field_or_recipe_names_what_is_close() -> None:
    with pytest.raises(UnknownName, match="close to it: objective.clip"):
        load_config("fashion-mnist-wgan", {"objective.clop": 1})
    with pytest.raises(UnknownName, match="close to it: fashion-mnist-wgan"):
        load_config("fashion-mnist-gan")


def test_flat_names_are_those_of_overrides() -> None:
    config = load_config("fashion-mnist-wgan")
    flat = config.flat()
    assert flat["objective.clip"] == str(config.objective.clip)
    assert load_config("fashion-mnist-wgan", {"objective.clip": float(flat["objective.clip"])}) == config


def test_run_names_tell_apart_what_must_not_be_mixed() -> None:
    dataset = DatasetVersion(
        name="d", digest="a" * 64, image_shape=(1, 28, 28), classes=(), shards=(), source=""
    )
    other = dataset.model_copy(update={"digest": "b" * 64})
    config, seeded = load_config("digits-wgan"), load_config("digits-wgan", {"seed": 1})
    names = {
        run_name(config, dataset, "manual"),
        run_name(config, other, "manual"),
        run_name(seeded, dataset, "manual"),
        run_name(config, dataset, "20261121t0300"),
    }
    assert len(names) == 4
    assert run_name(config, dataset, "manual") == run_name(load_config("digits-wgan"), dataset, "manual")
    with pytest.raises(ConfigError, match="request 'A b'"):
        run_name(config, dataset, "A b")
