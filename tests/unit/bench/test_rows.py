from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ganlib.bench.rows import Machine, Row, Target, table, write_json
from ganlib.errors import ConfigError

MACHINE = Machine("a processor", 2, 2**34, 0.5, "3.11.0", "2.14.0", "0.1.0")


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        (Target("at least", 2.2), 2.2, True),
        (Target("at least", 2.2), 2.19, False),
        (Target("at least", 2.2), 99.0, True),
        (Target("at most", 190, aim=120), 190.0, True),
        (Target("at most", 190, aim=120), 190.1, False),
        (Target("at most", 190, aim=120), 10.0, True),
        (Target("at least", 1), math.nan, False),
        (Target("at most", 1), math.nan, False),
    ],
)
def test_a_target_has_a_side(target: Target, value: float, met: bool) -> None:
    assert target.met(value) is met
    assert Row("name", value, "", "", target).met is met


def test_without_target_or_figure_nothing_is_met_or_missed() -> None:
    assert Row("memory", 12.0, "MiB", "").met is None
    assert Row("quality", "it could not be found", "", "", Target("at most", 190)).met is None


def test_the_table_has_a_line_for_each_row_in_columns() -> None:
    rows = [
        Row("loop", 2.4567, "×", "plain loop, 100 images/s", Target("at least", 2.2, aim=2.5)),
        Row("input-wait", 3.0, "%", "all of the time", Target("at most", 1)),
        Row("memory", 900.0, "MiB", "plain loop"),
        Row("quality", "it could not be found", "", ""),
    ]
    heading, *lines = table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["loop", "input-wait", "memory", "quality"]
    for row, words in zip(
        rows,
        (["2.457 ×", "at least 2.2, aim 2.5", "yes"], ["3 %", "at most 1", "NO"], ["900 MiB", "", ""],
         ["it could not be found", "", ""]),
        strict=True,
    ):  # fmt: skip
        line = lines[rows.index(row)]
        for title, word in zip(("value", "target", "met"), words, strict=True):
            assert line[heading.index(title) :].startswith(word)
        assert line[heading.index("compared to") :] == row.compared_to


def test_the_file_is_a_list_of_rows_and_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "home" / "bench.json"
    rows = [
        Row("ddp", 0.95, "", "one worker", Target("at least", 0.93)),
        Row("memory", 900.5, "MiB", "plain loop"),
        Row("quality", "it could not be found", "", ""),
    ]
    write_json(path, rows, MACHINE)
    first, second, third, machine = json.loads(path.read_text())
    assert first == {
        "name": "ddp", "value": 0.95, "unit": "", "compared_to": "one worker", "target": "at least 0.93",
        "met": True,
    }  # fmt: skip
    assert (second["target"], second["met"]) == (None, None)
    assert third["value"] == "it could not be found"
    assert set(first) == set(second) == set(third)
    assert machine["machine"] == "a processor"
    assert machine["processors"] == 2
    assert [entry.name for entry in path.parent.iterdir()] == ["bench.json"], "nothing is left beside it"


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ConfigError, match=r"bench\.json cannot be written.*GANLIB_HOME"):
        write_json(tmp_path / "home" / "bench.json", [], MACHINE)


def test_this_machine_describes_itself() -> None:
    here = Machine.here()
    assert here.processors >= 1
    assert here.memory_bytes > 2**28
    assert here.machine
