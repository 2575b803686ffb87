from __future__ import annotations

import csv
import io
import json
import math

from report_examples import curve, evaluated, grid, sweep_of, twelve
from rich.console import Console

from ganlib.report.table import as_csv, as_json, as_markdown, result_summary, rows
from ganlib.report.terminal import print_trials
from ganlib.sweep.records import SweepResult


def final(*values: float, best: int) -> SweepResult:
    """Twelve trials, of which the first ones were evaluated again."""
    result = sweep_of(grid())
    trials = list(result.trials)
    for number, value in enumerate(values):
        trials[number] = evaluated(trials[number], value)
    return result.model_copy(update={"trials": tuple(trials), "best": best, "status": "finished"})


def test_rows_begin_with_the_final_and_end_with_trials_without_a_distance() -> None:
    found = rows(final(290.0, 280.0, math.nan, best=1))
    assert [row["trial"] for row in found[:4]] == [1, 0, 2, 3]
    assert [row["final_distance"] for row in found[:3]] == [280.0, 290.0, None]
    assert [row["trial"] for row in rows(twelve())][-3:] == [5, 8, 11] or rows(twelve())[-1]["trial"] == 11
    assert rows(twelve())[-1]["curve_distance"] is None


def test_a_row_has_the_values_and_where_its_curve_ended() -> None:
    row = rows(sweep_of(grid(), {0: "stopped"}, {0: curve(850.0, 400.0, 450.0)}))[-1]
    assert row["trial"] == 0
    assert row["status"] == "stopped"
    assert (row["cadence.n_critic"], row["objective.clip"]) == (1, 0.03)
    assert (row["kimg"], row["curve_distance"]) == (20.0, 400.0)


def test_csv_reads_back_as_the_rows() -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(twelve()))))
    assert [int(row["trial"]) for row in read] == [row["trial"] for row in rows(twelve())]
    assert read[0]["curve_distance"] == "300.0"
    assert read[-1]["curve_distance"] == ""
    assert as_csv(sweep_of([])) == "trial\n"


def test_json_has_no_number_that_json_does_not_have() -> None:
    whole = json.loads(as_json(twelve()), parse_constant=lambda name: 1 / 0)
    assert whole["metric"] == "fd_efficientnet_lite0_curve"
    assert len(whole["trials"]) == 12


def test_markdown_is_one_table_whose_cells_cannot_break_it() -> None:
    result = sweep_of([{"recipe.word": "a|b"}, {"recipe.word": "c$d"}], {0: "died"}, {0: ()})
    broken = result.trials[0].model_copy(update={"reason": "one\ntwo | three"})
    text = as_markdown(result.model_copy(update={"trials": (broken, result.trials[1])}))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "one two \\| three" in text
    assert "c$d" in text


def test_the_verdict_says_how_the_best_compares_with_the_recipe() -> None:
    said = result_summary(final(300.0, 240.0, best=1))
    assert "trial 1 is the best (n_critic 1, clip 0.1): fd_efficientnet_lite0 with fresh latents 240" in said
    assert "the recipe itself, trial 0, has 300, so the best is 20 % nearer" in said
    result = final(300.0, 240.0, best=1)
    values = {**result.trials[1].values, "objective.clip": 0.2}
    changed = result.trials[1].model_copy(update={"best_values": values})
    result = result.model_copy(update={"trials": (result.trials[0], changed, *result.trials[2:])})
    assert "trial 1 is the best (n_critic 1, clip 0.2)" in result_summary(result), (
        "what it came to its best with"
    )
    assert [row["objective.clip"] for row in rows(result) if row["trial"] == 1] == [0.2]
    assert result_summary(final(240.0, 300.0, best=0)).startswith(
        "the recipe's own values, trial 0, are the best"
    )
    assert result_summary(sweep_of([])) == "no trial has a distance yet"
    assert "has" not in result_summary(final(math.nan, 240.0, best=1)), (
        "fresh latents are not compared with a curve"
    )


def test_the_terminal_shows_every_trial_and_why_some_ended() -> None:
    result = twelve()
    died = result.trials[11].model_copy(update={"reason": "its process was killed"})
    out = io.StringIO()
    print_trials(
        result.model_copy(update={"trials": (*result.trials[:11], died)}), Console(file=out, width=100)
    )
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == "a-sweep"
    assert lines[1].split()[:4] == ["trial", "status", "n_critic", "clip"]
    assert len(lines) == 14
    assert "its process was killed" in lines[-1]
