from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from ganlib.config.run import load_config
from ganlib.training.watch import Watch, share_at_bounds, spread


def watch(**rules: Any) -> Watch:
    return Watch(load_config("digits-wgan", {f"watch.{rule}": value for rule, value in rules.items()}))


def critic(*weights: float) -> nn.Module:
    layer = nn.Linear(len(weights), 1, bias=False)
    layer.weight.data = torch.tensor([weights])
    return layer


def test_the_share_at_the_bounds_counts_both_sides() -> None:
    assert share_at_bounds(critic(0.1, -0.1, 0.0999, 0.0), clip=0.1) == 0.5


def test_the_spread_is_that_of_pixels_between_samples() -> None:
    assert spread(torch.ones(5, 1, 2, 2)) == 0
    opposite = torch.stack([torch.ones(1, 2, 2), -torch.ones(1, 2, 2)])
    assert spread(opposite) == 1
    half = torch.cat([torch.ones(2, 1, 2, 1), opposite[:, :, :, :1]], dim=3)
    assert spread(half) == 0.5


def test_weights_at_the_bounds_raise_an_alarm_from_the_share_on() -> None:
    at_bounds = critic(0.1, -0.1, 0.1, 0.0)
    [alarm] = watch(critic_at_bounds="stop", critic_at_bounds_share=0.75).check(at_bounds, None)
    assert (alarm.rule, alarm.action) == ("watch.critic_at_bounds", "stop")
    assert "75.0% of the critic's weights sit at the clip bounds ±0.1" in alarm.text
    assert watch(critic_at_bounds_share=0.76).check(at_bounds, None) == []
    assert watch(critic_at_bounds="off", critic_at_bounds_share=0.1).check(at_bounds, None) == []


def test_without_clipping_there_are_no_bounds() -> None:
    rules = Watch(load_config("fashion-mnist-wgan-gp", {"watch.critic_at_bounds_share": 0.01}))
    assert rules.check(critic(0.01, 0.01), None) == []


def test_an_estimate_that_collapses_is_told_from_one_that_has_not_begun() -> None:
    rules = watch(collapsed_estimate_share=0.1)
    for estimates, alarms in (
        ((0.0, 0.0), 0),
        ((1.0, 3.0), 0),
        ((0.3, 0.3), 0),
        ((0.1, 0.2), 1),
        ((-1.0,), 1),
    ):
        for estimate in estimates:
            rules.add(estimate)
        assert len(rules.check(critic(0.0), None)) == alarms, estimates
    assert rules.peak == pytest.approx(2)
    assert rules.check(critic(0.0), None) == [], "nothing was seen since"


def test_the_peak_of_an_earlier_attempt_counts() -> None:
    rules = watch(collapsed_estimate="stop")
    rules.peak = 100.0
    rules.add(0.5)
    [alarm] = rules.check(critic(0.0), None)
    assert alarm.rule == "watch.collapsed_estimate"
    assert "fell to 0.5, below 1.0% of its largest, 100" in alarm.text


def test_samples_that_are_one_picture_raise_an_alarm() -> None:
    rules = watch(one_picture="stop", one_picture_spread=0.05)
    [alarm] = rules.check(critic(0.0), 0.01)
    assert (alarm.rule, alarm.action) == ("watch.one_picture", "stop")
    assert rules.check(critic(0.0), 0.06) == []
    assert rules.check(critic(0.0), None) == []
