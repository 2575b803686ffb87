from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_two_test_files_share_a_name() -> None:
    # pytest imports test files by their bare names: a second file of one name stops the run of all tiers
    # together, and of none by itself.
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))

    assert [name for name, count in names.items() if count > 1] == []


def test_whatever_trains_on_a_cluster_has_a_budget_of_jobs() -> None:
    tiers = [*(TESTS / "e2e").glob("test_*.py"), *(TESTS / "docs").glob("test_*.py")]
    assert len(tiers) > 3

    assert [path.name for path in tiers if "\nJOBS = " not in path.read_text()] == []
