from __future__ import annotations

import pytest
from sweeps import spec

from ganlib.records import CurvePoint
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.population import clamped, mutations
from ganlib.sweep.records import Scalar, Trial
from ganlib.sweep.search import draw, open_source

LISTS = ("cadence.n_critic=1,2,3", "objective.clip=0.1,0.2,0.3")


def ended(number: int, values: dict[str, Scalar], distance: float) -> Trial:
    point = CurvePoint(images_seen=9000, distance=distance, seconds=1)
    return Trial(number=number, run=f"run-{number}", values=values, status="finished", curve=(point,))


def proposals(config: SweepConfig, trials: list[Trial], upto: int) -> list[dict[str, Scalar]]:
    """What is proposed when each trial has ended before the next is asked for."""
    source, found = open_source(config, trials), []
    for number in range(len(trials), upto):
        values = source.propose(number)
        clip, n_critic = float(values["objective.clip"]), float(values["cadence.n_critic"])
        trial = ended(number, values, abs(clip - 0.3) * 10 + abs(n_critic - 2))
        trials.append(trial)
        source.ended(trial)
        found.append(values)
    return found


def recipe(config: SweepConfig) -> list[Trial]:
    return [ended(0, config.recipe_values(), 5.0)]


def test_a_grid_goes_through_its_lists_in_order() -> None:
    config = spec(LISTS, algorithm="grid", trials=9).config
    found = proposals(config, recipe(config), 9)
    assert [tuple(row.values()) for row in found][:3] == [(1, 0.1), (1, 0.2), (1, 0.3)]
    assert len({tuple(row.values()) for row in [*found, config.recipe_values()]}) == 9


def test_draws_from_lists_come_once_in_an_order_of_the_seed() -> None:
    config, other = (spec(LISTS, algorithm="random", trials=9, seed=seed).config for seed in (0, 1))
    found = proposals(config, recipe(config), 9)
    assert len({tuple(row.values()) for row in found}) == 8
    assert found != proposals(other, recipe(other), 9)


def test_draws_from_ranges_stay_inside_and_are_those_of_any_attempt() -> None:
    ranges = ("cadence.n_critic=integers:1:3", "objective.clip=log:0.01:1")
    config = spec(ranges, trials=200).config
    found = proposals(config, recipe(config), 200)
    assert {row["cadence.n_critic"] for row in found} == {1, 2, 3}, "both ends, and whole"
    clips = sorted(float(row["objective.clip"]) for row in found)
    assert clips[0] >= 0.01
    assert clips[-1] <= 1
    assert 0.07 < clips[100] < 0.14, "the middle of a log range"
    assert found[149] == open_source(config, []).propose(150) == draw(config, 150)


def test_tpe_comes_nearer_to_what_is_good_than_chance_does() -> None:
    ranges = ("cadence.n_critic=integers:1:8", "objective.clip=log:0.01:1")
    for seed in (0, 1):
        tpe = spec(ranges, algorithm="tpe", trials=40, seed=seed).config
        trials = recipe(tpe)
        proposals(tpe, trials, 40)
        chance = spec(ranges, trials=40, seed=seed).config
        drawn = recipe(chance)
        proposals(chance, drawn, 40)
        late = [sum(trial.distance for trial in some[20:]) for some in (trials, drawn)]
        assert late[0] < 0.85 * late[1]
        assert min(trial.distance for trial in trials) < min(trial.distance for trial in drawn)


def test_tpe_taken_up_again_knows_what_was_and_proposes_nothing_twice() -> None:
    ranges = ("cadence.n_critic=integers:1:8", "objective.clip=log:0.01:1")
    config = spec(ranges, algorithm="tpe", trials=24).config
    trials = recipe(config)
    first = proposals(config, trials, 16)
    again = proposals(config, list(trials), 20)
    assert all(values not in first for values in again)
    near = [values for values in again if abs(float(values["cadence.n_critic"]) - 2) <= 2]
    assert len(near) >= 2, "it goes on near what was good before it was taken up"


def test_tpe_among_few_lists_proposes_each_once_before_any_twice() -> None:
    config = spec(LISTS, algorithm="tpe", trials=9).config
    found = proposals(config, recipe(config), 9)
    assert len({tuple(row.values()) for row in [*found, config.recipe_values()]}) == 9


def test_a_recipe_outside_of_what_is_searched_does_not_disturb_tpe() -> None:
    config = spec(("objective.clip=0.01,0.02,0.03", "cadence.n_critic=1,2"), algorithm="tpe").config
    assert config.recipe_values()["objective.clip"] == 0.1
    assert len(proposals(config, recipe(config), 4)) == 3


def test_a_population_changes_values_within_what_is_searched() -> None:
    fields = ("cadence.n_critic=integers:1:4", "objective.clip=log:0.01:1", "objective.kind=wasserstein")
    config = spec(fields[:2], scheduler="pbt").config
    made = mutations(config)
    assert made["cadence.n_critic"] == [1, 2, 3, 4]
    assert clamped(config, {"cadence.n_critic": 2, "objective.clip": 1.2}) == {
        "cadence.n_critic": 2,
        "objective.clip": 1.0,
    }
    with pytest.raises(Exception, match="cannot be searched with scheduler pbt"):
        spec(fields, scheduler="pbt")
