"""Findings of `ganlib doctor`: one record for each thing that it looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ganlib.records import Record

FindingState = Literal["ok", "warning", "broken", "skipped"]
"""``warning``: ganlib works, and somebody should look. ``broken``: something of ganlib cannot work as it is.
``skipped``: it could not be looked at, and ``seen`` says why."""


class Finding(Record):
    """One thing that was looked at."""

    check: str
    """The thing that was looked at, in a word, as ``login``."""
    service: str
    """``s3``, ``mlflow``, ``prefect``, ``ray``, or ``machine`` for the machine that doctor runs on."""
    state: FindingState
    seen: str
    """The observation, in a clause; it holds no secret."""
    remedy: str = ""
    """The thing to do about it, in a clause; empty where there is nothing to do."""

    def __str__(self) -> str:
        """A line for a person."""
        line = f"{self.state:<8} {self.service:<8} {self.check:<14} {self.seen}"
        return f"{line}; {self.remedy}" if self.remedy else line


@dataclass(frozen=True)
class Topic:
    """A thing to look at; makes the findings about it."""

    check: str
    service: str

    def ok(self, seen: str) -> Finding:
        """All is well."""
        return self._finding("ok", seen)

    def warning(self, seen: str, remedy: str) -> Finding:
        """It works, and somebody should look."""
        return self._finding("warning", seen, remedy)

    def broken(self, seen: str, remedy: str) -> Finding:
        """It cannot work as it is."""
        return self._finding("broken", seen, remedy)

    def skipped(self, seen: str) -> Finding:
        """It could not be looked at."""
        return self._finding("skipped", seen)

    def _finding(self, state: FindingState, seen: str, remedy: str = "") -> Finding:
        return Finding(check=self.check, service=self.service, state=state, seen=seen, remedy=remedy)


def exit_status(findings: Iterable[Finding]) -> int:
    """1 when something is broken, else 0: warnings alone do not fail a script that calls doctor."""
    return int(any(finding.state == "broken" for finding in findings))


def last_line(findings: Iterable[Finding]) -> str:
    """The last line for a person: how many findings there are of each state."""
    states = [finding.state for finding in findings]
    broken, warnings, skipped = (states.count(state) for state in ("broken", "warning", "skipped"))
    verdict = f"{broken} broken" if broken else "nothing is broken"
    return f"{verdict}, {warnings} warnings, {skipped} skipped, {states.count('ok')} ok"
