from __future__ import annotations

from typing import Any

import pytest
from sweeps import spec

from ganlib.errors import ConfigError
from ganlib.sweep.plan import plan_summary, room_for
from ganlib.sweep.records import SweepPlan

CPU2, GPU1 = {"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("options", "nodes", "cuda", "at_once"),
    [
        ({}, [CPU2], False, 2),
        ({"concurrency": 1}, [CPU2], False, 1),
        ({"cpus": 2}, [CPU2, {"CPU": 3.0}], False, 2),
        ({"workers": 2}, [CPU2, CPU2], False, 2),
        ({}, [CPU2, GPU1], True, 1),
        ({"gpus": 0.25}, [GPU1], True, 4),
        ({"gpus": 0.33}, [GPU1], True, 3),
        ({"gpus": 0.1}, [GPU1], True, 8),
        ({"gpus": 2, "workers": 2}, [{"CPU": 8.0, "GPU": 5.0}], True, 1),
    ],
)
def test_how_many_trials_find_room(
    options: dict[str, Any], nodes: list[dict[str, float]], cuda: bool, at_once: int
) -> None:
    assert room_for(spec(**options).config, nodes) == (cuda, at_once)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cpus": 4}, "1 times 4 CPUs, each on one node, and the cluster's nodes have 2 CPUs and 0 GPUs, 2"),
        ({"workers": 8}, "8 times 1 CPUs"),
    ],
)
def test_a_trial_that_would_never_find_room_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        room_for(spec(**options).config, [CPU2, CPU2])


def test_a_plan_is_a_line_for_a_person() -> None:
    plan = SweepPlan(
        sweep="s",
        trials=12,
        device="cpu",
        cpus_each=1,
        gpus_each=0,
        cluster_cpus=2,
        cluster_gpus=0,
        at_once=2,
    )
    assert plan_summary(plan) == (
        "12 trials on cpu, each needs 1 CPUs, the cluster has 2 CPUs and 0 GPUs: 2 at once"
    )
    nothing = plan.model_copy(update={"trials": 0})
    assert plan_summary(nothing) == "nothing is left to train; the cluster has 2 CPUs and 0 GPUs"
