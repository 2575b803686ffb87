"""A run that counts as trained and evaluated, without training: the flow goes on with it from there."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from ganlib.config.run import load_config
from ganlib.data.cache import pull
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.records import TrainResult
from ganlib.release.evaluation import Task, judge, share_of_task
from ganlib.settings import Settings
from ganlib.storage import open_store
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.build import fresh_state
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.spec import RunSpec, evaluation_key, result_key, run_draw, run_name, write_spec


def make_run(settings: Settings, recipe: str, overrides: Mapping[str, Any], *, spoiled: float) -> RunSpec:
    """Store the checkpoint, evaluation and result of the run that ``ganlib retrain`` would make.

    Args:
        settings: Of the stack.
        recipe: Its recipe.
        overrides: Changed fields of the recipe.
        spoiled: Factor on the untrained generator's weights: the larger, the worse its pictures.
    """
    store, config = open_store(settings), load_config(recipe, overrides)
    wanted = config.dataset
    preparation = Preparation(size=wanted.size, channels=wanted.channels, fit=wanted.fit)
    dataset = prepare(store, wanted.name, preparation, scratch=settings.scratch)
    spec = RunSpec(
        run=run_name(config, dataset, "manual"),
        config=config,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        code_version=version("ganlib"),
    )
    write_spec(store, spec)
    pull(store, dataset, settings.cache)
    state = fresh_state(config, dataset, torch.device("cpu"))
    with torch.no_grad():
        for parameter in state.average.parameters():
            parameter.mul_(spoiled)
    state.images_seen = 1000
    with Checkpoints(store, spec.run, config, (version("ganlib"), torch.__version__)) as checkpoints:
        checkpoints.save(state, 1, 1.0, 1.0)
        checkpoints.wait()
        best = checkpoints.best()
    assert best is not None
    task = Task(spec=spec, checkpoint=best, samples=config.evaluation.samples, draw=run_draw(spec.run))
    shares = [share_of_task(settings, store, task, rank) for rank in range(config.compute.workers)]
    evaluation = judge(settings, store, task, shares).evaluation
    tracker = MlflowTracker(settings)
    run_id = tracker.start(spec.tracking(settings.s3_bucket))
    tracker.finish(run_id, "finished")
    store.put(evaluation_key(spec.run), evaluation.to_json().encode())
    result = TrainResult(
        run=spec.run, tracking_run_id=run_id, status="finished", best=best, last=best, images_seen=1000
    )
    store.put(result_key(spec.run), result.to_json().encode())
    return spec
