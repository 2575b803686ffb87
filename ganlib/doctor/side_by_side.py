"""Checks that run side by side, none longer than a deadline.

A name server or a socket may hold a thread for longer than any timeout of its library. The threads here are
therefore daemons: one that hangs is reported, left behind, and does not keep the process alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ganlib.doctor.finding import Finding, Topic
from ganlib.doctor.http_answers import NoAnswer
from ganlib.errors import GanlibError

_OTHER_SHAPE = (KeyError, IndexError, TypeError, AttributeError, ValueError)
"""Errors of reading an answer that has another shape than the service's own."""


@dataclass(frozen=True)
class Check:
    """Something to look at."""

    topic: Topic
    """Topic of the findings that are made when the look itself fails or takes too long."""
    look: Callable[[], Iterator[Finding]]
    """Gives findings as they come, so that those before a hang are kept. It may raise
    :class:`~ganlib.doctor.http_answers.NoAnswer` and ganlib's own errors, which become a finding."""


@dataclass
class _Running:
    """A check in its thread."""

    check: Check
    found: list[Finding] = field(default_factory=list)
    bug: Exception | None = None

    def look(self) -> None:
        """Collect the findings."""
        try:
            for finding in self.check.look():
                self.found.append(finding)
        except (NoAnswer, GanlibError) as error:
            self.found.append(self._failed(str(error)))
        except _OTHER_SHAPE as error:
            self.found.append(
                self._failed(f"its answer has another shape than expected ({type(error).__name__}: {error})")
            )
        except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
            self.bug = error

    def _failed(self, seen: str) -> Finding:
        service = self.check.topic.service
        return self.check.topic.broken(
            seen, f"look at what answers at the address of {service}, and at its log"
        )


def look_side_by_side(checks: Sequence[Check], within_seconds: float) -> list[Finding]:
    """All findings of some checks, in the order of the checks.

    Args:
        checks: Run at once, a thread each.
        within_seconds: A check that has not ended by then is a finding itself, and is left behind.
    """
    running = [_Running(check) for check in checks]
    threads = [threading.Thread(target=one.look, daemon=True) for one in running]
    deadline = time.monotonic() + within_seconds
    for thread in threads:
        thread.start()
    findings = []
    for one, thread in zip(running, threads, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        overdue = thread.is_alive()
        if one.bug is not None:
            raise one.bug
        findings += list(one.found)
        if overdue:
            seen = f"this check had not ended after {within_seconds:g} s"
            remedy = (
                f"see whether {one.check.topic.service} is overloaded, or the network to it drops packets"
            )
            findings.append(one.check.topic.broken(seen, remedy))
    return findings
