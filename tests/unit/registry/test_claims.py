from __future__ import annotations

from collections.abc import Callable

import pytest
from turns import Turns

from ganlib.registry.claims import Claim, agree


class Versions:
    """The versions of one run in one model: number to whether it is confirmed."""

    def __init__(self, turns: Turns | None = None) -> None:
        self.confirmed: dict[int, bool] = {}
        self.last = 0
        self.ever_confirmed: set[int] = set()
        self._turns = turns or Turns(0, 0)

    def create(self) -> None:
        self._turns.step()
        self.last += 1
        self.confirmed[self.last] = False

    def found(self) -> list[Claim]:
        self._turns.step()
        return [Claim(*each) for each in reversed(self.confirmed.items())]

    def confirm(self, number: int) -> None:
        self._turns.step()
        self.confirmed[number] = True
        self.ever_confirmed.add(number)

    def withdraw(self, number: int) -> None:
        self._turns.step()
        self.confirmed.pop(number, None)


def publish(versions: Versions) -> int:
    number = agree(versions)
    if number is None:
        versions.create()
        number = agree(versions)
    assert number is not None
    return number


def test_without_a_version_there_is_nothing_to_agree_on() -> None:
    assert agree(Versions()) is None


def test_the_lowest_claim_is_confirmed_and_the_others_are_withdrawn() -> None:
    versions = Versions()
    for _ in range(3):
        versions.create()
    assert agree(versions) == 1
    assert versions.confirmed == {1: True}
    assert agree(versions) == 1


def test_confirmed_versions_are_never_withdrawn() -> None:
    versions = Versions()
    versions.last, versions.confirmed = 6, {5: True, 6: True}
    versions.create()
    assert agree(versions) == 5
    assert versions.confirmed == {5: True, 6: True}


def publishers(versions: Versions, answers: list[int], count: int) -> list[Callable[[], None]]:
    return [lambda: answers.append(publish(versions))] * count


@pytest.mark.parametrize("seed", range(80))
def test_publishers_agree_in_any_order_of_their_steps(seed: int) -> None:
    turns, answers = Turns(seed, deaths=0), list[int]()
    versions = Versions(turns)
    turns.run(publishers(versions, answers, 4))
    assert answers == [1] * 4
    assert versions.confirmed == {1: True}
    assert versions.ever_confirmed == {1}


@pytest.mark.parametrize("seed", range(80))
def test_publishers_that_die_at_any_step_leave_a_run_that_the_next_one_publishes(seed: int) -> None:
    turns, answers = Turns(seed, deaths=0.2), list[int]()
    versions = Versions(turns)
    turns.run(publishers(versions, answers, 4))
    assert publish(versions) == 1
    assert set(answers) <= {1}
    assert versions.confirmed == {1: True}
    assert versions.ever_confirmed == {1}
