"""DiffAugment against loops over single pixels, and what makes it repeatable."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import islice

import pytest
import torch
from test_loop import BATCH, dense_state, make_plan, pictures
from torch import Tensor

from ganlib.core.augmentation import DRAWS, Adaptive, DiffAugment, Views
from ganlib.core.checkpoint import dump_state, restore_state
from ganlib.core.loop import train
from ganlib.core.objectives import Hinge, NonSaturating
from ganlib.core.sampling import uniforms
from ganlib.core.steps import WorkerPlace

OFF = DiffAugment(colour=False, translation=False, cutout=False)
MOST = 1 - 2**-24
"""The largest number that a draw can be."""


def shown(count: int = 6, channels: int = 3, side: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, channels, side, side, generator=generator, dtype=torch.float64) * 2 - 1


def drawn(count: int = 6, seed: int = 2) -> Tensor:
    return uniforms(seed, "augment real", 0, count * DRAWS).view(count, DRAWS)


def by_hand(picture: Tensor, draws: list[float], policy: str) -> Tensor:
    """One policy on one picture [c, side, side], a pixel at a time."""
    channels, side, _ = picture.shape
    result = torch.zeros_like(picture)
    if policy == "colour":
        bright = picture + draws[1] - 0.5
        for row in range(side):
            for column in range(side):
                grey = sum(bright[:, row, column]) / channels
                result[:, row, column] = (bright[:, row, column] - grey) * 2 * draws[2] + grey
        mean = result.sum() / result.numel()
        return (result - mean) * (draws[3] + 0.5) + mean
    if policy == "translation":
        most = round(side / 8)
        down, right = (int(draw * (2 * most + 1)) - most for draw in draws[5:7])
        for row in range(side):
            for column in range(side):
                if 0 <= row - down < side and 0 <= column - right < side:
                    result[:, row, column] = picture[:, row - down, column - right]
        return result
    hole = side // 2
    top, left = (int(draw * (side + 1 - hole % 2)) - hole // 2 for draw in draws[8:10])
    for row in range(side):
        for column in range(side):
            if not (top <= row < top + hole and left <= column < left + hole):
                result[:, row, column] = picture[:, row, column]
    return result


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["colour", "translation", "cutout"])
def test_each_policy_does_to_every_pixel_what_its_paper_says(policy: str, channels: int) -> None:
    given, draws = shown(channels=channels), drawn()
    found = replace(OFF, **{policy: True}).change(given, draws, 1.0)
    expected = [by_hand(one, row, policy) for one, row in zip(given, draws.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-7)
    assert not torch.equal(found, given)


def test_all_policies_come_one_after_another_and_pass_the_gradient_on() -> None:
    given, draws = shown(count=2, side=6).requires_grad_(), drawn(2)
    found, expected = DiffAugment().change(given, draws, 1.0), given
    for policy in ("colour", "translation", "cutout"):
        expected = replace(OFF, **{policy: True}).change(expected, draws, 1.0)
    assert torch.equal(found, expected)
    assert torch.autograd.gradcheck(lambda it: DiffAugment().change(it, draws, 1.0), given)


def test_saturation_leaves_grey_pictures_alone() -> None:
    given, draws = shown(channels=1), drawn()
    other = draws.clone()
    other[:, 2] = 1 - other[:, 2]
    colour = replace(OFF, colour=True)
    torch.testing.assert_close(colour.change(given, draws, 1.0), colour.change(given, other, 1.0))
    assert not torch.allclose(colour.change(shown(), draws, 1.0), colour.change(shown(), other, 1.0))


@pytest.mark.parametrize(("draw", "moved"), [(0.0, -4), (MOST, 4)])
def test_a_picture_moves_by_an_eighth_of_its_side_at_the_most(draw: float, moved: int) -> None:
    given = torch.arange(1, 33.0).expand(1, 1, 32, 32)
    found = replace(OFF, translation=True).change(given, torch.full((1, DRAWS), draw), 1.0)
    row = found[0, 0, 16].tolist()
    assert row[16] == 17 - moved
    assert row.count(0) == 4, "0 moves in"


@pytest.mark.parametrize("side", [28, 32])
def test_the_largest_draw_stays_within_the_picture(side: int) -> None:
    found = replace(OFF, cutout=True).change(torch.ones(1, 1, side, side), torch.full((1, DRAWS), MOST), 1.0)
    assert int((found == 0).sum()) == (side // 4) ** 2, "a quarter of the hole is inside"


def test_policies_are_drawn_for_each_picture_with_their_probability() -> None:
    given, draws = shown(count=400, side=8), drawn(400)
    for probability in (0.0, 0.3, 1.0):
        changed = (DiffAugment().change(given, draws, probability) != given).flatten(1).any(1)
        assert float(changed.double().mean()) == pytest.approx(1 - (1 - probability) ** 3, abs=0.06)
    assert torch.equal(DiffAugment().change(given, draws, torch.tensor(0.0)), given)


def test_a_picture_sees_the_same_changes_on_any_number_of_workers() -> None:
    given = shown(count=BATCH)

    def seen(stream: str, step: int, workers: int = 1) -> Tensor:
        places = [WorkerPlace(rank, workers) for rank in range(workers)]
        views = [Views(DiffAugment(), dense_state(0), 3, BATCH, place.share) for place in places]
        return torch.cat(
            [view(place.share(given), stream, step) for view, place in zip(views, places, strict=True)]
        )  # type: ignore[arg-type]

    alone = seen("augment real", 5)
    assert torch.equal(seen("augment real", 5, workers=4), alone)
    for stream, step in (("augment real", 6), ("augment generated", 5), ("augment for generator", 5)):
        assert not torch.equal(seen(stream, step), alone)


def test_the_probability_rises_above_the_target_and_falls_below_it() -> None:
    rule, start = Adaptive(target=0.6, ramp_images=1000), torch.tensor(0.5, dtype=torch.float64)
    assert float(rule.move(start, torch.tensor(17.0), 20)) == pytest.approx(0.52)
    assert float(rule.move(start, torch.tensor(7.0), 20)) == pytest.approx(0.48)
    assert float(rule.move(start, torch.tensor(12.0), 20)) == 0.5, "12 of 20 is the target"
    assert float(rule.move(torch.tensor(0.999), torch.tensor(20.0), 20)) == 1
    assert float(rule.move(torch.tensor(0.001), torch.tensor(-20.0), 20)) == 0


@pytest.mark.parametrize("adaptive", [None, Adaptive(target=0.1, ramp_images=60)])
def test_an_augmented_run_resumes_to_the_bit(adaptive: Adaptive | None) -> None:
    augmentation = DiffAugment(probability=0.7, adaptive=adaptive)
    plan = replace(make_plan(6, n_critic=2), objective=Hinge(), augmentation=augmentation)
    whole, first, second = dense_state(0), dense_state(0), dense_state(99)
    curve = [float(p.critic_loss) for p in train(whole, pictures, plan)]
    before = [float(p.critic_loss) for p in islice(train(first, pictures, plan), 2)]
    restore_state(second, *dump_state(first))
    assert second.augmentation_probability == first.augmentation_probability
    assert [*before, *(float(p.critic_loss) for p in train(second, pictures, plan))] == curve
    assert dump_state(second)[0] == dump_state(whole)[0]


def test_an_adaptive_probability_follows_a_critic_that_learns_its_pictures_by_heart() -> None:
    """One batch for ever: the critic soon gives all of it positive scores."""
    state = dense_state(0)
    adaptive = DiffAugment(adaptive=Adaptive(ramp_images=40 * BATCH))
    plan = replace(make_plan(30, n_critic=4), objective=NonSaturating(), augmentation=adaptive)
    found = [
        float(vars(state)["augmentation_probability"]) for _ in train(state, lambda _: pictures(0), plan)
    ]
    assert found[0] < 0.11, "it begins at 0 and moves by a fortieth a step"
    assert max(found) > 0.3


def test_the_critic_alone_sees_changes_and_a_plain_run_has_no_probability() -> None:
    plan, plain, changed = make_plan(2, n_critic=1), dense_state(0), dense_state(0)
    start = copy.deepcopy(plain.generator)
    for state, augmentation in ((plain, None), (changed, DiffAugment())):
        for _ in train(state, pictures, replace(plan, objective=Hinge(), augmentation=augmentation)):
            pass
        assert b"augmentation" not in dump_state(state)[0][:10_000]
    pairs = zip(plain.generator.parameters(), changed.generator.parameters(), start.parameters(), strict=True)
    assert all(not torch.equal(one, other) and not torch.equal(one, was) for one, other, was in pairs)
