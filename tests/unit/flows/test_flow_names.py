from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import flows.retrain
from flows import stages
from flows.sweep import search_best, sweep

GIVEN: dict[str, Any] = {"recipe": "digits-wgan", "overrides": None, "name": None, "request": None}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "digits-wgan"),
        ({"request": "nightly"}, "digits-wgan nightly"),
        ({"name": "numbers"}, "numbers"),
        ({"overrides": {"name": "numbers", "seed": 1}}, "numbers"),
        ({"recipe": "no-such-recipe", "overrides": {"seed": "x"}}, "no-such-recipe"),
    ],
)
def test_a_flow_run_is_named_by_its_model_even_when_its_parameters_are_wrong(
    given: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.retrain, "flow_run", SimpleNamespace(parameters={**GIVEN, **given}))
    for flow in (flows.retrain.retrain, sweep):
        assert callable(flow.flow_run_name)
        assert flow.flow_run_name() == name


def test_a_task_run_is_named_by_its_stage_and_its_run() -> None:
    spec = SimpleNamespace(run="run-a", sweep="sweep-a")
    config = SimpleNamespace(dataset=SimpleNamespace(name="digits"))
    names = [
        str(task.task_run_name).format(spec=spec, config=config)
        for task in (
            stages.prepare,
            stages.pull,
            stages.train,
            stages.evaluate,
            stages.publish,
            stages.gate,
            search_best,
        )
    ]
    assert names == [
        "prepare digits",
        "pull run-a",
        "train run-a",
        "evaluate run-a",
        "publish run-a",
        "gate run-a",
        "sweep sweep-a",
    ]
