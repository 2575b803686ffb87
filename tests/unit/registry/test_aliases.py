from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from turns import Turns

from ganlib.errors import AliasMoved, ConfigError, RegistryError
from ganlib.fakes.registry import MemoryAliasLog
from ganlib.records import AliasMove
from ganlib.registry.aliases import STALE_SECONDS, Intent, MoveEntry, fold, folded, move, rollback_target

ALIAS = "champion"


def intent(version: int, expected: int | None, who: str = "anna") -> Intent:
    return Intent(ALIAS, version, expected, who, "because")


def now(ledger: MemoryAliasLog, later: float = 0.0) -> float:
    """The time at the end of the log."""
    return (ledger.log[-1].seconds if ledger.log else 0.0) + later


def shift(ledger: MemoryAliasLog, version: int, expected: int | None, later: float = 0.0) -> AliasMove:
    return move("m", ledger, intent(version, expected), now(ledger, later))


def history(ledger: MemoryAliasLog) -> list[AliasMove]:
    return fold("m", ledger.entries())


def test_a_move_takes_effect_and_says_who_when_and_why() -> None:
    ledger = MemoryAliasLog()
    first, second = shift(ledger, 1, None), shift(ledger, 3, 1)
    assert ledger.aliases == {ALIAS: 3}
    assert (first.number, first.previous, first.version) == (1, None, 1)
    assert (second.number, second.previous, second.version) == (2, 1, 3)
    assert (second.who, second.why, second.kind, second.effective) == ("anna", "because", "move", True)
    assert second.when >= first.when > "2026"
    assert history(ledger) == [first, second]
    assert all(entry.settled for entry in ledger.log)


def test_a_wrong_expectation_is_refused_with_the_one_who_moved_it_and_recorded() -> None:
    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    move("m", ledger, intent(2, 1, "berta@host"), now(ledger))
    with pytest.raises(AliasMoved, match=r"berta@host.*ganlib model show m") as caught:
        shift(ledger, 3, 1)
    assert (caught.value.expected, caught.value.actual, caught.value.wanted) == (1, 2, 3)
    assert ledger.aliases == {ALIAS: 2}
    refused = history(ledger)[-1]
    assert (refused.effective, refused.previous, refused.version) == (False, 2, 3)
    assert shift(ledger, 3, 2).effective


def test_aliases_do_not_disturb_one_another() -> None:
    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    move("m", ledger, Intent("challenger", 2, None, "anna", "new"), now(ledger))
    shift(ledger, 2, 1)
    assert ledger.aliases == {ALIAS: 2, "challenger": 2}


@pytest.mark.parametrize("field", [{"who": " "}, {"why": ""}, {"why": "x" * 2001}, {"who": "x" * 201}])
def test_who_and_why_must_be_said(field: dict[str, str]) -> None:
    ledger = MemoryAliasLog()
    with pytest.raises(ConfigError, match=next(iter(field))):
        move(
            "m",
            ledger,
            Intent(**{"alias": ALIAS, "version": 1, "expected": None, "who": "a", "why": "b", **field}),
            0,
        )  # type: ignore[arg-type]
    assert ledger.log == []


@pytest.mark.parametrize("elsewhere", [1, 4, None])
def test_a_move_without_ganlib_is_recorded_before_the_next_and_not_overwritten(elsewhere: int | None) -> None:
    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    shift(ledger, 2, 1)
    ledger.point(ALIAS, elsewhere)
    with pytest.raises(AliasMoved, match="unknown"):
        shift(ledger, 3, 2)
    assert ledger.aliases.get(ALIAS) == elsewhere
    found = history(ledger)[2]
    assert (found.who, found.kind, found.previous, found.version) == ("unknown", "found", 2, elsewhere)
    assert shift(ledger, 3, elsewhere).previous == elsewhere


def test_an_alias_from_before_the_log_is_taken_up() -> None:
    ledger = MemoryAliasLog(aliases={ALIAS: 5})
    assert shift(ledger, 6, 5).previous == 5
    assert [(found.kind, found.version) for found in history(ledger)] == [("found", 5), ("move", 6)]


def dead(ledger: MemoryAliasLog, version: int, expected: int | None) -> None:
    """What a mover leaves that dies right after appending."""
    ledger.append(intent(version, expected, "the late"), settled=False)


def test_what_a_dead_mover_wanted_is_done_by_the_next() -> None:
    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    dead(ledger, 2, 1)
    assert ledger.aliases == {ALIAS: 1}
    move("m", ledger, Intent(ALIAS, 3, 2, "anna", "next"), now(ledger))
    assert ledger.aliases == {ALIAS: 3}
    assert [found.kind for found in history(ledger)] == ["move", "move", "move"]


def test_long_after_a_death_only_the_old_place_is_put_down_to_it() -> None:
    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    dead(ledger, 2, 1)
    shift(ledger, 3, 2, later=STALE_SECONDS + 1)
    assert [found.kind for found in history(ledger)] == ["move", "move", "move"]
    assert all(entry.settled for entry in ledger.log)

    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    dead(ledger, 2, 1)
    ledger.point(ALIAS, 7)  # by hand, weeks later
    shift(ledger, 3, 7, later=STALE_SECONDS + 1)
    assert [(found.kind, found.version) for found in history(ledger)][2:] == [("found", 7), ("move", 3)]


def test_an_intent_that_was_sent_twice_counts_once() -> None:
    ledger = MemoryAliasLog()
    once = intent(1, None)
    ledger.append(once, settled=False)
    ledger.append(once, settled=False)
    shift(ledger, 2, 1)
    assert [(found.number, found.effective) for found in history(ledger)] == [(1, True), (3, True)]


def test_what_was_found_counts_only_while_nothing_else_happened() -> None:
    found = Intent(ALIAS, 7, 1, "unknown", "found so", "found", after=1)
    for between, effective in (([], True), ([intent(2, 1), intent(1, 2)], False)):
        ledger = MemoryAliasLog()
        for each in (intent(1, None), *between, found):
            ledger.append(each, settled=True)
        assert history(ledger)[-1].effective is effective


def test_a_version_that_was_deleted_under_the_alias_stops_nobody() -> None:
    class Deleted(MemoryAliasLog):
        def point(self, alias: str, version: int | None) -> None:
            from ganlib.errors import UnknownName

            if version == 2:
                raise UnknownName("version of m", "2", [])
            super().point(alias, version)

    ledger = Deleted()
    shift(ledger, 1, None)
    dead(ledger, 2, 1)
    with pytest.raises(AliasMoved):
        shift(ledger, 3, 1)
    assert ledger.aliases.get(ALIAS) is None
    shift(ledger, 3, None)
    assert ledger.aliases == {ALIAS: 3}


def test_rollback_goes_back_a_move_at_a_time() -> None:
    ledger = MemoryAliasLog()
    for version, expected in ((1, None), (2, 1), (3, 2)):
        shift(ledger, version, expected)
    for expected, target in ((3, 2), (2, 1)):
        assert rollback_target("m", history(ledger), ALIAS, expected) == target
        move("m", ledger, Intent(ALIAS, target, expected, "anna", "bad", "rollback"), now(ledger))
    with pytest.raises(RegistryError, match="nothing to roll back to"):
        rollback_target("m", history(ledger), ALIAS, 1)
    shift(ledger, 4, 1)
    assert rollback_target("m", history(ledger), ALIAS, 4) == 1


def test_rollback_knows_what_was_refused_and_what_was_done_by_hand() -> None:
    ledger = MemoryAliasLog()
    shift(ledger, 1, None)
    shift(ledger, 2, 1)
    with pytest.raises(AliasMoved):
        shift(ledger, 9, 1)
    assert rollback_target("m", history(ledger), ALIAS, 2) == 1
    assert rollback_target("m", history(ledger), ALIAS, 5) == 2
    assert rollback_target("m", history(ledger), ALIAS, None) == 2
    with pytest.raises(RegistryError, match="points nowhere"):
        rollback_target("m", [], ALIAS, None)


class Interleaved(MemoryAliasLog):
    """A log whose callers take turns at each of its steps."""

    def __init__(self, seed: int, deaths: float) -> None:
        super().__init__(aliases={ALIAS: 1})
        self.turns = Turns(seed, deaths)
        shift(self, 1, 1)

    def entries(self) -> list[MoveEntry]:
        self.turns.step()
        return super().entries()

    def append(self, intent: Intent, settled: bool) -> MoveEntry:
        self.turns.step()
        return super().append(intent, settled)

    def settle(self, number: int) -> None:
        self.turns.step()
        super().settle(number)

    def pointed(self, alias: str) -> int | None:
        self.turns.step()
        return super().pointed(alias)

    def point(self, alias: str, version: int | None) -> None:
        self.turns.step()
        super().point(alias, version)


@pytest.mark.parametrize("seed", range(60))
def test_of_movers_with_one_expectation_one_wins_in_any_order_of_their_steps(seed: int) -> None:
    ledger = Interleaved(seed, deaths=0)
    won: list[int] = []
    lost: list[int] = []

    def mover(version: int) -> Callable[[], None]:
        def run() -> None:
            try:
                move("m", ledger, intent(version, 1), ledger.log[0].seconds)
                won.append(version)
            except AliasMoved:
                lost.append(version)

        return run

    ledger.turns.run([mover(version) for version in (2, 3, 4)])
    moves = fold("m", ledger.log)
    assert len(won) == 1
    assert len(lost) == 2
    assert ledger.aliases[ALIAS] == won[0] == folded(moves, ALIAS)
    assert {found.version for found in moves if found.kind == "move"} >= {2, 3, 4}
    assert all(found.kind == "move" for found in moves[2:])
    assert all(entry.settled for entry in ledger.log)


@pytest.mark.parametrize("seed", range(60))
def test_moves_that_build_on_one_another_leave_the_alias_where_the_log_does(seed: int) -> None:
    ledger = Interleaved(seed, deaths=0)

    def mover(version: int) -> Callable[[], None]:
        def run() -> None:
            with contextlib.suppress(AliasMoved):
                move("m", ledger, intent(version, version - 1), ledger.log[0].seconds)

        return run

    ledger.turns.run([mover(version) for version in (2, 3, 4)])
    moves = fold("m", ledger.log)
    assert ledger.aliases[ALIAS] == folded(moves, ALIAS)
    built = [found.version for found in moves[1:] if found.effective]
    assert built == list(range(1, ledger.aliases[ALIAS] + 1))


@pytest.mark.parametrize("seed", range(60))
def test_movers_that_die_leave_a_log_that_the_next_one_carries_out(seed: int) -> None:
    ledger = Interleaved(seed, deaths=0.08)
    won: list[int] = []

    def mover(version: int) -> Callable[[], None]:
        def run() -> None:
            present = ledger.aliases.get(ALIAS)
            with contextlib.suppress(AliasMoved):
                won.append(move("m", ledger, intent(version, present), ledger.log[0].seconds).version or 0)

        return run

    ledger.turns.run([mover(version) for version in range(2, 7)])
    before = fold("m", ledger.log)
    effective = [found.version for found in before if found.effective and found.kind == "move"]
    assert set(won) <= set(effective)
    assert not [found for found in before[2:] if found.kind == "found"]
    state = folded(before, ALIAS)
    last = move("m", ledger, intent(9, state), ledger.log[0].seconds)
    assert last.previous == state
    assert ledger.aliases[ALIAS] == 9 == folded(fold("m", ledger.log), ALIAS)


@pytest.mark.parametrize("seed", range(40))
def test_moves_by_hand_in_between_never_leave_log_and_alias_apart(seed: int) -> None:
    ledger = Interleaved(seed, deaths=0)

    def mover(version: int) -> Callable[[], None]:
        def run() -> None:
            with contextlib.suppress(AliasMoved):
                move("m", ledger, intent(version, ledger.aliases.get(ALIAS)), ledger.log[0].seconds)

        return run

    def by_hand() -> None:
        ledger.point(ALIAS, 8)

    ledger.turns.run([mover(2), by_hand, mover(3)])
    if ledger.aliases[ALIAS] != folded(fold("m", ledger.log), ALIAS):
        assert ledger.aliases[ALIAS] == 8  # done last, and not seen by anybody yet
    move("m", ledger, intent(9, ledger.aliases[ALIAS]), ledger.log[0].seconds)
    assert ledger.aliases[ALIAS] == 9 == folded(fold("m", ledger.log), ALIAS)
