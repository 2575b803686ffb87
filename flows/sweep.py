"""The flow ``sweep``: trains many configurations of a recipe and publishes the best, if asked to.

As in :mod:`flows.retrain`, a task that is repeated finds its own finished work: a sweep that was
interrupted goes on where it was, and one that has ended is not trained again.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from flows.forms import RecipeChoice
from flows.log import JobLog, begin, tell
from flows.retrain import model_of_run
from flows.stages import ended_in_tracker, prepare, pull, register, train
from flows.timing import timed
from ganlib.cluster.launch import run_job
from ganlib.config.run import named
from ganlib.doctor.preflight import preflight
from ganlib.errors import JobFailed, ObjectMissing
from ganlib.quality.requirements import require_classes
from ganlib.records import DatasetVersion, Decision, Record, RegisteredGenerator, TrainResult
from ganlib.release.tags import require_publishable
from ganlib.report.table import as_markdown, result_summary
from ganlib.settings import load_settings
from ganlib.storage import open_store
from ganlib.sweep.load import load_sweep
from ganlib.sweep.records import SweepResult
from ganlib.sweep.space import parse_search
from ganlib.sweep.spec import (
    REQUEST,
    SweepSpec,
    as_best,
    read_sweep_result,
    sweep_spec,
    train_on,
    with_sweep_window,
    write_sweep_spec,
)
from ganlib.training.spec import RunSpec, count_classes, result_key


class Swept(Record):
    """Result of a run of the flow."""

    result: SweepResult
    dataset: DatasetVersion
    trained_on: TrainResult | None = None
    """The winner's own run to the recipe's full budget; ``None`` when it was not asked for."""
    generator: RegisteredGenerator | None = None
    """The registered generator; ``None`` when publishing was not asked for."""
    decision: Decision | None = None
    """The gate's decision; ``None`` when nothing was registered."""
    seconds: dict[str, float]
    """Wall time of each stage."""


@flow(name="sweep", flow_run_name=model_of_run)
def sweep(
    recipe: RecipeChoice = "fashion-mnist-wgan",
    overrides: dict[str, Any] | None = None,
    search: list[str] | None = None,
    options: dict[str, Any] | None = None,
    publish_best: bool = False,
    request: str | None = None,
    name: str | None = None,
) -> Swept:
    """Train several configurations of a recipe, and find out which of them generates best.

    Args:
        recipe: What to train: networks, objective, dataset and budget. `ganlib recipes` tells about each.
        overrides: Configuration fields to change in every trial, by dotted name.
        search: What differs between trials: ``["cadence.n_critic=1,2,5", "objective.clip=log:0.01:0.5"]``.
            Left out, critic steps and clip value.
        options: Fields of :class:`~ganlib.sweep.config.SweepConfig`: ``{"algorithm": "tpe", "trials": 24}``;
            ``{"train_on": true}`` trains the best on to the recipe's full budget afterwards.
        publish_best: Register the best generator, from the full budget when that was asked for.
        request: Distinguishes sweeps that are equal in everything else, which go on with one another.
        name: The name under which the best generator is registered, as in :func:`flows.retrain.retrain`.
    """
    settings = load_settings()
    config = load_sweep(recipe, named(overrides, name), parse_search(search or []), **(options or {}))
    preflight(settings, config.trial_config({}))
    seconds: dict[str, float] = {}
    with timed(seconds, "dataset"):
        dataset = prepare(config.base)
    count_classes(config.base, dataset)
    require_classes(config.base.evaluation, dataset)
    spec = with_sweep_window(open_store(settings), sweep_spec(config, dataset, request), dataset, settings)
    first = spec.trial(0, config.recipe_values())
    require_publishable(first, dataset)
    with timed(seconds, "pull"):
        pull(first)
    with timed(seconds, "sweep"):
        result = search_best(spec)
    done = Swept(result=result, dataset=dataset, seconds=seconds)
    run: RunSpec | None = None
    if config.train_on:
        with timed(seconds, "train"):
            run = train_on(open_store(settings), spec, result, dataset, request or REQUEST)
            pull(run)
            done = done.model_copy(update={"trained_on": train(run, publish_best)})
    if publish_best:
        # Handed on, not read back: another sweep may write the same run's spec under another name.
        generator, decision = _publish(run or as_best(spec, result), done)
        done = done.model_copy(update={"generator": generator, "decision": decision})
    return done


@task(task_run_name="sweep {spec.sweep}")
def search_best(spec: SweepSpec) -> SweepResult:
    """Run the sweep on the cluster, or go on with one that was interrupted."""
    settings = load_settings()
    store = open_store(settings)
    try:
        result = read_sweep_result(store, spec.sweep)
    except ObjectMissing:
        result = None
    if result is None or result.status != "finished":
        write_sweep_spec(store, spec)
        begin("sweep", "starting the job")
        tell(f"the job's whole log: ganlib logs {spec.sweep}")
        with JobLog() as lines, ended_in_tracker(settings, spec.tracking(settings.s3_bucket)):
            run_job(settings, f"{spec.sweep}-sweep", ["ganlib.jobs.sweep", spec.sweep], lines)
        result = read_sweep_result(store, spec.sweep)
    # The command line prints it at its end.
    get_run_logger().info("sweep %s: %s", spec.sweep, result_summary(result))
    create_markdown_artifact(as_markdown(result), key="swept", description=spec.sweep)
    if result.status != "finished":
        raise JobFailed(
            f"{spec.sweep}-sweep", "SUCCEEDED", f"the sweep is {result.status}: {result_summary(result)}"
        )
    return result


def _publish(run: RunSpec, done: Swept) -> tuple[RegisteredGenerator, Decision]:
    """Evaluate the winner in full and register it: as it was trained on, or as it was in the sweep."""
    trained, key = done.trained_on, result_key(run.run)
    if trained is None:
        trained = TrainResult.from_json(open_store(load_settings()).get(key), source=key)
    registered = register(run, trained, done.seconds)
    return registered.generator, registered.decision
