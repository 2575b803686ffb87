"""The tasks of the flows: they take a small frozen value and return the next one.

The work itself happens in :mod:`ganlib`. A task that is repeated finds its own finished work: the
dataset version, the running job, the result in the object store, the registered version.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from flows.log import JobLog, begin, tell
from flows.timing import timed
from ganlib.cluster.launch import run_job
from ganlib.cluster.lines import marked
from ganlib.config.run import RunConfig
from ganlib.data.preparation import Preparation
from ganlib.errors import GanlibError, JobFailed, TrainingError
from ganlib.jobs.prepare_dataset import PictureCount, Prepared, prepare_anywhere
from ganlib.jobs.pull import pull_here
from ganlib.ports import RunStart
from ganlib.quality.requirements import require_held_out
from ganlib.records import Comparison, DatasetVersion, Decision, Evaluation, RegisteredGenerator, TrainResult
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.release.comparison_task import ComparisonTask, find_comparison, write_task
from ganlib.release.gate import pass_gate
from ganlib.release.registered import find_registered, record_registered
from ganlib.release.run_page import complete_run_page, describe_decision
from ganlib.release.tags import CHALLENGER, CHAMPION
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store
from ganlib.tracking.mlflow import MlflowTracker
from ganlib.training.spec import RunSpec, evaluation_key, find_evaluation, find_result, result_key, write_spec


class Registered(NamedTuple):
    """A trained run in the registry."""

    evaluation: Evaluation
    generator: RegisteredGenerator
    """Its alias says whether it is the champion or the challenger."""
    decision: Decision


def register(spec: RunSpec, result: TrainResult, seconds: dict[str, float]) -> Registered:
    """Evaluate a trained run, register its generator, and let it pass the gate; each stage is timed."""
    with timed(seconds, "evaluate"):
        evaluation = evaluate(spec)
    with timed(seconds, "publish"):
        generator = publish(spec, result, evaluation)
    with timed(seconds, "gate"):
        decision = gate(spec, generator, evaluation)
    generator = generator.model_copy(update={"alias": CHAMPION if decision.promoted else CHALLENGER})
    _summarize(spec, result, evaluation, generator, decision)
    return Registered(evaluation, generator, decision)


@task(task_run_name="prepare {config.dataset.name}")
def prepare(config: RunConfig) -> DatasetVersion:
    """The dataset version that this configuration trains on, prepared if it was not."""
    wanted = config.dataset
    version, _ = prepare_dataset(
        wanted.name,
        Preparation(size=wanted.size, channels=wanted.channels, fit=wanted.fit, background=wanted.background),
        wanted.most_refused,
    )
    require_held_out(version)  # now, since evaluating comes after all the training
    return version


def prepare_dataset(name: str, preparation: Preparation, most_refused: float) -> Prepared:
    """Prepare a dataset, on the cluster if it is large, with its progress in the flow's log."""
    begin("prepare")
    settings = load_settings()
    with JobLog() as lines:
        count = PictureCount(lambda said: lines(marked(said)))
        return prepare_anywhere(
            settings,
            open_store(settings),
            name,
            preparation,
            progress=count,
            on_line=lines,
            most_refused=most_refused,
        )


@task(task_run_name="pull {spec.run}")
def pull(spec: RunSpec) -> None:
    """Bring the shards to every node of the cluster."""
    begin("pull")
    settings = load_settings()
    write_spec(open_store(settings), spec)
    if "ray" in settings.own:
        with JobLog() as lines:
            run_job(settings, f"{spec.run}-pull", ["ganlib.jobs.pull", spec.run], lines)
    else:
        # The embedded cluster is this machine, and starting a job would take longer than the pull itself.
        tell(f"this machine has {pull_here(spec.run)}")


@task(task_run_name="train {spec.run}")
def train(spec: RunSpec, publishing: bool = True) -> TrainResult:
    """Train on the cluster, or go on with a run that was interrupted.

    With ``publishing``, the job's workers publish the generator and compare it with the champion, too.
    """
    settings = load_settings()
    store = open_store(settings)
    result = find_result(store, spec.run)
    if result is None or result.status != "finished":
        begin("train", "starting the job")
        tell(f"the job's whole log: ganlib logs {spec.run}")
        with JobLog() as lines, ended_in_tracker(settings, spec.tracking(settings.s3_bucket)):
            run_job(
                settings,
                f"{spec.run}-train",
                ["ganlib.jobs.train", spec.run, "publish" if publishing else "evaluate"],
                lines,
            )
        result = TrainResult.from_json(store.get(result_key(spec.run)), source=result_key(spec.run))
    if result.status != "finished":
        raise TrainingError(result.reason)
    return result


@contextmanager
def ended_in_tracker(settings: Settings, run: RunStart) -> Iterator[None]:
    """Around a job that tracks a run: when the job fails, the run ends too, even if the job was killed."""
    try:
        yield
    except JobFailed:
        try:
            MlflowTracker(settings).end_abandoned(run)
        except GanlibError as error:
            # The job's own failure matters more, and is raised.
            tell(f"run {run.name} stays RUNNING in MLflow: {error}", logging.WARNING)
        raise


@task(task_run_name="evaluate {spec.run}")
def evaluate(spec: RunSpec) -> Evaluation:
    """The distance of the trained and the untrained generator to the held-out split."""
    settings = load_settings()
    store = open_store(settings)
    found = find_evaluation(store, spec.run)
    if found is None:
        begin("evaluate")
        with JobLog() as lines:
            run_job(settings, f"{spec.run}-evaluate", ["ganlib.jobs.evaluate", spec.run], lines)
        key = evaluation_key(spec.run)
        found = Evaluation.from_json(store.get(key), source=key)
    return found


@task(task_run_name="publish {spec.run}")
def publish(spec: RunSpec, result: TrainResult, evaluation: Evaluation) -> RegisteredGenerator:
    """Register the generator as challenger, unless the training job has done it."""
    settings = load_settings()
    store, registry = open_store(settings), MlflowRegistry(settings)
    found = find_registered(store, registry, spec)
    if found is not None:
        return found
    begin("publish")
    # Imported here: it needs torch, and a flow that has nothing to publish must not wait for that.
    from ganlib.release.publish import publish as publish_generator

    # The run's page may lack what MLflow did not take while it was down.
    complete_run_page(store, MlflowTracker(settings), result.tracking_run_id, evaluation)
    registered = publish_generator(store, registry, spec, result, evaluation)
    record_registered(store, spec.run, registered)
    return registered


@task(task_run_name="gate {spec.run}")
def gate(spec: RunSpec, generator: RegisteredGenerator, evaluation: Evaluation) -> Decision:
    """Compare the generator with the present champion, and let it take that place if it is better."""
    begin("gate")
    settings = load_settings()
    store, registry = open_store(settings), MlflowRegistry(settings)

    def compare(candidate: RegisteredGenerator, champion: RegisteredGenerator) -> Comparison:
        task = ComparisonTask.of(spec, candidate, champion)
        found = find_comparison(store, task)
        if found is None:
            write_task(store, task)
            with JobLog() as lines:
                run_job(settings, task.job, ["ganlib.jobs.compare", spec.run, task.digest], lines)
            found = find_comparison(store, task)
        if found is None:
            raise JobFailed(task.job, "SUCCEEDED", f"it left no {task.result_key}")
        return found

    decision = pass_gate(registry, generator, evaluation, spec.config.gate, compare)
    describe_decision(store, MlflowTracker(settings), registry, spec, evaluation, generator, decision)
    outcome = "is the champion" if decision.promoted else "stays the challenger"
    # The command line prints the decision at its end.
    get_run_logger().info(
        "%s version %d %s: %s", generator.model, generator.version, outcome, decision.reason
    )
    return decision


def _summarize(
    spec: RunSpec,
    result: TrainResult,
    evaluation: Evaluation,
    generator: RegisteredGenerator,
    decision: Decision,
) -> None:
    asked = result.images_asked
    rows: Mapping[str, str] = {
        "generator": f"{generator.model} version {generator.version} ({generator.alias})",
        "dataset": f"{spec.dataset_name} {spec.dataset_digest[:12]}",
        evaluation.metric: f"{evaluation.value:.1f}, untrained {evaluation.value_untrained:.1f}",
        "images seen": f"{result.images_seen:,}" + (f" of {asked:,} asked for" if asked else ""),
        "images a second": f"{result.images_per_second:,.0f}",
        "tracking run": result.tracking_run_id,
        "gate": decision.reason,
    }
    table = "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    create_markdown_artifact(table, key="retrained", description=spec.run)
