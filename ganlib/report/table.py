"""The table of a sweep's trials: for people in Markdown, for programs in CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from ganlib.report.axes import best_distance, best_trial, ranked, searched_axes, settings_of, text_of
from ganlib.sweep.records import Scalar, SweepResult, Trial

Cell = Scalar | None


def rows(result: SweepResult) -> list[dict[str, Cell]]:
    """A row for each trial, the best first and those without a distance last.

    The columns are the same in every row: ``trial``, ``status``, ``reason``, the searched fields by
    their dotted names, ``kimg`` (where its curve ends), ``curve_distance`` (the smallest on it),
    ``final_distance`` (with fresh latents, for those of the final), ``seconds``, ``changes`` and ``run``.
    A distance that is no finite number is ``None``.
    """
    fields = [axis.field for axis in searched_axes(result)]
    best_first = ranked(result.trials)
    others = [trial for trial in result.trials if trial not in best_first]
    return [_row(trial, fields) for trial in [*best_first, *others]]


def _row(trial: Trial, fields: Sequence[str]) -> dict[str, Cell]:
    final = trial.evaluation.value if trial.evaluation is not None else math.nan
    return {
        "trial": trial.number,
        "status": trial.status,
        "reason": trial.reason,
        **{field: trial.settings.get(field) for field in fields},
        "kimg": max((point.images_seen for point in trial.curve), default=0) / 1000,
        "curve_distance": best_distance(trial),
        "final_distance": final if math.isfinite(final) else None,
        "seconds": round(trial.seconds, 1),
        "changes": "; ".join(trial.changes),
        "run": trial.run,
    }


def as_csv(result: SweepResult) -> str:
    """:func:`rows` as CSV with a header; empty where there is no value."""
    found = rows(result)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(found[0]) if found else ["trial"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def as_json(result: SweepResult) -> str:
    """The sweep and its :func:`rows` as JSON, without a number that JSON does not have."""
    whole = {
        "sweep": result.sweep,
        "recipe": result.recipe,
        "dataset": result.dataset_name,
        "dataset_digest": result.dataset_digest,
        "metric": result.metric,
        "status": result.status,
        "best": result.best,
        "seconds": round(result.seconds, 1),
        "trials": rows(result),
    }
    return json.dumps(whole, indent=2, allow_nan=False) + "\n"


def as_markdown(result: SweepResult) -> str:
    """:func:`rows` as a table for people, with a line about the sweep before it."""
    names = {axis.field: axis.label for axis in searched_axes(result)}
    found = rows(result)
    columns = [column for column in (found[0] if found else {}) if _worth_showing(column, found)]
    head = [names.get(column, column.replace("_", " ")) for column in columns]
    lines = [
        f"**{result.sweep}** ({result.status}): {len(result.trials)} trials of `{result.recipe}` on "
        f"`{result.dataset_name}`, distances are `{result.metric}`, smaller is better.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(columns),
    ]
    for row in found:
        cells = [cell_text(row[column]) for column in columns]
        if row["trial"] == result.best:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _worth_showing(column: str, found: Sequence[dict[str, Cell]]) -> bool:
    optional = ("reason", "final_distance", "changes")
    return column not in optional or any(row[column] not in (None, "") for row in found)


def cell_text(value: Cell) -> str:
    """A cell for people: four significant digits, empty for ``None``."""
    return "" if value is None else text_of(value, 4).replace("\\$", "$")


def result_summary(result: SweepResult) -> str:
    """In a sentence or two: which trial is the best, by what, and how the recipe itself compares with it."""
    best = best_trial(result)
    if best is None:
        return "no trial has a distance yet"
    axes = searched_axes(result)
    recipe = next((trial for trial in result.trials if trial.number == 0), None)
    distance, by = _judged(best, result.metric)
    if best is recipe:
        return f"the recipe's own values, trial 0, are the best: {by} {text_of(distance, 4)}"
    text = f"trial {best.number} is the best ({settings_of(best, axes)}): {by} {text_of(distance, 4)}"
    if recipe is None or best_distance(recipe) is None:
        return text
    own, own_by = _judged(recipe, result.metric)
    if own_by != by:
        return text
    share = 100 * (own - distance) / abs(own) if own else 0.0
    return (
        f"{text}; the recipe itself, trial 0, has {text_of(own, 4)}, so the best is {share:.0f} % nearer "
        "to held-out pictures"
    )


def _judged(trial: Trial, metric: str) -> tuple[float, str]:
    """The distance that counts for a trial, and what it is called."""
    final = trial.evaluation
    if final is not None and math.isfinite(final.value):
        return final.value, f"{final.metric} with fresh latents"
    return best_distance(trial) or math.nan, metric
