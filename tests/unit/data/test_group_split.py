"""Whole groups are held out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from ganlib.data.split import (
    HELD_OUT_SHARE,
    MAX_CLASSES_SHARE,
    MAX_GROUPS_SHARE,
    MIN_GROUPS_SHARE,
    held_out_groups,
    split_groups,
)

SUBJECTS = {
    "p002": 725,
    "p012": 823, "p014": 876, "p015": 875, "p016": 1078, "p021": 1237, "p022": 1233, "p024": 1226,
    "p026": 1196, "p035": 848, "p039": 651, "p041": 605, "p042": 591, "p045": 724, "p047": 835, "p049": 1011,
    "p050": 790, "p051": 920, "p052": 740, "p056": 794, "p061": 809, "p064": 820, "p066": 1034, "p072": 346,
    "p075": 814, "p081": 823,
}  # fmt: skip


def one_class(sizes: dict[str, int]) -> dict[str, dict[int, int]]:
    return {group: {0: size} for group, size in sizes.items()}


def share(counts: dict[str, dict[int, int]], held_out: frozenset[str]) -> float:
    sizes = {group: sum(labels.values()) for group, labels in counts.items()}
    return sum(sizes[group] for group in held_out) / sum(sizes.values())


def test_about_a_tenth_of_the_drivers_is_held_out() -> None:
    counts = {name: dict.fromkeys(range(10), size // 10) for name, size in SUBJECTS.items()}
    held_out = held_out_groups(counts)
    assert held_out == {"p024", "p047", "p075"}
    assert MIN_GROUPS_SHARE <= share(counts, held_out) <= MAX_GROUPS_SHARE


def test_with_many_groups_the_share_is_a_tenth_and_groups_stay_where_they_are() -> None:
    counts = one_class({f"patient {number}": 1 + number % 7 for number in range(5000)})
    held_out = held_out_groups(counts)
    assert share(counts, held_out) == pytest.approx(HELD_OUT_SHARE, abs=0.015)
    more = counts | one_class({f"new {number}": 3 for number in range(1000)})
    assert held_out_groups(more) & counts.keys() == held_out
    grown = {group: {0: 2 * labels[0]} for group, labels in counts.items()}
    assert held_out_groups(grown) == held_out
    assert held_out_groups(dict(reversed(counts.items()))) == held_out


@pytest.mark.parametrize("number", range(2, 30))
def test_never_all_groups_are_held_out_and_never_none(number: int) -> None:
    for seed in range(40):
        sizes = np.random.default_rng(seed).integers(1, 1000, number)
        counts = one_class({f"{seed}-{index}": int(size) for index, size in enumerate(sizes)})
        held_out = held_out_groups(counts)
        assert 0 < len(held_out) < number
        assert len(held_out) == 1 or share(counts, held_out) <= MAX_GROUPS_SHARE


def test_a_single_group_is_trained_on() -> None:
    assert held_out_groups(one_class({"only": 9})) == frozenset()
    assert held_out_groups({}) == frozenset()


def test_of_two_groups_the_smaller_is_held_out() -> None:
    assert held_out_groups(one_class({"large": 900, "small": 100, "largest": 2000})) == {"small"}


def test_every_class_is_trained_on_and_held_out_where_groups_allow() -> None:
    for seed in range(30):
        counts = {
            f"{seed}-{label}-{group}": {label: 10} for label in range(4) for group in range(10)
        }  # 40 groups of one class each
        held_out = held_out_groups(counts)
        by_class = Counter(int(group.split("-")[1]) for group in held_out)
        assert set(by_class) == {0, 1, 2, 3}
        assert max(by_class.values()) < 10
        assert share(counts, held_out) <= MAX_CLASSES_SHARE


def test_the_last_group_of_a_class_is_trained_on() -> None:
    for seed in range(30):
        rare = {f"rare {seed}": {0: 1, 1: 1}}
        counts = one_class({f"{seed}-{group}": 10 for group in range(20)}) | rare
        assert not held_out_groups(counts) & rare.keys()


def test_pictures_follow_their_group_and_copies_do_not_cross() -> None:
    counts = one_class({f"g{number}": 10 for number in range(10)})
    (held,) = held_out_groups(counts)
    groups: list[str | None] = [group for group in counts for _ in range(10)]
    digests = [b"%d" % number for number in range(100)]
    first = groups.index(held)
    other = 0 if first else 10
    digests[first + 1] = digests[first]  # a copy within the group
    digests[first + 2] = digests[other]  # a copy in a group that is trained on
    labels = [0] * 100
    labels[first + 2] = labels[other + 1] = 1
    split = split_groups([*digests, b"free"], [*labels, 0], [*groups, None])
    assert split.copies == 1
    assert {groups[position] for position in split.held_out} == {held}
    assert len(split.held_out) == 8
    assert first + 2 in split.train
    assert 100 in split.train
    assert sorted(split.train + split.held_out) == [p for p in range(101) if p != first + 1]


def test_the_sides_do_not_depend_on_the_order() -> None:
    order = np.random.default_rng(0).permutation(300)
    groups = [f"g{number % 30}" for number in range(300)]
    digests = [b"%d" % (number // 2) for number in range(300)]
    straight = split_groups(digests, [0] * 300, groups)
    mixed = split_groups([digests[i] for i in order], [0] * 300, [groups[i] for i in order])
    assert {digests[p] for p in straight.held_out} == {digests[order[p]] for p in mixed.held_out}
    assert straight.copies == mixed.copies == 150
