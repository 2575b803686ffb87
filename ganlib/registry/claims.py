"""One run, one version, whoever publishes the run and wherever a publisher dies.

A registry has neither locks nor create-if-absent, but it numbers the versions of a model one after
the other, in a transaction of its own. So the number of a version tells who came first:

1. A publisher uploads all files and then creates a version with all tags and the mark
   :data:`CLAIM_TAG`. A version with this mark is a *claim*; readers treat it as absent.
2. The publisher then lists all versions of the run, claims included. The lowest number is the run's
   version. Whoever sees it removes its mark, its author or not: its files were complete before it was
   created. All other claims are withdrawn.

Why all publishers agree: a version gets its number after all lower ones were committed, so its author
sees every lower one. A claim is withdrawn only when the run has a lower version, so the lowest version is
never withdrawn, and it stays the lowest.

A publisher that dies leaves files that no version points to, or a claim, which the next publisher of that
run confirms or withdraws. Nobody has to decide whether another publisher is still alive.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

CLAIM_TAG = "ganlib.claim"
"""Mark of a version that may yet turn out to be a run's second one."""


class Claim(NamedTuple):
    """A version of a run."""

    number: int
    confirmed: bool
    """Whether it lost its mark, or never had one: readers see it."""


class Claims(Protocol):
    """The versions that one run has in one model, claims included."""

    def found(self) -> list[Claim]:
        """List them, in any order."""
        ...

    def confirm(self, number: int) -> None:
        """Remove a version's mark; one without a mark stays as it is."""
        ...

    def withdraw(self, number: int) -> None:
        """Delete a version; one that is gone is no error."""
        ...


def agree(claims: Claims) -> int | None:
    """Confirm the run's version and withdraw all other claims.

    Returns:
        The number of the run's version, the same for everybody who asks; ``None`` when the run has none.
    """
    found = sorted(claims.found())
    if not found:
        return None
    first, *others = found
    if not first.confirmed:
        claims.confirm(first.number)
    for other in others:
        # A confirmed one was published before there were claims, and an alias may point to it.
        if not other.confirmed:
            claims.withdraw(other.number)
    return first.number
