"""Results of benchmarks: rows with targets, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psutil

from ganlib.errors import ConfigError


@dataclass(frozen=True)
class Target:
    """Limit that a value should keep.

    Args:
        bound: Which side of ``limit`` is good; the limit itself is.
        limit: In the row's unit.
        aim: What is hoped for beyond the limit; ``None``: nothing.
    """

    bound: Literal["at least", "at most"]
    limit: float
    aim: float | None = None

    def met(self, value: float) -> bool:
        """Whether a value reaches the limit; one that is not a number does not."""
        return value >= self.limit if self.bound == "at least" else value <= self.limit

    def __str__(self) -> str:
        aim = "" if self.aim is None else f", aim {self.aim:g}"
        return f"{self.bound} {self.limit:g}{aim}"


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark."""

    name: str
    """Stable: programs look rows up by it."""
    value: float | str
    """The figure, or a sentence that says why there is none."""
    unit: str
    compared_to: str
    """The other side of the comparison, with its own figure."""
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; ``None`` where there is no target or no figure."""
        if self.target is None or isinstance(self.value, str):
            return None
        return self.target.met(self.value)

    def as_json(self) -> dict[str, Any]:
        """``name, value, unit, compared_to, target, met``."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "compared_to": self.compared_to,
            "target": None if self.target is None else str(self.target),
            "met": self.met,
        }


@dataclass(frozen=True)
class Machine:
    """Where and with what the figures were measured."""

    machine: str
    """The processor, as it names itself."""
    processors: int
    """That this process may use."""
    memory_bytes: int
    load: float
    """Processes that wanted a processor in the minute before: others' work lowers the figures."""
    python: str
    torch: str
    ganlib: str

    @classmethod
    def here(cls) -> Machine:
        """This one, now."""
        return cls(
            machine=_processor(),
            processors=len(os.sched_getaffinity(0)),
            memory_bytes=psutil.virtual_memory().total,
            load=round(os.getloadavg()[0], 2),
            python=platform.python_version(),
            torch=version("torch"),
            ganlib=version("ganlib"),
        )

    def __str__(self) -> str:
        """One line for a person."""
        return (
            f"{self.machine}, {self.processors} processors, {self.memory_bytes / 2**30:.0f} GiB, load "
            f"{self.load:g} before; Python {self.python}, torch {self.torch}, ganlib {self.ganlib}"
        )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned columns, a line each, below a line of headings."""
    cells = [("name", "value", "target", "met", "compared to")]
    for row in rows:
        value = row.value if isinstance(row.value, str) else f"{row.value:.4g} {row.unit}".rstrip()
        met = {None: "", True: "yes", False: "NO"}[row.met]
        cells.append((row.name, value, str(row.target or ""), met, row.compared_to))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4]]).rstrip()
        for line in cells
    )


def write_json(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    """A list with an object for each row and one for the machine, written beside and renamed.

    Raises:
        ConfigError: The folder cannot be written to.
    """
    text = json.dumps([*(row.as_json() for row in rows), asdict(machine)], indent=2, allow_nan=False)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text + "\n")
        beside.replace(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}; set GANLIB_HOME to another folder"
        ) from error
