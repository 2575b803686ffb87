"""``ganlib runs``: the training runs, the newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganlib.cli.options import Json, say
from ganlib.settings import load_settings

# Only light modules above: `ganlib --help` must not wait for MLflow.

if TYPE_CHECKING:
    from ganlib.cli.output import TableRow
    from ganlib.registry.newest_runs import TrackedRun

_LEAST = ("metric", "dataset", "version", "age")
"""Columns that a narrow terminal can do without, the first to go first."""


def list_runs(
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=1000, metavar="COUNT", help="Most runs.")
    ] = 20,
    json: Json = False,
) -> None:
    """List the training runs, the newest first; `ganlib logs RUN` shows what one wrote."""
    from ganlib.cli.output import as_json
    from ganlib.registry.newest_runs import newest_runs

    found = newest_runs(load_settings(), count)
    if json:
        say(as_json([values(run) for run in found]))
    elif not found:
        say("there is no run yet; `ganlib retrain digits-wgan` starts one")
    else:
        _print(found)


def values(run: TrackedRun) -> dict[str, Any]:
    """A run for programs: plain values, ``None`` for what is absent."""
    started = datetime.fromtimestamp(run.started, UTC).isoformat(timespec="seconds")
    return {**asdict(run), "started": started}


def age(seconds: float) -> str:
    """A time span in its largest unit: ``45 s``, ``12 min``, ``3 h``, ``8 d``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _print(found: Sequence[TrackedRun]) -> None:
    from ganlib.cli.output import print_rows, without

    now = datetime.now(UTC).timestamp()
    rows = [_texts(run, now) for run in found]
    print_rows(rows, *(without(rows, _LEAST[:few]) for few in range(1, len(_LEAST) + 1)))


def _texts(run: TrackedRun, now: float) -> TableRow:
    return {
        "run": run.run,
        "status": run.status,
        "dataset": " ".join(filter(None, (run.dataset, (run.dataset_digest or "")[:8]))),
        "metric": run.metric or "",
        "value": "" if run.value is None else f"{run.value:.4g}",
        "age": age(now - run.started),
        "version": ", ".join(run.versions),
    }
