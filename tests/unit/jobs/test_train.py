"""Whether a trained run is still to be evaluated by its workers."""

from __future__ import annotations

import pytest

from ganlib.config.run import load_config
from ganlib.fakes.stores import MemoryStore
from ganlib.jobs.train import _to_evaluate
from ganlib.records import CheckpointRef, Evaluation, Measures, TrainResult
from ganlib.release.evaluation import Task
from ganlib.training.spec import RunSpec, evaluation_key, write_spec


def checkpoint(images_seen: int) -> CheckpointRef:
    return CheckpointRef(
        run="run",
        key=f"runs/run/checkpoints/{images_seen:012d}",
        images_seen=images_seen,
        generator_steps=1,
        sha256="c" * 64,
    )


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    config = load_config("digits-wgan", {"evaluation.samples": 64})
    spec = RunSpec(run="run", config=config, dataset_name="digits", dataset_digest="d" * 64, code_version="0")
    write_spec(store, spec)
    return store


def result(best: int | None, *, status: str = "finished") -> TrainResult:
    return TrainResult.model_validate(
        {
            "run": "run",
            "tracking_run_id": "0" * 32,
            "status": status,
            "best": None if best is None else checkpoint(best).model_dump(),
            "last": checkpoint(900).model_dump(),
        }
    )


def evaluated(store: MemoryStore, images_seen: int) -> None:
    measures = Measures(
        metric="fd_classifier",
        value=1.0,
        kernel_distance=0.1,
        kernel_distance_error=0.01,
        precision=0.5,
        recall=0.5,
        samples=64,
    )
    evaluation = Evaluation(
        run="run",
        checkpoint=checkpoint(images_seen),
        dataset_digest="d" * 64,
        measures=measures,
        value_untrained=9.0,
        seconds=1.0,
    )
    store.put(evaluation_key("run"), evaluation.to_json().encode())


def test_the_best_checkpoint_is_evaluated_with_the_configured_samples(store: MemoryStore) -> None:
    task = Task.from_json(_to_evaluate(store, result(500)), source="test")
    assert (task.checkpoint, task.samples, task.draw, task.untrained) == (checkpoint(500), 64, 1, True)
    last = Task.from_json(_to_evaluate(store, result(None)), source="test")
    assert last.checkpoint == checkpoint(900)


def test_a_checkpoint_is_evaluated_once(store: MemoryStore) -> None:
    evaluated(store, 500)
    assert _to_evaluate(store, result(500)) == b""
    assert _to_evaluate(store, result(600)) != b"", "the run went on since"


def test_a_run_that_failed_is_not_evaluated(store: MemoryStore) -> None:
    assert _to_evaluate(store, result(500, status="failed")) == b""
