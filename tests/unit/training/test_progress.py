from __future__ import annotations

import io
import logging
import math

import pytest
from rich.console import Console

from flows.log import JobLog, progress_text
from ganlib.training.progress import Pace, ProgressLine


@pytest.mark.parametrize("distance", [math.nan, 431.25])
def test_a_line_says_what_it_was_made_from_through_rays_prefix(distance: float) -> None:
    line = ProgressLine(12_800, 400_000, 2034.5, -0.0125, distance, 190)
    found = ProgressLine.parse(f"\x1b[36m(RayTrainWorker pid=7)\x1b[0m {line}")
    assert found is not None
    assert found[:4] == line[:4]
    assert found.distance == pytest.approx(distance, nan_ok=True)
    assert found.seconds_left == 190


def test_other_lines_are_no_progress() -> None:
    assert ProgressLine.parse("progress is good") is None


def test_the_end_is_the_nearer_of_the_two_limits() -> None:
    assert Pace(1000, None).line(100, 1.0, 0.0).seconds_left == 9
    pace = Pace(1000, max_seconds=4.0)
    line = pace.line(100, 1.0, 0.0)
    assert (line.total, line.seconds_left) == (400, 3)
    assert pace.line(400, 4.0, 0.0).total == 400


def test_time_before_a_resume_does_not_count() -> None:
    pace = Pace(1000, None)
    pace.restart(500, 1000.0)
    assert pace.line(600, 1001.0, 0.0).rate == pytest.approx(100)


def test_progress_is_logged_once_a_minute_and_everything_else_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("test")
    with caplog.at_level(logging.INFO), JobLog(logger, Console(force_terminal=False)) as log:
        for images in range(0, 1000, 100):
            log(str(ProgressLine(images, 1000, 50.0, 0.5, math.nan, 1)))
        log("\x1b[36mevaluated\x1b[0m")
        log("   ")
    assert caplog.messages == [progress_text(ProgressLine(0, 1000, 50.0, 0.5, math.nan, 1)), "evaluated"]


def test_the_bar_shows_images_rate_estimate_distance_and_time_left() -> None:
    console = Console(force_terminal=True, width=160, record=True)
    with JobLog(logging.getLogger("test"), console) as log:
        log(str(ProgressLine(120_000, 400_000, 2000.0, 1.234, 432.1, 140)))
    shown = console.export_text()
    for part in ("120 of 400 kimg", "2,000 img/s", "W 1.234", "distance 432", "2:20 left", "30%"):
        assert part in shown


def test_a_line_never_lands_in_the_bar() -> None:
    terminal = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(terminal))
    console = Console(file=terminal, force_terminal=True, width=80)
    progress = str(ProgressLine(100, 1000, 50.0, 0.5, math.nan, 1))
    with JobLog(logger, console) as log:
        log(progress)
        log("evaluated")
        log(progress)
    before, _, after = terminal.getvalue().partition("evaluated\n")
    assert before.endswith("\x1b[2K"), "the bar was not wiped"
    assert "training" in after, "the bar did not come back"
