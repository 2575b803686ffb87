"""``ganlib bench``: measure, print the table, write ``$GANLIB_HOME/bench.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from ganlib.bench.comparisons import BENCHMARKS, Session
from ganlib.bench.parts import Measure, Measured, TimedPart, run_part
from ganlib.bench.rows import Machine, Row, table, write_json
from ganlib.errors import ConfigError, UnknownName
from ganlib.settings import Settings
from ganlib.stack import StackStatus, status

FILE = "bench.json"


def run(
    settings: Settings,
    names: Sequence[str],
    *,
    say: Callable[[str], None],
    seconds: float | None = None,
    fashion_mnist: Path | None = None,
    measure: Measure | None = None,
    ask: Callable[[Settings], StackStatus] = status,
) -> list[Row]:
    """Run some benchmarks; the file holds those of the last call, as far as it came.

    Args:
        settings: Where the home and the services are.
        names: Of benchmarks or of their rows; none means all.
        say: Takes lines for a person.
        seconds: Of measuring in each timed part.
        fashion_mnist: A folder that holds it.
        measure: Runs a part; stands in for processes.
        ask: Tells how the services are.

    Raises:
        UnknownName: There is no such benchmark.
        ConfigError: A benchmark needs services that do not run; nothing was measured.
        JobFailed: A part ended without a result.
    """
    chosen = choose(names)
    require_services(settings, chosen, ask)
    machine = Machine.here()
    environ = {**os.environ, "GANLIB_HOME": str(settings.home)}

    def watched(part: TimedPart) -> Measured:
        say(f"  {part.label} …")
        return (measure or (lambda part: run_part(part, environ)))(part)

    session = Session(watched, seconds, fashion_mnist)
    rows: list[Row] = []
    for name in chosen:
        say(f"{name}:")
        rows += BENCHMARKS[name].run(session)
        # After each one: they take minutes, and what was measured outlives an interruption.
        write_json(settings.home / FILE, rows, machine)
    say(f"\n{table(rows)}\n\n{machine}\n{settings.home / FILE}")
    return rows


def choose(names: Sequence[str]) -> list[str]:
    """The benchmarks that are meant, each once, in their own order.

    Raises:
        UnknownName: There is none with such a name or such a row.
    """
    known = {row: name for name, benchmark in BENCHMARKS.items() for row in (name, *benchmark.rows)}
    for name in names:
        if name not in known:
            raise UnknownName("benchmark", name, known)
    wanted = {known[name] for name in names} or set(BENCHMARKS)
    return [name for name in BENCHMARKS if name in wanted]


def require_services(
    settings: Settings, chosen: Sequence[str], ask: Callable[[Settings], StackStatus]
) -> None:
    """Refuse what would fail only after minutes.

    Raises:
        ConfigError: A service that is needed does not answer.
    """
    for name in chosen:
        needed = BENCHMARKS[name].services
        if not needed:
            continue
        found = ask(settings)
        down = [service for service in needed if found[service].state not in ("up", "own")]
        if down:
            raise ConfigError(
                f"benchmark {name} needs {', '.join(down)}: start the services with `ganlib up`, or name "
                "the benchmarks that do without"
            )
