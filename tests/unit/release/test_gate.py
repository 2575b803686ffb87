from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.config.parts import GateConfig
from ganlib.errors import RegistryError
from ganlib.fakes.stores import MemoryRegistry
from ganlib.ports import Publication
from ganlib.records import (
    CheckpointRef,
    Comparison,
    Copying,
    Decision,
    Evaluation,
    Measures,
    RegisteredGenerator,
)
from ganlib.release.gate import has_passed, pass_gate

MODEL = "model"
EVALUATION = Evaluation(
    run="run",
    checkpoint=CheckpointRef(
        run="run", key="runs/r/checkpoints/1", images_seen=1, generator_steps=1, sha256="0" * 64
    ),
    dataset_digest="d" * 64,
    measures=Measures(metric="fd_efficientnet_lite0", samples=100, value=200.0),
    value_untrained=900.0,
    copying=Copying(samples=64, generated_distance=1.0, held_out_distance=1.0),
    seconds=1.0,
)


class Grey(nn.Module):
    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.mean(dim=1)[:, None, None, None].expand(-1, 1, 4, 4)


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


def publish(registry: MemoryRegistry, run: str, **tags: str) -> RegisteredGenerator:
    return registry.publish(
        Publication(MODEL, run, "tracked", Grey(), 4, {"ganlib.image_shape": "1,4,4", **tags})
    )


def measures(distance: float) -> Measures:
    return Measures(
        metric="fd_efficientnet_lite0",
        samples=100,
        value=distance,
        kernel_distance=distance,
        kernel_distance_error=0.1,
        precision=0.5,
        recall=0.5,
    )


class Judge:
    """Compares by a table of distances, and remembers what it was asked."""

    def __init__(self, *distances: float, before: Callable[[], None] = lambda: None) -> None:
        self.distances, self.asked, self._before = distances, [], before

    def __call__(self, candidate: RegisteredGenerator, champion: RegisteredGenerator) -> Comparison:
        self.asked.append((candidate.version, champion.version))
        self._before()
        new, old = (self.distances[version.version - 1] for version in (candidate, champion))
        return Comparison(
            dataset_digest="d" * 64,
            candidate=measures(new),
            candidate_version=candidate.version,
            champion=measures(old),
            champion_version=champion.version,
            difference=new - old,
            low=new - old - 0.5,
            high=new - old + 0.5,
            confidence=0.95,
        )


def enter(registry: MemoryRegistry, candidate: RegisteredGenerator, judge: Judge) -> Decision:
    return pass_gate(registry, candidate, EVALUATION, GateConfig(), judge)


def champion(registry: MemoryRegistry) -> RegisteredGenerator:
    return registry.resolve(MODEL, "champion")


def test_the_first_version_becomes_champion_without_a_comparison(registry: MemoryRegistry) -> None:
    judge = Judge()
    assert enter(registry, publish(registry, "a"), judge).promoted
    assert champion(registry).version == 1
    assert champion(registry).tags["ganlib.gate.decision"] == "promoted"
    assert judge.asked == []
    [move] = registry.history(MODEL)
    assert (move.alias, move.version, move.previous) == ("champion", 1, None)
    assert move.why.startswith("gate: there was no champion")


def test_a_better_version_takes_its_place_and_both_say_so(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0)
    enter(registry, publish(registry, "a"), judge)
    assert enter(registry, publish(registry, "b"), judge).promoted
    assert champion(registry).version == 2
    tags, beaten = champion(registry).tags, registry.resolve(MODEL, "1").tags
    assert tags["ganlib.gate.champion"] == "1"
    assert float(tags["ganlib.gate.difference"]) == -4.0
    assert tags["ganlib.gate.interval"] == "-4.5 -3.5"
    assert beaten["ganlib.challenged.by"] == "2"
    assert beaten["ganlib.challenged.decision"] == "promoted"
    assert beaten["ganlib.gate.decision"] == "promoted", "its own decision stays"
    assert registry.history(MODEL)[-1].previous == 1


def test_a_worse_version_stays_outside_and_both_say_so(registry: MemoryRegistry) -> None:
    judge = Judge(5.0, 9.0)
    enter(registry, publish(registry, "a"), judge)
    decision = enter(registry, publish(registry, "b"), judge)
    assert not decision.promoted
    assert champion(registry).version == 1
    assert registry.resolve(MODEL, "2").tags["ganlib.gate.decision"] == "kept out"
    assert champion(registry).tags["ganlib.challenged.decision"] == "kept out"
    assert "the candidate is worse" in champion(registry).tags["ganlib.challenged.reason"]
    assert len(registry.history(MODEL)) == 1


def test_passing_again_changes_nothing(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0)
    enter(registry, publish(registry, "a"), judge)
    second = publish(registry, "b")
    first_decision = enter(registry, second, judge)
    moves = registry.history(MODEL)
    again = enter(registry, second, judge)
    assert again.promoted
    assert again.reason == first_decision.reason
    assert registry.history(MODEL) == moves
    assert judge.asked == [(2, 1)]


def test_a_version_has_passed_when_it_is_kept_out_or_was_the_champion(registry: MemoryRegistry) -> None:
    def passed(version: int) -> bool:
        return has_passed(registry, registry.resolve(MODEL, str(version)))

    judge = Judge(9.0, 5.0, 7.0)
    enter(registry, publish(registry, "a"), judge)
    publish(registry, "b")
    assert [passed(1), passed(2)] == [True, False]
    registry.tag(MODEL, 2, {"ganlib.gate.decision": "promoted"})
    assert not passed(2), "its process died before it moved the alias"
    enter(registry, registry.resolve(MODEL, "2"), judge)
    enter(registry, publish(registry, "c"), judge)
    registry.move(MODEL, "champion", 1, expected=2, who="somebody", why="a dislike", kind="rollback")
    assert [passed(1), passed(2), passed(3)] == [True, True, True]


def test_a_champion_that_changed_meanwhile_is_compared_anew(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0, 3.0)
    enter(registry, publish(registry, "a"), judge)
    second, third = publish(registry, "b"), publish(registry, "c")

    def other_publisher() -> None:
        judge._before = lambda: None
        enter(registry, third, judge)

    judge._before = other_publisher
    decision = enter(registry, second, judge)
    assert judge.asked == [(2, 1), (3, 1), (2, 3)]
    assert not decision.promoted
    assert champion(registry).version == 3
    assert registry.resolve(MODEL, "2").tags["ganlib.gate.champion"] == "3"


def test_a_champion_that_is_moved_all_the_time_is_an_error(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0, 8.0)
    enter(registry, publish(registry, "a"), judge)
    second, _ = publish(registry, "b"), publish(registry, "c")

    def meddle() -> None:
        here = champion(registry).version
        registry.move(MODEL, "champion", 4 - here, expected=here, who="somebody", why="for fun")

    judge._before = meddle
    with pytest.raises(RegistryError, match="moved by others 5 times"):
        enter(registry, second, judge)


def test_pictures_of_another_shape_are_not_compared(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0)
    enter(registry, publish(registry, "a"), judge)
    decision = enter(registry, publish(registry, "b", **{"ganlib.image_shape": "1,8,8"}), judge)
    assert not decision.promoted
    assert "its picture shape is 1,4,4 and the new one's 1,8,8" in decision.reason
    assert judge.asked == []


def test_another_dataset_does_not_take_over_a_champion(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0)
    digits = {"ganlib.dataset": "digits", "ganlib.dataset_digest": "a"}
    enter(registry, publish(registry, "a", **digits), judge)
    decision = enter(registry, publish(registry, "b", **{**digits, "ganlib.dataset": "squares"}), judge)
    assert not decision.promoted
    assert champion(registry).version == 1
    assert judge.asked == []
    assert "its dataset is digits and the new one's squares" in decision.reason
    assert "--name" in decision.reason
    [hint] = re.findall("`ganlib (.*?)`", decision.reason)
    assert CliRunner().invoke(app, shlex.split(hint), obj=lambda: registry).exit_code == 0, hint
    assert champion(registry).version == 2


def test_versions_of_one_dataset_are_compared_whatever_their_digests(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0)
    for run in ("a", "b"):
        tags = {"ganlib.dataset": "digits", "ganlib.dataset_digest": run * 64}
        decision = enter(registry, publish(registry, run, **tags), judge)
    assert decision.promoted
    assert judge.asked == [(2, 1)]


def test_a_candidate_that_fails_by_itself_is_not_compared(registry: MemoryRegistry) -> None:
    judge = Judge(9.0, 5.0)
    enter(registry, publish(registry, "a"), judge)
    copying = Copying(samples=64, generated_distance=0.1, held_out_distance=1.0)
    evaluation = EVALUATION.model_copy(update={"copying": copying})
    candidate = publish(registry, "b")
    assert not pass_gate(registry, candidate, evaluation, GateConfig(), judge).promoted
    assert judge.asked == []
