from __future__ import annotations

from typing import Any

import pytest

from ganlib.config.run import load_config
from ganlib.errors import ConfigError, SeveralProblems, UnknownName
from ganlib.sweep.config import SweepConfig, values_of
from ganlib.sweep.load import load_sweep
from ganlib.sweep.records import trial_run_name
from ganlib.sweep.search import draw
from ganlib.sweep.space import Choice, Range, parse_search
from ganlib.sweep.spec import sweep_name

RECIPE = "fashion-mnist-wgan"


def test_a_sweep_that_names_nothing_searches_critic_steps_and_clip_at_the_recipes_budget() -> None:
    sweep = load_sweep(RECIPE)
    assert set(sweep.search) == {"cadence.n_critic", "objective.clip"}
    assert (sweep.total_kimg, sweep.final_samples, sweep.trial_count) == (400, 2000, 12)
    assert sweep.grace_kimg == pytest.approx(400 / 9)
    assert sweep.recipe_values() == {"cadence.n_critic": 1, "objective.clip": 0.1}


def test_a_trial_is_the_recipe_with_its_values_one_worker_and_the_sweeps_budget() -> None:
    sweep = load_sweep(RECIPE, {"evaluation.curve_samples": 64}, total_kimg=90, grace_kimg=10)
    trial = sweep.trial_config({"cadence.n_critic": 3})
    assert trial.cadence.n_critic == 3
    assert trial.objective == sweep.base.objective
    assert (trial.budget.total_kimg, trial.budget.max_seconds) == (90, None)
    assert trial.evaluation.every_kimg == 10, "a trial is looked at on every rung"
    assert trial.evaluation.curve_samples == 64
    assert trial.compute.workers == 1
    assert sweep.final_config({"cadence.n_critic": 3}).budget == load_config(RECIPE).budget


def test_a_grid_has_every_combination_and_the_recipe_once() -> None:
    search = parse_search(["cadence.n_critic=1,2", "objective.clip=0.1,0.3"])
    sweep = load_sweep(RECIPE, search=search, algorithm="grid")
    assert sweep.trial_count == 4, "the recipe is one of them"
    rows = [tuple(row.values()) for row in sweep.combinations()]
    assert rows == [(1, 0.3), (2, 0.1), (2, 0.3)]
    beside = load_sweep(RECIPE, search=parse_search(["objective.clip=0.2,0.3"]), algorithm="grid")
    assert beside.trial_count == 3, "it is none of them"


def test_what_does_not_change_the_result_does_not_change_the_name() -> None:
    one = load_sweep(RECIPE)
    same = load_sweep(RECIPE, {"compute.device": "cpu"}, concurrency=1, cpus=2, gpus=0.25, workers=2)
    assert one.digest == same.digest
    assert one.digest != load_sweep(RECIPE, seed=1).digest != load_sweep(RECIPE, trials=5).digest
    name = sweep_name(one, "ab" * 32, "tonight")
    assert name == f"{RECIPE}-abababab-{one.digest[:8]}-tonight"
    assert trial_run_name(name, 7) == f"{name}-trial-007"
    with pytest.raises(ConfigError, match="request 'To night'"):
        sweep_name(one, "ab" * 32, "To night")


def test_a_sweep_is_the_same_after_a_way_through_json() -> None:
    sweep = load_sweep(RECIPE, algorithm="tpe", scheduler="median", train_on=True)
    again = SweepConfig.model_validate_json(sweep.model_dump_json())
    assert again == sweep
    assert again.digest == sweep.digest


WRONG: list[tuple[dict[str, Any], list[str], type[ConfigError], str]] = [
    ({}, ["cadence.n_critics=1,2"], UnknownName, "close to it: cadence.n_critic"),
    (
        {},
        ["objective.clip=0,1"],
        ConfigError,
        "objective.clip = 0 cannot be used: .* a number above 0 and at most 10",
    ),
    ({}, ["objective.clip=log:0.1:20"], ConfigError, "objective.clip = 20"),
    ({}, ["cadence.n_critic=integers:1:101"], ConfigError, "cadence.n_critic = 101"),
    ({}, ["objective.penalty=1,10"], ConfigError, "objective.penalty = 1 .*wasserstein has none"),
    ({}, ["budget.total_kimg=1,2"], ConfigError, "budget.total_kimg cannot be searched: trials compare"),
    ({}, ["dataset.size=28,32"], ConfigError, "dataset.size cannot be searched"),
    ({"total_kimg": 10, "grace_kimg": 20}, [], ConfigError, "below the first rung, grace_kimg = 20"),
    ({"algorithm": "grid"}, ["objective.clip=log:0.1:1"], ConfigError, "a grid needs lists"),
    ({"algorithm": "grid", "trials": 13}, [], ConfigError, "more than the 12 configurations"),
    ({"trials": 0}, [], ConfigError, "trials = 0 cannot be used: .* from 1 to 1,000, or null"),
    ({"algorithm": "bayes"}, [], ConfigError, "algorithm = 'bayes'"),
    ({"algorithm": "tpe", "scheduler": "pbt"}, [], ConfigError, "choose random or grid"),
    ({"scheduler": "pbt", "trials": 2}, [], ConfigError, "2 trials are no population"),
    ({"scheduler": "pbt", "workers": 2}, [], ConfigError, "workers = 2 cannot go with scheduler pbt"),
    ({"scheduler": "pbt"}, ["network.generator_width=8,16"], ConfigError, "in the middle of a trial"),
    ({"final_samples": 100}, [], ConfigError, "at least evaluation.curve_samples = 500"),
    ({"reductions": 2}, [], UnknownName, "close to it: reduction"),
]


@pytest.mark.parametrize(("options", "search", "kind", "says"), WRONG, ids=[says for *_, says in WRONG])
def test_a_sweep_that_cannot_be_is_refused_when_it_is_built(
    options: dict[str, Any], search: list[str], kind: type[ConfigError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        load_sweep(RECIPE, search=parse_search(search), **options)


def test_everything_that_is_wrong_with_a_sweep_is_told_at_once() -> None:
    with pytest.raises(SeveralProblems) as options:
        load_sweep(RECIPE, total_kimg=-1, trials=0, algorithm="grd")
    assert set(options.value.problems) == {
        "algorithm = 'grd' cannot be used: it must be grid, random or tpe; close to it: grid",
        "total_kimg (--budget-kimg) = -1 cannot be used: it must be a number above 0 and at most 1,000,000",
        "trials = 0 cannot be used: it must be a whole number from 1 to 1,000, or null",
    }
    with pytest.raises(SeveralProblems, match="(?s)seed = -1 .*option of a sweep 'foo'"):
        load_sweep(RECIPE, {"seed": -1}, foo=3)
    with pytest.raises(SeveralProblems, match="(?s)^3 problems:.*clip = -1 .*n_critic = 0 .*clip = 20 "):
        load_sweep(RECIPE, search=parse_search(["objective.clip=-1,0.1,20", "cadence.n_critic=0,1"]))
    with pytest.raises(SeveralProblems, match="(?s)'a=log:1' .*'=3' names no field"):
        parse_search(["a=log:1", "b=1,2", "=3"])
    with pytest.raises(
        SeveralProblems, match="(?s)'objective.clop'.*budget.total_kimg .*final_samples = 100"
    ):
        load_sweep(
            RECIPE, search=parse_search(["objective.clop=1", "budget.total_kimg=1"]), final_samples=100
        )


def test_a_recipe_without_a_clip_value_has_nothing_to_search_by_itself() -> None:
    with pytest.raises(ConfigError, match="name the fields to search"):
        load_sweep("fashion-mnist-wgan-gp")
    sweep = load_sweep("fashion-mnist-wgan-gp", search=parse_search(["objective.penalty=1,10"]))
    assert sweep.recipe_values() == {"objective.penalty": 10.0}


def test_other_kinds_can_be_searched() -> None:
    search = parse_search(["objective.kind=wasserstein,non-saturating"])
    sweep = load_sweep(RECIPE, search=search, algorithm="grid")
    kinds = [sweep.trial_config(values).objective.kind for values in sweep.combinations()]
    assert kinds == ["non-saturating"]
    assert values_of(sweep.base, ["objective.clip", "objective.penalty"]) == {"objective.clip": 0.1}


def test_the_search_space_of_a_command_line() -> None:
    found = parse_search(
        [
            "batch_size=010,64",
            "objective.clip=log:1e-4:1e-2",
            "cadence.n_critic=integers:1:8",
            "averaging.warmup=uniform:0.1:1",
            "cadence.bursts=true,false",
            "optimizer.critic_learning_rate=1e-3,2",
            "network.generator_norm=layer,none",
            "network.latent_dim=log:10:200",
            "network.critic_width=uniform:8:16",
        ]
    )
    assert found == {
        "batch_size": Choice(values=(10, 64)),
        "objective.clip": Range(low=1e-4, high=1e-2, scale="log"),
        "cadence.n_critic": Range(low=1, high=8, scale="integers"),
        "averaging.warmup": Range(low=0.1, high=1),
        "cadence.bursts": Choice(values=(True, False)),
        "optimizer.critic_learning_rate": Choice(values=(0.001, 2.0)),
        "network.generator_norm": Choice(values=("layer", "none")),
        # These two are counted, so nothing between whole numbers is drawn.
        "network.latent_dim": Range(low=10, high=200, scale="log-integers"),
        "network.critic_width": Range(low=8, high=16, scale="integers"),
    }
    assert [str(search) for search in found.values()][:3] == ["10,64", "log:0.0001:0.01", "integers:1:8"]


@pytest.mark.parametrize("search", ["network.latent_dim=log:10:200", "network.critic_width=uniform:8:16"])
def test_draws_of_a_field_that_counts_are_whole_numbers(search: str) -> None:
    config = load_sweep(RECIPE, search=parse_search([search]))
    [field] = config.search
    drawn = [draw(config, number)[field] for number in range(1, 40)]
    assert all(isinstance(value, int) for value in drawn)
    assert len(set(drawn)) > 5


def test_draws_that_the_workers_cannot_divide_are_drawn_again() -> None:
    config = load_sweep(RECIPE, search=parse_search(["batch_size=integers:32:64"]), workers=2)
    drawn = [draw(config, number)["batch_size"] for number in range(1, 30)]
    assert all(value % 2 == 0 for value in drawn)  # type: ignore[operator]


def test_a_range_between_whole_numbers_is_refused_for_a_field_that_counts() -> None:
    with pytest.raises(ConfigError, match=r"network.latent_dim = log:10:200 .* whole numbers"):
        load_sweep(RECIPE, search={"network.latent_dim": Range(low=10, high=200, scale="log")})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a", "names no field"),
        ("a=", "a list has 1 to 1,000 values, not 0"),
        ("a=1,1", "'1' is listed twice"),
        ("batch_size=8,08", "8 is listed twice"),
        ("a=uniform:2:1", "empty: name the lower end first"),
        ("a=log:0:1", "begins above 0"),
        ("a=integers:1.5:3", "ends with integers"),
        ("a=log:1:inf", "an end of a range is a number, not 'inf'"),
        ("a=" + ",".join(map(str, range(1001))), "a list has 1 to 1,000 values, not 1,001"),
        ("a=log:1", "two ends, as in log:1:8"),
        ("a=log:x:1", "an end of a range is a number, not 'x'"),
        ("network.generator_widths=[1],2", r"\[1\] is neither a number nor a word"),
    ],
)
def test_what_is_no_search_space_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_search([text])
