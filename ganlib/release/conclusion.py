"""The end of a training job: the run's own workers evaluate it, publish it and compare it with the champion.

They have dataset, extractor and weights in memory; a job for each of these would first have to start and
import. Each step leaves the record by which the flow's stage of the same name finds it done: the evaluation,
the registered version, the comparison. What is missing, because the job died or a service did not answer, the
flow's stages make up for. The gate's decision is the flow's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ganlib.cluster.lines import StageProgress
from ganlib.core.workers import barrier, gather_bytes
from ganlib.errors import GanlibError
from ganlib.generators.fetch import load
from ganlib.generators.loaded import LoadedGenerator
from ganlib.ports import ModelRegistry, ObjectStore
from ganlib.records import Record, RegisteredGenerator, TrainResult, Version
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.release.comparison import compared, log_pictures
from ganlib.release.comparison_task import ComparisonTask, write_comparison
from ganlib.release.decision import comparison_summary
from ganlib.release.evaluation import EvaluationOutcome, Task, evaluate_over_workers
from ganlib.release.evaluation_log import log_evaluation, summary
from ganlib.release.gate import champion_of, incomparable
from ganlib.release.publish import publish
from ganlib.release.registered import record_registered
from ganlib.release.run_page import complete_run_page
from ganlib.release.tags import known_tags
from ganlib.settings import Settings
from ganlib.storage import open_store
from ganlib.training.host import Host
from ganlib.training.spec import RunSpec, evaluation_key, find_evaluation, read_spec, run_draw


class _Plan(Record):
    """The work that is left after training."""

    task: Task
    publishing: bool
    """Whether the generator is to be published."""
    champion: Version | None
    """Version to draw from the evaluation's latents; ``None`` when there is none to compare with."""


@dataclass(frozen=True)
class Services:
    """The services that a worker needs at the end of a run."""

    store: ObjectStore
    registry: ModelRegistry
    load: Callable[[str], LoadedGenerator]
    """Loads a registered generator by its reference, ``NAME/VERSION``."""


def services_of(settings: Settings) -> Services:
    """The configured services, and this node's cache of generators."""
    return Services(open_store(settings), MlflowRegistry(settings), partial(load, settings=settings))


def conclude_run(services: Services, host: Host, result: TrainResult, *, publishing: bool) -> None:
    """Evaluate, publish and compare a trained run; called by all its workers once its result is written.

    A run that failed, or has its evaluation already, is left as it is.

    Args:
        services: Store and registry.
        host: This worker's host.
        result: The run's result.
        publishing: Whether to publish and compare, or to evaluate only.
    """
    place = host.place
    # Rank 0 alone knows the newest checkpoint; all must do the same work.
    plan = gather_bytes(_plan(services, host, result, publishing) if place.rank == 0 else b"", place)[0]
    if not plan:
        return
    wanted = _Plan.from_json(plan, source=f"the evaluation of {host.run}")
    champion = _champion_everywhere(services, wanted, host)
    if place.rank == 0:
        host.emit(StageProgress(stage="evaluate", note=f"{wanted.task.samples:,} pictures"))
    outcome = evaluate_over_workers(
        services.store, wanted.task, host.dataset, host.extractor, place, champion
    )
    if outcome is not None:
        _record(services, host, result, wanted, outcome)
    barrier()


def _plan(services: Services, host: Host, result: TrainResult, publishing: bool) -> bytes:
    """The work that is left, as JSON; empty when there is none."""
    store, run, checkpoint = services.store, result.run, result.best or result.last
    if result.status != "finished" or checkpoint is None:
        return b""
    done = find_evaluation(store, run)
    if done is not None and done.checkpoint == checkpoint:
        return b""
    spec = read_spec(store, run)
    task = Task(spec=spec, checkpoint=checkpoint, samples=spec.config.evaluation.samples, draw=run_draw(run))
    champion = _champion(services.registry, spec, host) if publishing else None
    version = None if champion is None else champion.version
    return _Plan(task=task, publishing=publishing, champion=version).to_json().encode()


def _champion(registry: ModelRegistry, spec: RunSpec, host: Host) -> RegisteredGenerator | None:
    """The champion that the run will be compared with, if there is one that it can be compared with."""
    try:
        champion = champion_of(registry, spec.config.model_name)
    except GanlibError as error:
        host.emit(f"warning: the champion is not known yet, and compared with later: {error}")
        return None
    if champion is None or incomparable(known_tags(spec, host.dataset.version), champion.tags):
        return None
    return champion


def _champion_everywhere(services: Services, plan: _Plan, host: Host) -> LoadedGenerator | None:
    """The champion's program, if every worker has it."""
    if plan.champion is None:
        return None
    reference = f"{plan.task.spec.config.model_name}/{plan.champion}"
    try:
        champion = services.load(reference)
    except Exception as error:  # noqa: BLE001  one worker without it must not leave the others waiting
        host.emit(f"warning: {reference} is compared with later: {error}")
        champion = None
    everywhere = all(gather_bytes(b"" if champion is None else b"loaded", host.place))
    return champion if everywhere else None


def _record(
    services: Services, host: Host, result: TrainResult, plan: _Plan, outcome: EvaluationOutcome
) -> None:
    """Record the evaluation, the version and the comparison; on rank 0 alone."""
    store, registry, spec, evaluation = services.store, services.registry, plan.task.spec, outcome.evaluation
    log_evaluation(host.tracker, host.tracking_run_id, evaluation, outcome.strip)
    complete_run_page(store, host.tracker, host.tracking_run_id, evaluation)
    store.put(evaluation_key(spec.run), evaluation.to_json().encode())
    host.emit(summary(evaluation))
    if not plan.publishing:
        return
    host.emit(StageProgress(stage="publish"))
    try:
        registered = publish(store, registry, spec, result, evaluation)
        record_registered(store, spec.run, registered)
        host.emit(f"published as {registered.model} version {registered.version}")
    except GanlibError as error:
        # The flow publishes what is not published, and its own failure stops it.
        host.emit(f"warning: the generator is published later: {error}")
        return
    _compare(services, host, plan, outcome, registered)


def _compare(
    services: Services, host: Host, plan: _Plan, outcome: EvaluationOutcome, registered: RegisteredGenerator
) -> None:
    """Record the comparison with the champion, if there was one."""
    spec, rival = plan.task.spec, outcome.rival
    if plan.champion is None or rival is None:
        return
    host.emit(StageProgress(stage="gate"))
    try:
        champion = services.registry.resolve(spec.config.model_name, str(plan.champion))
    except GanlibError as error:
        host.emit(f"warning: version {plan.champion} is compared with later: {error}")
        return
    task = ComparisonTask.of(spec, registered, champion)
    comparison = compared(task, outcome.evaluation.measures, rival.measures)
    log_pictures(host.tracker, host.tracking_run_id, task.champion, rival.pictures, rival.candidate_pictures)
    write_comparison(services.store, task, comparison)
    host.emit(f"version {task.candidate} against {task.champion}: {comparison_summary(comparison)}")
