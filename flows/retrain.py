"""The flow ``retrain``: from raw pictures to a registered generator.

Its stages are tasks (:mod:`flows.stages`) that find their own finished work when they are repeated.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import Any

from prefect import flow, get_run_logger
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from flows.forms import RecipeChoice
from flows.log import tell
from flows.stages import prepare, pull, register, train
from flows.timing import timed
from ganlib.config.run import RunConfig, load_config, named
from ganlib.doctor.preflight import preflight
from ganlib.errors import UnknownName
from ganlib.quality.requirements import require_classes
from ganlib.records import DatasetVersion, Decision, Evaluation, Record, RegisteredGenerator, TrainResult
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.release.gate import has_passed, incomparable
from ganlib.release.tags import CHALLENGER, CHAMPION, known_tags, require_publishable
from ganlib.settings import Settings, load_settings
from ganlib.storage import open_store
from ganlib.training.dataset import with_window
from ganlib.training.spec import RunSpec, count_classes, run_name


class Retrained(Record):
    """Result of a run of the flow."""

    generator: RegisteredGenerator
    dataset: DatasetVersion
    evaluation: Evaluation | None = None
    """``None`` when the run was skipped."""
    result: TrainResult | None = None
    decision: Decision | None = None
    """The gate's decision; ``None`` when the run was skipped."""
    skipped: str = ""
    """Why nothing was trained; empty when something was."""
    seconds: dict[str, float]
    """Wall time of each stage."""


def model_of_run() -> str:
    """The name of a flow run: the model's or else the recipe's, and what tells the run apart if given."""
    # It is computed before the parameters are checked, and must not end the run.
    given = flow_run.parameters
    name = given["name"] or (given["overrides"] or {}).get("name") or given["recipe"]
    return f"{name} {given['request']}" if given["request"] else str(name)


@flow(name="retrain", flow_run_name=model_of_run)
def retrain(
    recipe: RecipeChoice = "fashion-mnist-wgan",
    overrides: dict[str, Any] | None = None,
    request: str | None = None,
    force: bool = False,
    name: str | None = None,
) -> Retrained:
    """Retrain a recipe on its dataset, and make the result the champion if it beats the present one.

    Args:
        recipe: What to train: networks, objective, dataset and budget. `ganlib recipes` tells about each.
        overrides: Configuration fields to change, by dotted name: ``{"objective.clip": 0.05}``.
        request: Distinguishes runs of equal data and configuration. Left out, a scheduled run uses
            its slot and any other one ``manual``, so that a run which was interrupted goes on.
        force: Train even when data and configuration are those of the present champion or challenger.
        name: The registered model's name. Left out, the recipe's name on the recipe's own dataset, and
            ``RECIPE-DATASET`` on another one.
    """
    settings = load_settings()
    config = load_config(recipe, named(overrides, name))
    preflight(settings, config)
    seconds: dict[str, float] = {}
    with timed(seconds, "dataset"):
        dataset = prepare(config)
    count_classes(config, dataset)
    require_classes(config.evaluation, dataset)
    present = None if force else _unchanged(settings, config, dataset)
    if present is not None:
        reason = (
            f"{present.model} version {present.version} ({present.alias}) was trained on this dataset "
            f"({dataset.digest[:12]}) with this configuration ({config.digest[:12]})"
        )
        get_run_logger().info("nothing to train: %s", reason)
        return Retrained(generator=present, dataset=dataset, skipped=reason, seconds=seconds)
    started = RunSpec(
        run=run_name(config, dataset, request or _default_request(force)),
        config=config,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        code_version=version("ganlib"),
    )
    spec = with_window(open_store(settings), started, dataset, settings)
    require_publishable(spec, dataset)
    _warn_of_another_kind(settings, spec, dataset)
    with timed(seconds, "pull"):
        pull(spec)
    with timed(seconds, "train"):
        result = train(spec)
    registered = register(spec, result, seconds)
    return Retrained(
        generator=registered.generator,
        dataset=dataset,
        evaluation=registered.evaluation,
        result=result,
        decision=registered.decision,
        seconds=seconds,
    )


def _unchanged(settings: Settings, config: RunConfig, dataset: DatasetVersion) -> RegisteredGenerator | None:
    """The champion or, when it lost at the gate, the challenger, if it is what would be trained now."""
    registry = MlflowRegistry(settings)
    for alias in (CHAMPION, CHALLENGER):
        try:
            version = registry.resolve(config.model_name, alias)
        except UnknownName:
            continue
        same = (
            version.tags.get("ganlib.dataset_digest") == dataset.digest
            and version.tags.get("ganlib.config_digest") == config.digest
        )
        if same and (alias == CHAMPION or has_passed(registry, version)):
            return version
    return None


def _warn_of_another_kind(settings: Settings, spec: RunSpec, dataset: DatasetVersion) -> None:
    """Say before training that the gate will keep the result out, when the champion's tags tell."""
    model = spec.config.model_name
    try:
        champion = MlflowRegistry(settings).resolve(model, CHAMPION)
    except UnknownName:
        return
    if difference := incomparable(known_tags(spec, dataset), champion.tags):
        tell(
            f"what is trained now cannot become the champion of {model}: version {champion.version} stays, "
            f"since {difference}. Another --name gives it a model of its own",
            logging.WARNING,
        )


def _default_request(force: bool) -> str:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is not None and run.auto_scheduled and run.expected_start_time is not None:
        return run.expected_start_time.strftime("%Y%m%dt%H%M")
    if force and run is not None:
        return run.id.hex[:12]
    return "manual"
