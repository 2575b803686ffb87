"""Moving an alias so that no move is lost and none goes unrecorded.

A registry knows where an alias points and can point it elsewhere, and no more: it cannot compare
and swap, and forgets who did it. What it can do at once and for good is to append: MLflow numbers
the versions of a model one after the other, and no two get the same number. So every model has a
log, to which a mover appends what it wants, and the log decides. The rules:

1. An entry names alias, target, the version that its author expects the alias to point to, who,
   and why. Entries are never changed, but for one mark (rule 5).
2. The state of an alias is the fold of the log in its order, from "nowhere" on: an entry that
   expects what the state is by then takes effect, and one that expects something else is void.
   Of two entries with the same expectation the second is void, so one of two movers loses, and
   knows it when it reads the log after appending.
3. The alias follows the log. A mover points it to the folded state, reads the log again, and does
   so until nothing was appended meanwhile. Whoever appends last reads after every other mover's
   last look, so when all are done the alias is the fold of the whole log.
4. The loser of a race does rule 3 too, which makes up for a winner that died.
5. A mover that is done marks its entry as settled. Where all entries are settled and the alias
   points elsewhere, somebody moved it without us (in MLflow's own pages, say): the next mover first
   appends that as a "found" entry of an unknown person. It takes effect only when nothing was appended
   since the look that found it.
6. An entry that is not settled belongs to a mover that is at work or died. A difference is put
   down to it, and mended by rule 3, while the entry is young (:data:`STALE_SECONDS`, by the
   clocks of server and mover), and later only if the alias is where it was before that entry;
   anything else is rule 5.

What this cannot exclude: a mover that stands still for minutes between its look and its write
may point the alias to an old state. It mends that by itself as it goes on, unless another mover
has recorded it as found by then; the log tells either way, and the alias is never two things.
"""

from __future__ import annotations

import getpass
import platform
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ganlib.errors import AliasMoved, ConfigError, RegistryError, UnknownName
from ganlib.records import AliasMove, MoveKind

STALE_SECONDS = 300
"""After this an entry that is not settled is taken for a dead mover's."""

UNKNOWN_PERSON = "unknown"
_ROUNDS = 100
_WHO_CHARACTERS, _WHY_CHARACTERS = 200, 2000


@dataclass(frozen=True)
class Intent:
    """A move that somebody asks for."""

    alias: str
    version: int | None
    """Where it is to point; ``None`` (nowhere) is only ever found, not wanted."""
    expected: int | None
    """Where it is expected to point now."""
    who: str
    why: str
    kind: MoveKind = "move"
    after: int = 0
    """For ``found``: the number of the log's last entry at that time."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The same in an entry that was sent twice because the first answer got lost."""

    def check(self) -> None:
        """Refuse what the log does not take.

        Raises:
            ConfigError: ``who`` or ``why`` is empty or too long.
        """
        for name, text, most in (("who", self.who, _WHO_CHARACTERS), ("why", self.why, _WHY_CHARACTERS)):
            if not text.strip() or len(text) > most:
                raise ConfigError(
                    f"{name} = {text[:60]!r} cannot be recorded for a move: 1 to {most} characters"
                )


@dataclass(frozen=True)
class MoveEntry:
    """An intent in the log."""

    number: int
    """Its place; larger than that of every entry before it."""
    intent: Intent
    seconds: float
    """When it was appended, since 1970, by the server's clock."""
    when: str
    """The same in UTC, ISO 8601."""
    settled: bool


class AliasLog(Protocol):
    """One model's log and aliases."""

    def entries(self) -> list[MoveEntry]:
        """The whole log in its order."""
        ...

    def append(self, intent: Intent, settled: bool) -> MoveEntry:
        """Put an intent at the end of the log; nobody else gets its number."""
        ...

    def settle(self, number: int) -> None:
        """Mark an entry as settled."""
        ...

    def pointed(self, alias: str) -> int | None:
        """Where an alias points; ``None``: nowhere."""
        ...

    def point(self, alias: str, version: int | None) -> None:
        """Point an alias, or remove it. Raises ``UnknownName`` when the version is gone."""
        ...


def fold(model: str, entries: Iterable[MoveEntry]) -> list[AliasMove]:
    """Return the outcome of every entry, in order (rule 2)."""
    state: dict[str, int | None] = {}
    seen: set[str] = set()
    last, moves = 0, []
    for entry in entries:
        intent, preceding, last = entry.intent, last, entry.number
        if intent.token in seen:
            continue
        seen.add(intent.token)
        before = state.get(intent.alias)
        effective = before == intent.expected and (intent.kind != "found" or intent.after == preceding)
        if effective:
            state[intent.alias] = intent.version
        moves.append(
            AliasMove(
                number=entry.number,
                model=model,
                alias=intent.alias,
                version=intent.version,
                previous=before,
                who=intent.who,
                when=entry.when,
                why=intent.why,
                kind=intent.kind,
                effective=effective,
            )
        )
    return moves


def folded(moves: Iterable[AliasMove], alias: str) -> int | None:
    """Where an alias points by its history."""
    state = None
    for move in moves:
        if move.effective and move.alias == alias:
            state = move.version
    return state


def move(model: str, ledger: AliasLog, intent: Intent, now: float) -> AliasMove:
    """Record an intent and make the aliases follow the log.

    Args:
        model: The model's name.
        ledger: Its log.
        intent: What is wanted; the caller has seen that the version exists.
        now: The time, in seconds since 1970.

    Raises:
        AliasMoved: The alias points elsewhere than was expected; the intent is in the log as void.
        ConfigError: ``who`` or ``why`` cannot be recorded.
        RegistryError: The log does not come to rest.
    """
    intent.check()
    _adopt(model, ledger, intent.alias, now)
    entry = ledger.append(intent, settled=False)
    moves = _converge(model, ledger, intent.alias)
    for other in ledger.entries():
        stale = other.intent.alias == intent.alias and now - other.seconds > STALE_SECONDS
        if not other.settled and (stale or other.intent.token == intent.token):
            ledger.settle(other.number)
    mine = next((move for move in moves if move.number == entry.number), None)
    if mine is None or not mine.effective:
        raise _moved(model, intent, moves if mine is None else moves[: moves.index(mine)])
    return mine


def _adopt(model: str, ledger: AliasLog, alias: str, now: float) -> None:
    """Rule 5: record where somebody has moved the alias without us."""
    for _ in range(_ROUNDS):
        before = ledger.entries()
        pointed, state = ledger.pointed(alias), folded(fold(model, before), alias)
        if pointed == state:
            return
        if ledger.entries() != before:
            continue
        if _explained(model, before, alias, pointed, now):
            return
        found = Intent(
            alias=alias,
            version=pointed,
            expected=state,
            who=UNKNOWN_PERSON,
            why="found so: it was moved without ganlib",
            kind="found",
            after=before[-1].number if before else 0,
        )
        ledger.append(found, settled=True)
    raise _too_many_moves(model, alias)


def _explained(model: str, entries: Sequence[MoveEntry], alias: str, pointed: int | None, now: float) -> bool:
    """Rule 6: whether a mover that is at work or died is why the alias differs from the log."""
    previous = {move.number: move.previous for move in fold(model, entries) if move.effective}
    return any(
        now - entry.seconds <= STALE_SECONDS or previous.get(entry.number, object()) == pointed
        for entry in entries
        if entry.intent.alias == alias and not entry.settled
    )


def _converge(model: str, ledger: AliasLog, alias: str) -> list[AliasMove]:
    """Rule 3; returns the history as it was then."""
    for _ in range(_ROUNDS):
        entries = ledger.entries()
        moves = fold(model, entries)
        state = folded(moves, alias)
        if ledger.pointed(alias) != state:
            try:
                ledger.point(alias, state)
            except UnknownName as error:
                _forget(ledger, alias, state, entries[-1].number, str(error))
                continue
        if [entry.number for entry in ledger.entries()] == [entry.number for entry in entries]:
            return moves
    raise _too_many_moves(model, alias)


def _forget(ledger: AliasLog, alias: str, version: int | None, after: int, why: str) -> None:
    """The log points to a version that was deleted since: record that it points nowhere."""
    found = Intent(alias, None, version, UNKNOWN_PERSON, why[:_WHY_CHARACTERS], "found", after)
    ledger.append(found, settled=True)


def _moved(model: str, intent: Intent, before: Sequence[AliasMove]) -> AliasMoved:
    last = next((m for m in reversed(before) if m.effective and m.alias == intent.alias), None)
    return AliasMoved(
        model,
        intent.alias,
        wanted=intent.version,
        expected=intent.expected,
        actual=last.version if last else None,
        moved=f": {last.who} moved it at {last.when} ({last.why})" if last else "",
    )


def _too_many_moves(model: str, alias: str) -> RegistryError:
    return RegistryError(
        f"alias {alias} of {model} was moved by others {_ROUNDS} times while this move was under way; "
        "find out who moves it, and ask again"
    )


def whoami() -> str:
    """This process's user and machine, as moves are signed with."""
    return f"{getpass.getuser()}@{platform.node()}"


def rollback_target(model: str, moves: Iterable[AliasMove], alias: str, pointed: int | None) -> int:
    """Where an alias was before its last move; a rollback takes a move back and is none itself.

    Args:
        model: The model's name.
        moves: Its history.
        alias: The alias.
        pointed: Where the alias points now, in case somebody moved it without us.

    Raises:
        RegistryError: It was nowhere before.
    """
    stack: list[int | None] = []
    for move in moves:
        if not move.effective or move.alias != alias:
            continue
        if move.kind == "rollback" and stack:
            stack.pop()
            # Versions that were nowhere in between are skipped by a rollback, and here.
            while stack and stack[-1] != move.version:
                stack.pop()
        if not stack or stack[-1] != move.version:
            stack.append(move.version)
    if not stack or stack[-1] != pointed:
        stack.append(pointed)
    earlier = [version for version in stack[:-1] if version is not None]
    if not earlier:
        at = "points nowhere" if pointed is None else f"has only ever pointed to version {pointed}"
        raise RegistryError(
            f"alias {alias} of {model} {at}: there is nothing to roll back to. See `ganlib model show "
            f"{model}`, and move it with `ganlib model promote {model}/VERSION --alias {alias} --why TEXT`"
        )
    return earlier[-1]
