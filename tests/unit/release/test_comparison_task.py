from __future__ import annotations

from typing import Any

import pytest

from ganlib.config.run import load_config
from ganlib.errors import ObjectMissing
from ganlib.fakes.stores import MemoryStore
from ganlib.records import Comparison, Measures, RegisteredGenerator
from ganlib.release.comparison_task import ComparisonTask, find_comparison, read_task, write_task
from ganlib.training.spec import RunSpec


def version(number: int, run: str, model: str = "model") -> RegisteredGenerator:
    return RegisteredGenerator(model=model, version=number, tracking_run_id="t", tags={"ganlib.run": run})


def task(overrides: dict[str, Any] | None = None, **changes: Any) -> ComparisonTask:
    spec = RunSpec(
        run=changes.pop("run", "run-b"),
        config=load_config("digits-wgan", overrides),
        dataset_name="digits",
        dataset_digest=changes.pop("dataset_digest", "d" * 64),
        code_version="0",
    )
    made = ComparisonTask.of(spec, version(2, "run-b"), version(1, "run-a"))
    return made.model_copy(update=changes)


@pytest.mark.parametrize(
    "other",
    [
        task(run="run-c"),
        task(model="other"),
        task(candidate=3),
        task(champion=4),
        task(champion_run="run-z"),
        task(dataset_digest="e" * 64),
        task({"seed": 1}),
        task({"evaluation.samples": 99}),
        task({"evaluation.reference_images": 99}),
        task({"gate.resamples": 200}),
        task({"gate.confidence": 0.9}),
    ],
)
def test_job_and_result_are_named_after_all_that_the_result_depends_on(other: ComparisonTask) -> None:
    assert other.job != task().job
    assert other.result_key != task().result_key


def test_equal_tasks_share_job_and_result() -> None:
    first, second = task(), task({"compute.workers": 4, "gate.margin": 0.5})
    assert (first.job, first.result_key) == (second.job, second.result_key)
    assert first.job.startswith("run-b-compare-")


def test_the_second_of_two_equal_retrainings_finds_the_comparison() -> None:
    store, asked = MemoryStore(), task()
    assert find_comparison(store, asked) is None
    write_task(store, asked)
    assert read_task(store, "run-b", asked.digest) == asked
    numbers = Measures(metric="fd_test", samples=4, value=1.0)
    comparison = Comparison(
        dataset_digest="d" * 64,
        candidate=numbers,
        candidate_version=2,
        champion=numbers,
        champion_version=1,
        difference=-1.0,
        low=-2.0,
        high=-0.5,
        confidence=0.95,
    )
    store.put(asked.result_key, comparison.to_json().encode())
    found = find_comparison(store, task())
    assert found is not None
    assert found.difference == -1.0
    assert find_comparison(store, task(candidate=3)) is None


def test_a_task_that_nobody_wrote_is_an_error() -> None:
    with pytest.raises(ObjectMissing, match="comparisons/0123-task"):
        read_task(MemoryStore(), "run-b", "0123")
