"""Timed parts: each in a process of its own, in turn, so that what else the machine does hits all alike."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ganlib.errors import GanlibError, JobFailed
from ganlib.records import Record


class Measured(Record):
    """Result of a part: the last line of its output, as JSON."""

    value: float
    """In the part's own unit: pictures a second, FLOP/s, seconds, a distance."""
    beside: float = 0.0
    """The value of what it is compared to, where both take turns in one process."""
    precision: str = ""
    """Number format of the passes, where there are any: ``fp32`` or ``bf16``."""
    waiting_share: float = 0.0
    """Share of the time that went by before pictures were there."""
    flop_per_image: float = 0.0
    """Arithmetic that training needs for each picture the critic sees, where it was counted."""
    peak_bytes: int = 0
    """Most memory the process had resident."""
    note: str = ""
    """The parts of the value, for a person."""
    missing: str = ""
    """Why there is no value; empty when there is one."""

    def print(self) -> None:
        """On standard output, as one line, for :func:`run_part`."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        sys.stdout.write("\n" + self.model_copy(update={"peak_bytes": peak}).model_dump_json() + "\n")
        sys.stdout.flush()


@dataclass(frozen=True)
class TimedPart:
    """A timed part: a module of this package with its arguments."""

    label: str
    """Name of the measurement, for people."""
    module: str
    """Below ``ganlib.bench``."""
    arguments: tuple[str, ...] = ()
    threads: int | None = None
    """Threads of each of its processes; ``None``: as many as there are processors."""


Measure = Callable[[TimedPart], Measured]
"""Runs a part."""


def answer(main: Callable[[], Measured]) -> None:
    """The whole of a part's process; our own errors end it in one line."""
    try:
        main().print()
    except GanlibError as error:
        sys.exit(str(error))


def run_part(part: TimedPart, environ: Mapping[str, str] | None = None) -> Measured:
    """Run a part in a fresh process. Interrupted, it ends the process.

    A process begins with its parent's memory peak, so this one must not grow: torch and Ray are
    imported in parts only.

    Raises:
        JobFailed: It ended without a result; the message has its last line.
    """
    threads = part.threads or len(os.sched_getaffinity(0))
    command = [sys.executable, "-m", f"ganlib.bench.{part.module}", *part.arguments]
    done = subprocess.run(
        command,
        # Gradients of workers on one machine stay on it.
        env={**(environ or os.environ), "OMP_NUM_THREADS": str(threads), "GLOO_SOCKET_IFNAME": "lo"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode != 0 or not lines:
        said = [line for line in (*lines, *done.stderr.splitlines()) if line.strip()] or ["it said nothing"]
        name = " ".join(command[2:])
        raise JobFailed(name, f"exit code {done.returncode}", said[-1].strip(), on_cluster=False)
    return Measured.from_json(lines[-1], source=part.label)


def in_turn(measure: Measure, parts: Sequence[TimedPart], rounds: int = 2) -> list[list[Measured]]:
    """Measure parts A and B as A B A B A, and any number of them likewise.

    The first is measured once more at the end: a machine that becomes steadily slower or faster
    then weighs on both sides of a comparison alike.

    Returns:
        What each part measured, in the order of the parts.
    """
    order = [*(list(range(len(parts))) * rounds), 0]
    measured: list[list[Measured]] = [[] for _ in parts]
    for which in order:
        measured[which].append(measure(parts[which]))
    return measured


def seconds_in_turn(
    first: Callable[[], object],
    second: Callable[[], object],
    limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """The median seconds of each, over turns of both until so many seconds are over.

    Args:
        first: Runs one turn.
        second: Runs one turn of what it is compared to.
        limit: Seconds by the wall clock.
        clock: What times a turn; ``time.process_time`` where both use one core that others use too.
    """
    first(), second()  # kernels are chosen, memory is had
    taken: list[tuple[float, float]] = []
    end = time.perf_counter() + limit
    while time.perf_counter() < end or not taken:
        turn = []
        for make in (first, second):
            began = clock()
            make()
            turn.append(clock() - began)
        taken.append((turn[0], turn[1]))
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def median(measured: Sequence[Measured]) -> float:
    """Return the median of the measured values."""
    return statistics.median(one.value for one in measured)
