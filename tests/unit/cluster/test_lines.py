from __future__ import annotations

import pytest

from ganlib.cluster.lines import (
    LONGEST_PROGRESS,
    StageProgress,
    as_clock,
    marked,
    percent,
    plain,
    read_line,
    readable,
)

TRAINING = StageProgress(
    stage="train",
    share=0.41,
    images=49_152,
    total_images=400_000,
    rate=1020.5,
    distance=432.1,
    seconds_left=310,
)
RAY = "\x1b[36m(RayTrainWorker pid=7, ip=127.0.0.1)\x1b[0m "


@pytest.mark.parametrize("before", ["", RAY, "(pid=gcs_server) "])
@pytest.mark.parametrize(
    "said", [TRAINING, StageProgress(stage="evaluate"), "evaluated at 0 images: x = 3", ""]
)
def test_what_is_said_is_read_again_behind_rays_prefix(before: str, said: str | StageProgress) -> None:
    assert read_line(before + marked(said)) == said


def test_every_line_of_a_text_is_marked() -> None:
    assert [read_line(line) for line in marked("error: one\ntwo").splitlines()] == ["error: one", "two"]


@pytest.mark.parametrize(
    "line",
    [
        "progress is good",
        "(TrainController pid=7) Requesting resources: {'CPU': 1} * 2",
        "core_worker.cc:2465: Actor with class name: 'PreemptionWatcher'",
        "measure.py:84: TooFewSamples: [ganlib] is not at the beginning",
        "[ganlib:progress] {",
        '[ganlib:progress] {"stage":"cook"}',
        '[ganlib:progress] {"stage":"train","share":1.5}',
        '[ganlib:progress] {"stage":"train","share":NaN}',
        '[ganlib:progress] {"stage":"train","images":-1}',
        '[ganlib:progress] {"stage":"train","rate":1e999}',
        '[ganlib:progress] {"stage":"train","more":1}',
        '[ganlib:progress] {"stage":"train","note":"\\u001b[2J"}',
        '[ganlib:progress] {"stage":"train"} [repeated 2x across cluster]',
        '[ganlib:progress] {"stage":"train"}' + " " * LONGEST_PROGRESS + ".",
    ],
)
def test_other_and_damaged_lines_are_not_ganlibs(line: str) -> None:
    assert read_line(line) is None
    assert readable(line) == line, "it is shown as it is"


def test_a_person_reads_what_is_known() -> None:
    assert str(TRAINING) == "train 41% · 49 of 400 kimg · 1,020 img/s · distance 432 · 5:10 left"
    timed = TRAINING.model_copy(update={"total_images": None, "images": 5_120, "distance": 43.21})
    assert str(timed) == "train 41% · 5.1 kimg · 1,020 img/s · distance 43.2 · 5:10 left"
    assert str(StageProgress(stage="publish")) == "publish …"
    assert str(StageProgress(stage="train", note="starting")) == "train · starting"
    assert readable(RAY + marked(TRAINING)) == str(TRAINING)
    assert readable(RAY + marked("evaluated")) == "evaluated"


def test_no_control_character_reaches_the_terminal() -> None:
    assert plain("\x1b[36ma\x1b[0m\tb\x1b]0;title\x07\x9b2J\r") == "a\tb]0;title2J"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (72.9, "1:12"), (3_600, "1:00:00")])
def test_seconds_are_read_as_a_clock(seconds: float, text: str) -> None:
    assert as_clock(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(0, "0%"), (0.999, "99%"), (0.29, "29%"), (1, "100%")])
def test_only_the_end_is_100_percent(share: float, text: str) -> None:
    assert percent(share) == text
