"""Tune's rules under the ledger: told again what is on record, they decide as if they had never ended."""

from __future__ import annotations

import random

import pytest
from sweeps import spec

from ganlib.sweep.ledger import RungDecision, Verdict
from ganlib.sweep.stopping import Decisions

Reports = list[tuple[int, int, float]]
"""Trial, images, distance; in the order in which they come in."""


def judged(decisions: Decisions, reports: Reports) -> list[RungDecision]:
    found: list[RungDecision] = []
    over: set[int] = set()
    for number, images, distance in reports:
        if number not in over:
            verdict: Verdict = decisions.judge(number, images, distance)
            found.append(RungDecision(number=number, images_seen=images, distance=distance, verdict=verdict))
            if verdict == "stop":
                over.add(number)
    return found


def some_reports(seed: int, trials: int = 8) -> Reports:
    """Trials with curves of their own that come in mixed up, each in its order."""
    drawn = random.Random(seed)
    level = [drawn.uniform(100, 900) for _ in range(trials)]
    queue = [[(number, images) for images in range(1000, 9001, 1000)] for number in range(trials)]
    found: Reports = []
    while any(queue):
        number, images = drawn.choice([rest for rest in queue if rest]).pop(0)
        found.append((number, images, level[number] * 1000 / images + drawn.uniform(0, 50)))
    return found


@pytest.mark.parametrize("scheduler", ["asha", "median"])
@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_a_rule_that_begins_anew_decides_as_one_that_never_ended(scheduler: str, seed: int) -> None:
    config, reports = spec(scheduler=scheduler, trials=8).config, some_reports(seed)
    whole = judged(Decisions(config), reports)
    verdicts = [one.verdict for one in whole]
    assert "stop" in verdicts
    assert "continue" in verdicts
    for broken_after in range(0, len(whole), 3):
        rest = [(one.number, one.images_seen, one.distance) for one in whole[broken_after:]]
        again = judged(Decisions(config, whole[:broken_after]), rest)
        assert again == whole[broken_after:]


def test_a_rule_that_has_forgotten_decides_otherwise() -> None:
    """What the tests above are worth: without the record a bad trial is the best that was ever seen."""
    config = spec().config
    record = judged(Decisions(config), [(1, 1000, 100.0), (2, 1000, 110.0), (3, 1000, 120.0)])
    assert Decisions(config, record).judge(4, 1000, 500.0) == "stop"
    assert Decisions(config).judge(4, 1000, 500.0) == "continue"


def test_one_in_three_passes_a_rung_whatever_its_critic_steps() -> None:
    decisions = Decisions(spec().config)
    # Another n_critic comes to a rung a few images later; the rung is the same.
    verdicts = [
        decisions.judge(n, 1000 + 64 * n, d) for n, d in enumerate([300.0, 200.0, 250.0, 190.0, 400.0])
    ]
    assert verdicts == ["continue", "continue", "stop", "continue", "stop"]


@pytest.mark.parametrize("scheduler", ["asha", "median"])
def test_the_recipe_is_never_stopped_and_the_others_are_measured_by_it(scheduler: str) -> None:
    decisions = Decisions(spec(scheduler=scheduler).config)
    for number in (1, 2, 3, 4):
        decisions.judge(number, 1000, 100.0 + number)
    for images in range(1000, 9001, 1000):
        assert decisions.judge(0, images, 900.0) == "continue"
    only = Decisions(spec(scheduler="asha").config)
    only.judge(0, 1000, 100.0)
    assert only.judge(1, 1000, 200.0) == "stop"


def test_a_trial_at_the_end_of_its_budget_has_finished_and_is_not_stopped() -> None:
    decisions = Decisions(spec().config)
    decisions.judge(1, 9000, 100.0)
    assert decisions.judge(2, 9000, 900.0) == "continue"


@pytest.mark.parametrize("scheduler", ["none", "pbt"])
def test_other_schedulers_stop_nobody(scheduler: str) -> None:
    decisions = Decisions(spec(scheduler=scheduler).config)
    assert {one.verdict for one in judged(decisions, some_reports(0))} == {"continue"}
