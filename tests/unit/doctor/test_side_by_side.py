from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.side_by_side import Check, look_side_by_side

TOPIC = Topic("speed", "s3")

HANGING = """
import threading
from ganlib.doctor.finding import Topic
from ganlib.doctor.side_by_side import Check, look_side_by_side

def hang():
    threading.Event().wait()
    yield

print(look_side_by_side([Check(Topic("speed", "s3"), hang)], 0.1)[0])
"""


def test_a_check_that_hangs_is_a_finding_and_those_beside_it_are_not_held_up() -> None:
    let_go, well = threading.Event(), Topic("well", "ray")

    def hang() -> Iterator[Finding]:
        yield TOPIC.ok("it began")
        let_go.wait()

    try:
        found = look_side_by_side(
            [Check(TOPIC, hang), Check(well, lambda: iter([well.ok("all is well")]))], 0.5
        )
    finally:
        let_go.set()
    assert [(one.service, one.state) for one in found] == [("s3", "ok"), ("s3", "broken"), ("ray", "ok")]
    assert "had not ended after 0.5 s" in found[1].seen


def test_a_check_that_hangs_does_not_keep_the_process_alive() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("broken   s3       speed")


def test_checks_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet() -> Iterator[Finding]:
        both.wait()
        yield TOPIC.ok("the other one was there")

    found = look_side_by_side([Check(TOPIC, meet), Check(TOPIC, meet)], 30)
    assert [one.state for one in found] == ["ok", "ok"]


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    def wrong() -> Iterator[Finding]:
        yield TOPIC.ok("it began")
        raise AssertionError("this cannot happen")

    with pytest.raises(AssertionError, match="cannot happen"):
        look_side_by_side([Check(TOPIC, wrong)], 30)
