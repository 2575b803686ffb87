from __future__ import annotations

import math

import numpy as np
import pytest

from ganlib.config.parts import GateConfig
from ganlib.records import CheckpointRef, Comparison, Copying, Evaluation
from ganlib.release.decision import decide, difference_interval

BOUNDS = GateConfig()


def features(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1.0, (count, 5))


def gram(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def grams(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return gram(x, x) - gram(y, y), gram(x, z) - gram(y, z)


def kernel_distance(x: np.ndarray, z: np.ndarray) -> float:
    def within(a: np.ndarray) -> float:
        values = [
            gram(a[i : i + 1], a[j : j + 1])[0, 0] for i in range(len(a)) for j in range(len(a)) if i != j
        ]
        return sum(values) / len(values)

    return within(x) + within(z) - 2 * float(gram(x, z).mean())


def test_the_difference_is_that_of_two_unbiased_kernel_distances() -> None:
    x, y, z = features(0, 12, 0.1), features(1, 12, 0.6), features(2, 9)
    interval = difference_interval(*grams(x, y, z), resamples=100, confidence=0.9)
    assert interval.value == pytest.approx(kernel_distance(x, z) - kernel_distance(y, z), rel=1e-12)
    assert interval.low < interval.value < interval.high


def test_the_interval_of_a_clear_difference_excludes_zero_and_that_of_none_does_not() -> None:
    real = features(0, 300)
    near, alike, far = features(1, 200, 0.1), features(2, 200, 0.1), features(3, 200, 0.5)
    better = difference_interval(*grams(near, far, real), resamples=500, confidence=0.95)
    worse = difference_interval(*grams(far, near, real), resamples=500, confidence=0.95)
    even = difference_interval(*grams(near, alike, real), resamples=500, confidence=0.95)
    assert better.high < 0 < worse.low
    assert even.low < 0 < even.high


def test_resampling_does_not_shift_the_difference() -> None:
    # Counting a picture that was drawn twice against itself would add 1/n of the kernel's diagonal.
    x, y, z = 3 * features(1, 60), features(2, 60), features(0, 60)
    within, across = grams(x, y, z)
    interval = difference_interval(within, across, resamples=4000, confidence=0.5)
    shift_if_counted = float(np.diagonal(within).mean()) / 60
    middle = (interval.low + interval.high) / 2
    assert abs(middle - interval.value) < shift_if_counted / 4


def test_an_interval_is_the_same_each_time_and_in_any_blocks() -> None:
    given = grams(features(1, 40), features(2, 40, 0.2), features(0, 30))
    first = difference_interval(*given, resamples=300, confidence=0.95)
    assert difference_interval(*given, resamples=300, confidence=0.95) == first
    assert difference_interval(*given, resamples=300, confidence=0.95, seed=1) != first


def test_more_confidence_makes_a_wider_interval() -> None:
    given = grams(features(1, 40), features(2, 40, 0.2), features(0, 30))
    narrow = difference_interval(*given, resamples=1000, confidence=0.5)
    wide = difference_interval(*given, resamples=1000, confidence=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("within", "across"), [((3, 4), (3, 5)), ((3, 3), (4, 5)), ((1, 1), (1, 5))])
def test_matrices_that_do_not_fit_are_refused(within: tuple[int, int], across: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="n >= 2"):
        difference_interval(np.zeros(within), np.zeros(across), resamples=100, confidence=0.95)


def evaluation(**changes: object) -> Evaluation:
    fields: dict[str, object] = {
        "run": "run-a",
        "checkpoint": CheckpointRef(
            run="run-a", key="runs/r/checkpoints/1", images_seen=1, generator_steps=1, sha256="0" * 64
        ),
        "dataset_digest": "d" * 64,
        "metric": "fd_efficientnet_lite0",
        "samples": 100,
        "value": 200.0,
        "value_untrained": 900.0,
        "kernel_distance": 1.0,
        "kernel_distance_error": 0.1,
        "precision": 0.5,
        "recall": 0.4,
        "copying": Copying(samples=64, generated_distance=1.1, held_out_distance=1.0),
        "seconds": 1.0,
    }
    return Evaluation.model_validate({**fields, **changes})


def compared(candidate: Evaluation, difference: float, low: float, high: float) -> Comparison:
    champion = evaluation(kernel_distance=2.0, value=300.0)
    return Comparison(
        dataset_digest="d" * 64,
        candidate=candidate.measures,
        candidate_version=4,
        champion=champion.measures,
        champion_version=3,
        difference=difference,
        low=low,
        high=high,
        confidence=0.95,
    )


def test_the_first_generator_becomes_champion() -> None:
    decision = decide(evaluation(), None, BOUNDS)
    assert decision.promoted
    assert "no champion" in decision.reason


def test_the_first_generator_does_not_when_it_is_no_better_than_noise() -> None:
    decision = decide(evaluation(value=950.0), None, BOUNDS)
    assert not decision.promoted
    assert "untrained 900 (gate.better_than_untrained)" in decision.reason
    assert decide(evaluation(value=950.0), None, GateConfig(better_than_untrained=False)).promoted


def test_a_clearly_better_candidate_is_promoted() -> None:
    decision = decide(evaluation(), compared(evaluation(), -1.0, -1.2, -0.8), BOUNDS)
    assert decision.promoted
    assert "beats version 3" in decision.reason
    assert decision.comparison is not None


@pytest.mark.parametrize(
    ("difference", "low", "high", "word"),
    [
        (-1.0, -2.1, 0.1, "version 3 stays: the difference may be luck"),
        (0.5, 0.0, 0.6, "version 3 stays: the difference may be luck"),
        (0.0922, 0.083, 0.101, "version 3 stays: the candidate is worse"),
        (-0.03, -0.05, -0.01, "gate.margin"),
        (math.nan, math.nan, math.nan, "not finite, the difference is nan"),
        (-1.0, -math.inf, -0.5, "not finite, the interval's lower end is -inf"),
    ],
)
def test_a_candidate_that_is_not_clearly_better_is_kept_out(
    difference: float, low: float, high: float, word: str
) -> None:
    decision = decide(evaluation(), compared(evaluation(), difference, low, high), BOUNDS)
    assert not decision.promoted
    assert word in decision.reason


def test_a_better_distance_does_not_pay_for_fewer_kinds_of_pictures() -> None:
    narrow = evaluation(recall=0.3)
    decision = decide(narrow, compared(narrow, -1.0, -1.2, -0.8), BOUNDS)
    assert not decision.promoted
    assert "gate.min_recall_share" in decision.reason
    assert decide(narrow, compared(narrow, -1.0, -1.2, -0.8), GateConfig(min_recall_share=0.5)).promoted


@pytest.mark.parametrize("with_champion", [True, False])
def test_a_better_distance_does_not_pay_for_copies(with_champion: bool) -> None:
    copying = evaluation(copying=Copying(samples=64, generated_distance=0.1, held_out_distance=1.0))
    comparison = compared(copying, -1.0, -1.2, -0.8) if with_champion else None
    decision = decide(copying, comparison, BOUNDS)
    assert not decision.promoted
    assert "gate.min_copying_ratio 0.5" in decision.reason


def test_held_out_pictures_that_are_all_copies_do_not_switch_the_check_off() -> None:
    copying = Copying(samples=64, generated_distance=1.0, held_out_distance=0.0, held_out_copies=64)
    decision = decide(evaluation(copying=copying), None, BOUNDS)
    assert not decision.promoted
    assert "not measurable" in decision.reason
    assert "of which 64 are training pictures themselves" in decision.reason
    assert decide(evaluation(copying=copying), None, GateConfig(min_copying_ratio=0)).promoted


@pytest.mark.parametrize("name", ["generated_distance", "held_out_distance"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_copying_distance_that_is_not_finite_is_not_measurable(name: str, value: float) -> None:
    copying = Copying.model_validate(
        {"samples": 64, "generated_distance": 1.0, "held_out_distance": 1.0, name: value}
    )
    assert "not measurable" in decide(evaluation(copying=copying), None, BOUNDS).reason


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["value", "value_untrained"])
def test_a_first_generator_whose_distance_is_not_finite_is_kept_out(name: str, value: float) -> None:
    decision = decide(evaluation(**{name: value}), None, BOUNDS)
    assert not decision.promoted
    assert f"is {value}" in decision.reason


def test_without_the_untrained_generator_a_distance_must_still_be_finite() -> None:
    bounds = GateConfig(better_than_untrained=False)
    assert not decide(evaluation(value=math.nan), None, bounds).promoted
    assert decide(evaluation(value_untrained=math.nan), None, bounds).promoted


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["recall", "kernel_distance"])
@pytest.mark.parametrize("side", ["candidate", "champion"])
def test_a_comparison_with_a_number_that_is_not_finite_promotes_nobody(
    side: str, name: str, value: float
) -> None:
    comparison = compared(evaluation(), -1.0, -1.2, -0.8)
    measures = getattr(comparison, side).model_copy(update={name: value})
    decision = decide(evaluation(), comparison.model_copy(update={side: measures}), BOUNDS)
    assert not decision.promoted
    assert f"the {side}'s {name.replace('_', ' ')} is {value}" in decision.reason
