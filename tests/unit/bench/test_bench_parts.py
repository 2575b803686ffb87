from __future__ import annotations

import os
from pathlib import Path

import pytest

from ganlib.bench.generation import main as generation
from ganlib.bench.parts import Measured, TimedPart, in_turn, median, run_part
from ganlib.errors import JobFailed


class Recorder:
    """Measures nothing: each value is the part's place in the order, from 0."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def __call__(self, part: TimedPart) -> Measured:
        self.order.append(part.label)
        return Measured(value=len(self.order) - 1)


def parts(labels: str) -> list[TimedPart]:
    return [TimedPart(label, "nothing") for label in labels]


@pytest.mark.parametrize(
    ("labels", "rounds", "order"), [("ab", 2, "ababa"), ("ab", 1, "aba"), ("abc", 2, "abcabca")]
)
def test_parts_are_measured_in_turn(labels: str, rounds: int, order: str) -> None:
    recorder = Recorder()
    measured = in_turn(recorder, parts(labels), rounds)
    assert "".join(recorder.order) == order
    for label, results in zip(labels, measured, strict=True):
        assert [order[int(one.value)] for one in results] == [label] * order.count(label)


def test_a_machine_that_slows_down_steadily_favours_neither_of_two() -> None:
    ganlib, plain = in_turn(Recorder(), parts("ab"))
    assert median(ganlib) == median(plain)


def test_one_disturbed_measurement_does_not_move_the_median() -> None:
    assert median([Measured(value=v) for v in (10.0, 0.1, 11.0)]) == 10.0


@pytest.mark.slow
def test_a_part_is_a_process_with_the_threads_it_is_given() -> None:
    measured = run_part(TimedPart("matrix products", "loop", ("peak", "0.01"), threads=1))
    assert measured.value > 1e6
    assert measured.precision in ("fp32", "bf16")
    assert measured.peak_bytes > 2**27, "torch alone is larger"


@pytest.mark.slow
def test_a_part_that_fails_says_why(tmp_path: Path) -> None:
    environ = {**os.environ, "GANLIB_HOME": str(tmp_path)}
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(
        JobFailed, match=r"benchmark_data fashion-mnist .* ended as exit code 1: .*nowhere"
    ) as raised:
        run_part(TimedPart("looking", "benchmark_data", ("fashion-mnist", nowhere)), environ)
    assert "ganlib logs" not in str(raised.value), "it was no job of the cluster"


def test_a_fetched_generator_takes_turns_with_the_bare_network() -> None:
    measured = generation(0.01, width=4, pictures=20)
    assert 0.1 < measured.beside / measured.value < 100
