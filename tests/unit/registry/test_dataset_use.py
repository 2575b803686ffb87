from __future__ import annotations

import pytest
import torch
from torch import nn

from ganlib.errors import UnknownName
from ganlib.fakes.registry import MemoryRegistry
from ganlib.ports import Publication
from ganlib.registry.dataset_use import trained_on, use_in_words


class Plain(nn.Module):
    """Latents [batch, 4] to pictures [batch, 1, 8, 8]."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(latents), 1, 8, 8)


@pytest.fixture
def registry() -> MemoryRegistry:
    made = MemoryRegistry()
    for model, run, tags in (
        ("one", "a", {"ganlib.dataset": "digits", "ganlib.dataset_digest": "1" * 64}),
        ("one", "b", {"ganlib.dataset": "digits-too", "ganlib.dataset_digest": "1" * 64}),
        ("one", "c", {"ganlib.dataset": "digits", "ganlib.dataset_digest": "2" * 64}),
        ("two", "d", {"ganlib.dataset_digest": "1" * 64}),
        ("two", "e", {}),
    ):
        made.publish(Publication(model, run, "", Plain(), 4, tags))
    made.move("one", "champion", 3, expected=None, who="tests", why="to see it")
    return made


def test_versions_are_found_by_name_and_without_one_by_digest(registry: MemoryRegistry) -> None:
    assert use_in_words(trained_on(registry, "digits", {"1" * 64})) == ["one/3 (champion)", "one/1", "two/1"]
    assert use_in_words(trained_on(registry, "digits")) == ["one/3 (champion)", "one/1"]
    assert trained_on(registry, "flowers", {"3" * 64}) == []


def test_of_many_the_first_are_named(registry: MemoryRegistry) -> None:
    found = trained_on(registry, "digits", {"1" * 64})
    assert use_in_words(found, most=1) == ["one/3 (champion)", "2 more"]


def test_a_model_that_goes_meanwhile_is_passed_over(
    registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = registry.versions

    def gone(model: str) -> object:
        if model == "one":
            raise UnknownName("model", model, [])
        return versions(model)

    monkeypatch.setattr(registry, "versions", gone)
    assert use_in_words(trained_on(registry, "digits", {"1" * 64})) == ["two/1"]
