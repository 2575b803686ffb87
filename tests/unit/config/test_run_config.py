from __future__ import annotations

import re
from typing import Any

import pytest

from ganlib.config.fields import ConfigField
from ganlib.config.network_parts import DcganConfig, DenseConfig
from ganlib.config.objective_parts import (
    HingeConfig,
    NonSaturatingConfig,
    WassersteinConfig,
    WassersteinGradientPenaltyConfig,
)
from ganlib.config.parts import AdamConfig, RmspropConfig
from ganlib.config.run import build_config, config_fields, load_config, named, recipes
from ganlib.errors import ConfigError, SeveralProblems, UnknownName
from ganlib.records import DatasetVersion
from ganlib.training.spec import run_name


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
        ("objective.clip", 0, r"objective\.clip = 0 .*a number above 0 and at most 10$"),
        ("objective.clip", float("nan"), r"objective\.clip = nan"),
        ("cadence.n_critic", 101, r"cadence\.n_critic = 101 .*a whole number from 1 to 100$"),
        ("cadence.n_critic", 0, r"cadence\.n_critic = 0 .*a whole number from 1 to 100$"),
        ("dataset.size", 30, r"dataset\.size = 30 .*28, 32, 64, 128 or 256"),
        ("dataset.name", "Fashion MNIST", r"dataset\.name"),
        ("compute.workers", 3, "batch_size 64 cannot be divided between compute.workers 3"),
        ("compute.workers", 64, "batch norm needs two"),
        ("compute.max_workers", 1, "compute.max_workers 1 must not be below compute.workers 2"),
        ("compute.max_workers", 4, "between compute.workers 3, one of .* up to compute.max_workers 4.*of 12"),
        ("budget.max_seconds", -1, r"budget\.max_seconds = -1"),
        ("objective.penalty", 10, r"objective\.penalty = 10 .*objective wasserstein has none"),
        ("optimizer.beta1", 0.5, r"optimizer\.beta1 = 0\.5 .*optimizer rmsprop has none"),
        ("network.kind", 3, r"network\.kind = 3 .*dcgan, resnet or dense$"),
        ("network.generator_norm", "bacth", "batch, layer, group or none; close to it: batch"),
        ("dataset.channels", 2, r"channels = 2 .*must be 1, 3 or null$"),
        ("dataset.licence", "a|b", r"licence = 'a\|b' .*without line breaks and \|$"),
        ("evaluation.weights", "there", r"^evaluation\.weights cannot go with evaluation\.extractor"),
        ("network.dropout", 0.5, r"choose network\.kind = dense$"),
        ("network.dropout", 0.5, r"network\.dropout = 0\.5 .*network dcgan has none"),
        (
            "objective.kind",
            "hing",
            r"objective\.kind = 'hing' .*wasserstein, wasserstein-gp, .* or hinge; close to it: hinge",
        ),
        ("objective.kind", "wasserstein-gp", r"critic_norm = batch cannot go with .*wasserstein-gp"),
        ("network.critic_norm", "spectral", r"spectral cannot go with objective\.kind = wasserstein, "),
        ("r1.gamma", 5, r"critic_norm = batch cannot go with r1\.gamma = 5, .*or r1\.gamma = 0$"),
        ("r1.every", 0, r"r1\.every = 0 .*a whole number from 1 to 1,000$"),
        ("augmentation.adaptive", True, r"adaptive = true cannot go with augmentation\.kind = off, "),
        (
            "dataset.size",
            256,
            r"size = 256 cannot go with network\.kind = dcgan, .*choose network\.kind = resnet$",
        ),
        ("network.extra_layers", 17, r"network\.extra_layers = 17 .*a whole number from 0 to 16$"),
        ("schedule.decay_from", 1.0, r"schedule\.decay_from = 1 .*a number at least 0 and below 1$"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_field_value_and_bound(field: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config("fashion-mnist-wgan", {field: value})


def test_another_kind_keeps_none_of_the_recipes_fields() -> None:
    changes = {"objective.kind": "wasserstein-gp", "network.critic_norm": "group", "optimizer.kind": "adam"}
    config = load_config("fashion-mnist-wgan", changes)
    assert config.objective == WassersteinGradientPenaltyConfig()
    assert config.optimizer == AdamConfig()
    assert config.network.latent_dim == 100
    dense = load_config("fashion-mnist-wgan", {"network.dropout": 0.1, "network.kind": "dense"}).network
    assert dense == DenseConfig(dropout=0.1)
    with pytest.raises(ConfigError, match=r"objective\.clip .*objective wasserstein-gp has none"):
        load_config("fashion-mnist-wgan-gp", {"objective.clip": 0.1})


def test_hinge_goes_with_spectral_normalization_and_its_papers_optimizer() -> None:
    changes = {
        "objective.kind": "hinge",
        "network.critic_norm": "spectral",
        "optimizer.kind": "adam",
        "optimizer.generator_learning_rate": 2e-4,
        "optimizer.critic_learning_rate": 2e-4,
    }
    config = load_config("fashion-mnist-wgan", changes)
    assert (config.objective, config.network.critic_norm) == (HingeConfig(), "spectral")
    assert (config.optimizer.beta1, config.optimizer.beta2) == (0, 0.9)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"adaptive": True},
            r"adaptive = true cannot go with objective\.kind = wasserstein, .* have no zero",
        ),
        (dict.fromkeys(("colour", "translation", "cutout"), False), "without any of augmentation.colour"),
        ({"adaptive": True, "probability": 0.5}, r"probability = 0\.5 cannot go with augmentation\.adaptive"),
    ],
)
def test_an_augmentation_that_makes_no_sense_is_refused(changes: dict[str, Any], says: str) -> None:
    values = {f"augmentation.{name}": value for name, value in {"kind": "diffaugment", **changes}.items()}
    with pytest.raises(ConfigError, match=says):
        load_config("fashion-mnist-wgan", values)
    assert load_config("fashion-mnist-wgan", {"augmentation.kind": "diffaugment"}).augmentation.colour


def test_a_part_without_a_kind_is_of_the_usual_one() -> None:
    config = build_config({"recipe": "r", "dataset": {"name": "d"}, "network": {"latent_dim": 7}})
    assert config.network == DcganConfig(latent_dim=7)
    assert (config.objective, config.optimizer) == (WassersteinConfig(), RmspropConfig())


def test_recipes_have_the_numbers_of_their_documents() -> None:
    vanilla = load_config("fashion-mnist-vanilla")
    assert vanilla.network == DenseConfig(
        generator_widths=(256, 512, 1024), critic_widths=(1024, 512, 256), dropout=0.3
    )
    assert vanilla.objective == NonSaturatingConfig(real_label=0.9)
    assert vanilla.budget.total_kimg == 400 * 60
    penalty = load_config("fashion-mnist-wgan-gp")
    assert penalty.objective == WassersteinGradientPenaltyConfig(penalty=10)
    assert penalty.optimizer == AdamConfig(beta1=0, beta2=0.9)
    statefarm = load_config("statefarm-wgan-64")
    assert (statefarm.objective, statefarm.optimizer) == (WassersteinConfig(clip=0.01), RmspropConfig())
    assert (statefarm.cadence.n_critic, statefarm.cadence.bursts) == (5, True)


def test_an_unknown_field_or_recipe_names_what_is_close() -> None:
    with pytest.raises(UnknownName, match="close to it: objective.clip"):
        load_config("fashion-mnist-wgan", {"objective.clop": 1})
    with pytest.raises(UnknownName, match="close to it: fashion-mnist-wgan"):
        load_config("fashion-mnist-gan")


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("clip", "objective.clip"),
        ("n_critics", "cadence.n_critic"),
        ("objectve.kind", "objective.kind"),
        ("sede", "seed"),
        ("optimizer.generatr_learning_rate", "optimizer.generator_learning_rate"),
    ],
)
def test_a_field_is_suggested_that_is_spelled_or_ends_alike(name: str, close: str) -> None:
    with pytest.raises(UnknownName, match=f"'{name}'; close to it: {close}[;,]") as raised:
        load_config("digits-wgan", {name: 1})
    assert "`ganlib config show digits-wgan` lists all fields" in str(raised.value)
    assert len(str(raised.value)) < 250, "not every name there is"


def test_all_wrong_fields_are_told_at_once() -> None:
    wrong = {"objective.clip": -1, "sede": 3, "optimizer.beta1": 0.5, "dataset.name": "A b", "seed": "010x"}
    with pytest.raises(SeveralProblems) as raised:
        load_config("digits-wgan", wrong)
    assert sorted(problem.split()[0] for problem in raised.value.problems if "sede" not in problem) == [
        "dataset.name",
        "objective.clip",
        "optimizer.beta1",
        "seed",
    ]
    assert str(raised.value).count("\n") == len(raised.value.problems) == 5
    with pytest.raises(SeveralProblems, match="(?s)^2 problems:.*critic_norm.*batch_size 64"):
        load_config("fashion-mnist-wgan", {"objective.kind": "wasserstein-gp", "compute.workers": 3})


PYDANTIC = ("Input should", "Value error", "validation error", "Extra inputs", "pydantic", "String should")


def wrong_values(field: ConfigField) -> list[Any]:
    """Values that no field of this type takes."""
    every: list[Any] = [{"a": 1}, [[]], object(), float("inf")]
    high = [] if field.type.maximum is None else [field.type.maximum + 1]
    return every + high + (["nonsense"] if field.type.kind != "text" or field.type.choices else [5])


@pytest.mark.parametrize("field", config_fields(), ids=lambda field: f"{field.name}-{field.kind}")
def test_every_field_is_refused_in_our_own_words(field: ConfigField) -> None:
    values = load_config("digits-wgan").model_dump()
    *parents, last = field.name.split(".")
    part = values
    for parent in parents:
        part[parent] = {"kind": field.kind} if field.kind else part[parent]
        part = part[parent]
    for wrong in wrong_values(field):
        part[last] = wrong
        with pytest.raises(ConfigError, match=re.escape(field.name)) as raised:
            build_config(values)
        assert not [phrase for phrase in PYDANTIC if phrase in str(raised.value)], raised.value


def test_every_field_is_described_and_every_default_is_of_its_type() -> None:
    for field in config_fields():
        assert field.description.endswith("."), field.name
        assert "`" not in field.description, field.name
        if field.type.choices and not field.required:
            assert field.default in field.type.choices or (field.default is None and field.type.nullable)


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


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_on_its_own_dataset_has_the_recipes_name(recipe: str) -> None:
    assert load_config(recipe).model_name == recipe


@pytest.mark.parametrize(
    ("recipe", "dataset", "model"),
    [
        ("digits-wgan", "squares", "digits-wgan-squares"),
        ("fashion-mnist-wgan", "digits", "fashion-mnist-wgan-digits"),
        ("fashion-mnist-wgan-gp", "cats", "fashion-mnist-wgan-gp-cats"),
        # Not the names of fashion-mnist-wgan-gp on fashion-mnist, and on cats.
        ("fashion-mnist-wgan", "gp", "fashion-mnist-wgan-gp-74d6b9f2"),
        ("fashion-mnist-wgan", "gp-cats", "fashion-mnist-wgan-gp-cats-4eadb65e"),
    ],
)
def test_another_dataset_makes_another_model(recipe: str, dataset: str, model: str) -> None:
    assert load_config(recipe, {"dataset.name": dataset}).model_name == model


def test_long_names_of_models_are_shortened_and_stay_apart() -> None:
    models = [load_config("digits-wgan", {"dataset.name": "a" * 62 + last}).model_name for last in ("b", "c")]
    assert len(set(models)) == 2
    for model in models:
        assert len(model) == 63
        assert load_config("digits-wgan", {"name": model}).model_name == model, "a valid name itself"


def test_a_models_name_is_its_own_and_no_part_of_a_runs_identity() -> None:
    named = load_config("digits-wgan", {"name": "numbers"})
    assert named.model_name == "numbers"
    assert load_config("digits-wgan", {"name": "numbers", "dataset.name": "squares"}).model_name == "numbers"
    # The digest of runs stored before models had names: those runs are found again.
    digest = "22e0951ba46b1ad3fecdd7baa28dc80cc7596a12077643f10c6449860b401470"
    assert named.digest == load_config("digits-wgan").digest == digest
    changed = load_config("digits-wgan", {"r1.gamma": 1, "network.critic_norm": "layer"})
    assert changed.digest != load_config("digits-wgan", {"network.critic_norm": "layer"}).digest
    with pytest.raises(ConfigError, match="name = 'A b' cannot be used"):
        load_config("digits-wgan", {"name": "A b"})


def test_a_name_joins_the_overrides_and_two_are_refused() -> None:
    assert named({"seed": 1}, "numbers") == {"seed": 1, "name": "numbers"}
    assert named({"name": "numbers"}, "numbers") == {"name": "numbers"}
    assert named(None, None) == {}
    with pytest.raises(ConfigError, match="named twice, 'digits' and 'numbers'"):
        named({"name": "digits"}, "numbers")
