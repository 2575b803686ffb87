from __future__ import annotations

import math

import pytest

from ganlib.training.progress import Pace


def test_a_budget_of_images_gives_a_total_and_the_time_that_the_rest_takes() -> None:
    found = Pace(1000, None).at(100, 1.0)
    assert (found.share, found.images, found.total_images, found.seconds_left) == (0.1, 100, 1000, 9)
    assert found.rate == pytest.approx(100)


def test_a_budget_of_time_gives_no_total_since_nobody_knows_it() -> None:
    pace = Pace(1000, max_seconds=4.0)
    found = [pace.at(100, 1.0), pace.at(300, 2.0), pace.at(400, 4.0)]
    assert [progress.total_images for progress in found] == [None, None, None]
    assert [progress.share for progress in found] == [0.25, 0.5, 1.0]
    assert [progress.seconds_left for progress in found] == [3, 2, 0]


def test_of_two_limits_the_nearer_one_counts() -> None:
    found = Pace(1000, max_seconds=100.0).at(900, 10.0)
    assert (found.share, found.seconds_left) == (0.9, 1)


def test_the_rate_is_of_late_and_the_time_left_of_the_whole_attempt() -> None:
    pace = Pace(1000, None)
    pace.at(100, 1.0)
    found = pace.at(500, 2.0)
    assert found.rate == pytest.approx(400)
    assert found.seconds_left == 2, "500 are left at 250 a second"


def test_time_before_a_resume_does_not_count() -> None:
    pace = Pace(1000, None)
    pace.restart(500, 1000.0)
    assert pace.at(600, 1001.0).rate == pytest.approx(100)


def test_a_run_that_goes_beyond_its_budget_is_at_its_end() -> None:
    found = Pace(1000, None).at(1050, 1.0)
    assert (found.share, found.seconds_left) == (1.0, 0)


@pytest.mark.parametrize(("distance", "shown"), [(math.nan, None), (431.25, 431.25)])
def test_before_the_first_evaluation_there_is_no_distance(distance: float, shown: float | None) -> None:
    assert Pace(1000, None).at(100, 1.0, distance).distance == shown
