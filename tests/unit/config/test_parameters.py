"""Which fields of a configuration a tracker lists as parameters."""

from __future__ import annotations

from ganlib.config.parameters import telling_fields
from ganlib.config.run import load_config


def test_few_fields_are_told_and_those_are_what_the_recipe_sets() -> None:
    config = load_config("digits-wgan")
    told = telling_fields(config)
    assert told["recipe"] == "digits-wgan"
    assert told["dataset.name"] == "digits"
    assert told["objective.clip"] == "0.1"
    assert "compute.workers" not in told
    assert "seed" not in told
    assert len(told) < 20 < len(config.flat())


def test_what_a_user_sets_is_told() -> None:
    told = telling_fields(load_config("digits-wgan", {"seed": 7, "optimizer.kind": "adam"}))
    assert told["seed"] == "7"
    assert told["optimizer.kind"] == "adam"


def test_a_field_that_goes_back_to_its_default_is_told_where_the_recipe_differs() -> None:
    # Otherwise the column in which two runs differ would be empty for one of them.
    default = load_config("statefarm-wgan-64").objective.clip
    changed = load_config("digits-wgan", {"objective.clip": default})
    assert changed.objective.clip != load_config("digits-wgan").objective.clip
    assert telling_fields(changed)["objective.clip"] == str(default)


def test_further_fields_are_told_on_request_and_unknown_ones_passed_over() -> None:
    told = telling_fields(load_config("digits-wgan"), ["seed", "optimizer.beta1"])
    assert told["seed"] == "0"
    assert "optimizer.beta1" not in told, "this kind of optimizer has no such field"
