from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from flows.log import LAST_LINES, JobLog, begin, tell
from flows.screen import Screen, current, on_screen
from ganlib.cluster.lines import StageProgress, marked
from ganlib.errors import JobFailed

NOISE = "(TrainController pid=7) core_worker.cc:2465: Actor with class name: 'PreemptionWatcher'"


def training(share: float) -> StageProgress:
    return StageProgress(
        stage="train", share=share, images=48_000, rate=1020.5, distance=432.1, seconds_left=72
    )


class Shown:
    """A console, and what a flow's screen prints to it."""

    def __init__(self, *, terminal: bool) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=80, color_system=None)

    @property
    def text(self) -> str:
        return self.file.getvalue()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger that hands on to the root as those of Prefect's runs do, and a root without other handlers."""
    found, root = logging.getLogger("a-task-run"), logging.getLogger()
    before, level, found.level, root.handlers = root.handlers, found.level, logging.INFO, []
    yield found
    root.handlers, found.level = before, level


@pytest.fixture
def pipe() -> Shown:
    return Shown(terminal=False)


@pytest.fixture
def terminal() -> Shown:
    return Shown(terminal=True)


def without_times(text: str) -> list[str]:
    assert all(line[2] == line[5] == ":" for line in text.splitlines()), text
    return [line[9:] for line in text.splitlines()]


def test_without_a_terminal_progress_is_printed_once_a_minute_and_milestones_at_once(
    logger: logging.Logger, pipe: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("flows.log.time.monotonic", lambda: now[0])
    with on_screen(Screen(console=pipe.console)):
        begin("train", logger=logger)
        with JobLog(logger) as log:
            for share in (0.0, 0.1, 0.2):
                log(marked(training(share)))
                now[0] += 31
            log(marked("evaluated at 100000 images"))
            log(marked(StageProgress(stage="evaluate")))
            log("")
            log("[ganlib] ")
    assert without_times(pipe.text) == [
        "train …",
        "train 0% · 48 kimg · 1,020 img/s · distance 432 · 1:12 left",
        "train 20% · 48 kimg · 1,020 img/s · distance 432 · 1:12 left",
        "evaluated at 100000 images",
        "evaluate …",
    ]


def test_on_a_terminal_one_line_has_everything_and_progress_is_not_printed_beside(
    logger: logging.Logger, terminal: Shown
) -> None:
    with on_screen(Screen(console=terminal.console)), JobLog(logger) as log:
        log(marked(training(0.41)))
    drawn = [line for line in terminal.text.replace("\x1b[2K", "").split("\r") if "train" in line][-1]
    for part in ("train", "41%", "48 kimg", "1,020 img/s", "distance 432", "1:12 left"):
        assert part in drawn
    assert "train 41% ·" not in terminal.text, "that is for logs"


def test_a_stage_whose_end_nobody_knows_shows_how_long_it_takes(
    logger: logging.Logger, terminal: Shown
) -> None:
    with on_screen(Screen(console=terminal.console)):
        begin("publish", logger=logger)
    assert "publish" in terminal.text
    assert "0:00" in terminal.text
    assert "%" not in terminal.text


def test_a_line_never_lands_in_the_live_line(logger: logging.Logger, terminal: Shown) -> None:
    with on_screen(Screen(console=terminal.console)), JobLog(logger) as log:
        log(marked(training(0.41)))
        log(marked("evaluated"))
    before, _, after = terminal.text.partition("evaluated\n")
    assert before.endswith("\x1b[2K"), "the live line was not wiped"
    assert "train" in after, "the live line did not come back"
    assert terminal.text.endswith("\x1b[2K"), "the live line stayed"


def test_other_programs_lines_are_shown_on_a_verbose_screen_only(logger: logging.Logger, pipe: Shown) -> None:
    for verbose in (False, True):
        with on_screen(Screen(verbose, pipe.console)), JobLog(logger) as log:
            logger.info("Finished in state Completed()")
            log(NOISE)
            tell("trained", logger=logger)
    assert without_times(pipe.text) == [
        "trained",
        "INFO a-task-run: Finished in state Completed()",
        NOISE,
        "trained",
    ]


def test_ganlibs_own_warnings_are_shown_and_those_of_libraries_are_not(
    logger: logging.Logger, pipe: Shown
) -> None:
    with on_screen(Screen(console=pipe.console)):
        logging.getLogger("urllib3.connectionpool").warning("Connection pool is full")
        logging.getLogger("ganlib.tracking.spool").warning("MLflow does not answer")
        tell("what is trained now cannot become the champion", logging.WARNING, logger=logger)
        logger.error("Crash detected! Execution was aborted by an interrupt signal.")
    assert without_times(pipe.text) == [
        "MLflow does not answer",
        "what is trained now cannot become the champion",
    ]


def test_a_failed_jobs_last_lines_are_shown_and_those_of_a_good_one_are_not(
    logger: logging.Logger, pipe: Shown
) -> None:
    def work(*, fails: bool) -> None:
        with JobLog(logger) as log:
            for number in range(LAST_LINES + 1):
                log(f"line {number}")
            log(marked("training"))
            if fails:
                raise JobFailed("run-train--1", "FAILED", "ValueError: no")

    with on_screen(Screen(console=pipe.console)):
        work(fails=False)
        assert "line" not in pipe.text
        with pytest.raises(JobFailed):
            work(fails=True)
    shown = pipe.text.partition("The last lines of the log of run-train--1:\n")[2].splitlines()
    assert shown == [f"  line {number}" for number in range(1, LAST_LINES + 1)]


def test_a_job_that_says_why_it_fails_is_not_quoted_at_length(logger: logging.Logger, pipe: Shown) -> None:
    def work() -> None:
        with JobLog(logger) as log:
            log(NOISE)
            log(marked("error: the clip is 0"))
            raise JobFailed("run-train--1", "FAILED", "error: the clip is 0")

    with on_screen(Screen(console=pipe.console)), pytest.raises(JobFailed):
        work()
    assert pipe.text == "", "the command itself prints the error"


def test_prefects_log_gets_the_lines_for_a_person_and_progress_without_a_screen(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    with JobLog(logger) as log:
        for share in (0.0, 0.1):
            log(marked(training(share)))
        log(NOISE)
        log(marked("evaluated"))
    assert caplog.messages == [str(training(0.0)), "evaluated"]


def test_prefects_handler_is_away_while_the_screen_is_there(logger: logging.Logger, pipe: Shown) -> None:
    from prefect.logging.handlers import PrefectConsoleHandler

    root, prefects = logging.getLogger(), PrefectConsoleHandler(stream=io.StringIO())
    other = logging.NullHandler()
    root.handlers = [prefects, other]
    screen = Screen(console=pipe.console)

    def interrupted() -> None:
        assert root.handlers == [other, screen]
        assert current() is screen
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), on_screen(screen):
        interrupted()
    assert root.handlers == [prefects, other]
    assert current() is None
