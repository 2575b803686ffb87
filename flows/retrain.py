"""The flow ``retrain``: from raw pictures to a registered generator.

Each task takes a small frozen value and returns the next one; the work itself happens in
:mod:`ganlib`. A task that is repeated finds its own finished work: the dataset version, the running
job, the result in the object store, the registered version.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from flows.log import JobLog
from ganlib.build import count_classes
from ganlib.config import RunConfig, load_config
from ganlib.data.prepare import Preparation
from ganlib.data.prepare import prepare as prepare_dataset
from ganlib.errors import ObjectMissing, TrainingError, UnknownName
from ganlib.jobs.extractors import require_classes
from ganlib.jobs.publish import CHAMPION
from ganlib.jobs.publish import publish as publish_generator
from ganlib.jobs.pull import pull_here
from ganlib.jobs.spec import RunSpec, evaluation_key, result_key, run_name, write_spec
from ganlib.launch import run_job
from ganlib.ports import ObjectStore
from ganlib.preflight import preflight
from ganlib.records import DatasetVersion, Evaluation, Record, RegisteredGenerator, TrainResult
from ganlib.registry import MlflowRegistry
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store


class Retrained(Record):
    """What a run of the flow ends with."""

    generator: RegisteredGenerator
    dataset: DatasetVersion
    evaluation: Evaluation | None = None
    """``None`` when the run was skipped."""
    result: TrainResult | None = None
    skipped: str = ""
    """Why nothing was trained; empty when something was."""
    seconds: dict[str, float]
    """Wall time of each stage."""


@flow(name="retrain")
def retrain(
    recipe: str = "fashion-mnist-wgan",
    overrides: dict[str, Any] | None = None,
    request: str | None = None,
    force: bool = False,
) -> Retrained:
    """Retrain a recipe on its dataset and make the result the champion.

    Args:
        recipe: A name that ``ganlib recipes`` lists.
        overrides: Configuration fields to change, by dotted name: ``{"objective.clip": 0.05}``.
        request: Distinguishes runs of equal data and configuration. Left out, a scheduled run uses
            its slot and any other one ``manual``, so that a run which was interrupted goes on.
        force: Train even when data and configuration are those of the present champion.
    """
    settings = load_settings()
    config = load_config(recipe, overrides)
    preflight(settings, config)
    seconds: dict[str, float] = {}
    with _timed(seconds, "dataset"):
        dataset = prepare(config)
    count_classes(config, dataset)
    require_classes(config.evaluation, dataset)
    champion = None if force else _unchanged_champion(settings, config, dataset)
    if champion is not None:
        reason = (
            f"{champion.model} version {champion.version} was trained on this dataset "
            f"({dataset.digest[:12]}) with this configuration ({config.digest[:12]})"
        )
        get_run_logger().info("nothing to train: %s", reason)
        return Retrained(generator=champion, dataset=dataset, skipped=reason, seconds=seconds)
    spec = RunSpec(
        run=run_name(config, dataset, request or _default_request(force)),
        config=config,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        code_version=version("ganlib"),
    )
    with _timed(seconds, "pull"):
        pull(spec)
    with _timed(seconds, "train"):
        result = train(spec)
    with _timed(seconds, "evaluate"):
        evaluation = evaluate(spec)
    with _timed(seconds, "publish"):
        generator = publish(spec, result, evaluation)
    return Retrained(
        generator=generator, dataset=dataset, evaluation=evaluation, result=result, seconds=seconds
    )


@task
def prepare(config: RunConfig) -> DatasetVersion:
    """The dataset version that this configuration trains on, prepared if it was not."""
    settings = load_settings()
    wanted = config.dataset
    return prepare_dataset(
        open_store(settings),
        wanted.name,
        Preparation(size=wanted.size, channels=wanted.channels, fit=wanted.fit),
        scratch=settings.scratch,
    )


@task
def pull(spec: RunSpec) -> None:
    """Bring the shards to every node of the cluster."""
    settings = load_settings()
    write_spec(open_store(settings), spec)
    log = JobLog(get_run_logger())
    if "ray" in settings.own:
        run_job(settings, f"{spec.run}-pull", ["ganlib.jobs.pull", spec.run], log)
    else:
        # The embedded cluster is this machine, and starting a job on it takes longer than the shards.
        log(pull_here(spec.run))


@task
def train(spec: RunSpec) -> TrainResult:
    """Train on the cluster, or go on with a run that was interrupted."""
    settings = load_settings()
    store = open_store(settings)
    result = _finished_result(store, spec.run)
    if result is None:
        with JobLog(get_run_logger()) as log:
            run_job(settings, f"{spec.run}-train", ["ganlib.jobs.train", spec.run], log)
        result = TrainResult.from_json(store.get(result_key(spec.run)), source=result_key(spec.run))
    if result.status != "finished":
        raise TrainingError(result.reason)
    return result


@task
def evaluate(spec: RunSpec) -> Evaluation:
    """The distance of the trained and the untrained generator to the held-out split."""
    settings = load_settings()
    store = open_store(settings)
    key = evaluation_key(spec.run)
    try:
        return Evaluation.from_json(store.get(key), source=key)
    except ObjectMissing:
        run_job(
            settings, f"{spec.run}-evaluate", ["ganlib.jobs.evaluate", spec.run], JobLog(get_run_logger())
        )
    return Evaluation.from_json(store.get(key), source=key)


@task
def publish(spec: RunSpec, result: TrainResult, evaluation: Evaluation) -> RegisteredGenerator:
    """Register the generator, and make it the champion."""
    settings = load_settings()
    generator = publish_generator(open_store(settings), MlflowRegistry(settings), spec, result, evaluation)
    create_markdown_artifact(
        _summary(spec, result, evaluation, generator), key="retrained", description=spec.run
    )
    return generator


def _summary(
    spec: RunSpec, result: TrainResult, evaluation: Evaluation, generator: RegisteredGenerator
) -> str:
    rows: Mapping[str, str] = {
        "generator": f"{generator.model} version {generator.version} ({generator.alias})",
        "dataset": f"{spec.dataset_name} {spec.dataset_digest[:12]}",
        evaluation.metric: f"{evaluation.value:.1f}, untrained {evaluation.value_untrained:.1f}",
        "images seen": f"{result.images_seen:,}",
        "images a second": f"{result.images_per_second:,.0f}",
        "tracking run": result.tracking_run_id,
    }
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def _finished_result(store: ObjectStore, run: str) -> TrainResult | None:
    try:
        result = TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    except ObjectMissing:
        return None
    return result if result.status == "finished" else None


def _unchanged_champion(
    settings: Settings, config: RunConfig, dataset: DatasetVersion
) -> RegisteredGenerator | None:
    try:
        champion = MlflowRegistry(settings).resolve(config.recipe, CHAMPION)
    except UnknownName:
        return None
    same = (
        champion.tags.get("ganlib.dataset_digest") == dataset.digest
        and champion.tags.get("ganlib.config_digest") == config.digest
    )
    return champion if same else None


def _default_request(force: bool) -> str:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is not None and run.auto_scheduled and run.expected_start_time is not None:
        return run.expected_start_time.strftime("%Y%m%dt%H%M")
    if force and run is not None:
        return run.id.hex[:12]
    return "manual"


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[stage] = round(time.monotonic() - began, 2)
