"""A sweep as its job finds it: name, configuration, dataset; and the runs that are its trials."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated

from pydantic import Field

from ganlib.config.run import name_of
from ganlib.data.windows import window_of
from ganlib.errors import ConfigError, DataError, ObjectMissing
from ganlib.names import DatasetName, RunName, Sha256
from ganlib.ports import ObjectStore, RunStart
from ganlib.records import MAX_SHARDS, DatasetVersion, Record, TrainResult
from ganlib.settings import Settings
from ganlib.sweep.config import SweepConfig, values_of
from ganlib.sweep.records import Scalar, SweepResult, Trial, trial_run_name
from ganlib.training.dataset import keep_window
from ganlib.training.spec import (
    DIGEST_SHOWN,
    WINDOW_TAG,
    RunSpec,
    read_spec,
    result_key,
    run_name,
    window_tag,
)

REQUEST = "manual"
"""Default request name of a sweep."""


class SweepSpec(Record):
    """Everything the job of a sweep needs to know; kept at ``sweeps/SWEEP/spec.json``."""

    sweep: RunName
    config: SweepConfig
    dataset_name: DatasetName
    dataset_digest: Sha256
    code_version: str = Field(max_length=64)
    """ganlib's version that wrote it."""
    window_shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] | None = None
    """That of its trials; see :class:`~ganlib.training.spec.RunSpec`."""

    def tracking(self, bucket: str) -> RunStart:
        """How the tracker is to introduce the sweep: the parent of its trials."""
        return RunStart(
            experiment=self.config.base.recipe,
            name=self.sweep,
            params={
                **self.config.telling_fields(),
                "dataset.digest": self.dataset_digest[:DIGEST_SHOWN],
            },
            files={"config.json": self.config.model_dump_json(indent=2).encode()},
            tags={
                "ganlib.sweep": self.sweep,
                "ganlib.config_digest": self.config.digest,
                "ganlib.dataset_digest": self.dataset_digest,
                "ganlib.code_version": self.code_version,
                WINDOW_TAG: window_tag(self.window_shards),
            },
            dataset_name=self.dataset_name,
            dataset_digest=self.dataset_digest,
            dataset_source=f"s3://{bucket}/datasets/{self.dataset_name}/{self.dataset_digest}/manifest.json",
        )

    def trial(self, number: int, values: Mapping[str, Scalar]) -> RunSpec:
        """A trial as a run."""
        return RunSpec(
            run=trial_run_name(self.sweep, number),
            config=self.config.trial_config(values),
            dataset_name=self.dataset_name,
            dataset_digest=self.dataset_digest,
            code_version=self.code_version,
            window_shards=self.window_shards,
        )


def sweep_spec(config: SweepConfig, dataset: DatasetVersion, request: str | None = None) -> SweepSpec:
    """Return a sweep over a dataset version; an equal sweep has the same name and is continued.

    Args:
        config: The sweep.
        dataset: What its trials train on.
        request: Tells apart sweeps that are otherwise equal.

    Raises:
        ConfigError: ``request`` is not fit for a name.
    """
    return SweepSpec(
        sweep=sweep_name(config, dataset.digest, request or REQUEST),
        config=config,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        code_version=version("ganlib"),
    )


def with_sweep_window(
    store: ObjectStore, spec: SweepSpec, version: DatasetVersion, settings: Settings
) -> SweepSpec:
    """A sweep with the window that its nodes have room for, or with the one that it has begun with.

    Args:
        store: Holds the spec of the sweep, if it was started before.
        spec: The sweep.
        version: Its dataset.
        settings: Those of whoever starts the sweep; the nodes have the same bound of the cache.

    Raises:
        ConfigError: The cache is too small for as many trials as may train on a node at once.
        DataError: The spec of the sweep as it was begun is damaged.
    """
    if any(store.list(sweep_spec_key(spec.sweep))):
        window = read_sweep_spec(store, spec.sweep).window_shards
    else:
        config = spec.config
        # The cluster is not known here; sweep.concurrency tells where its nodes are larger than this machine.
        at_once = config.concurrency or max(1, (os.cpu_count() or 1) // (config.workers * config.cpus))
        runs = min(at_once, config.trials or at_once)
        size = config.base.batch_size
        window = window_of(version, settings.cache_bytes, batch_size=size, runs=runs)
    return spec.model_copy(update={"window_shards": window})


def write_sweep_spec(store: ObjectStore, spec: SweepSpec) -> None:
    """Keep the spec where its job looks for it."""
    store.put(sweep_spec_key(spec.sweep), spec.to_json().encode())


def read_sweep_spec(store: ObjectStore, sweep: str) -> SweepSpec:
    """The spec of a sweep.

    Raises:
        ConfigError: There is no such sweep.
        DataError: The spec cannot be read, or is another sweep's.
    """
    key = sweep_spec_key(sweep)
    try:
        text = store.get(key)
    except ObjectMissing as error:
        raise ConfigError(f"there is no sweep {sweep!r}: the object store holds no {key}") from error
    spec = SweepSpec.from_json(text, source=key)
    if spec.sweep != sweep:
        raise DataError(f"{key} is the specification of sweep {spec.sweep!r}; start the sweep again")
    return spec


def read_sweep_result(store: ObjectStore, sweep: str) -> SweepResult:
    """The result of a sweep so far.

    Raises:
        ObjectMissing: Its job has not begun.
        DataError: The result cannot be read, or is another sweep's.
    """
    key = sweep_result_key(sweep)
    result = SweepResult.from_json(store.get(key), source=key)
    require_own_trials(result, sweep, key)
    return result


def require_own_trials(result: SweepResult, sweep: str, key: str) -> None:
    """Refuse a stored result with trials of other sweeps: jobs write and delete below a trial's run name.

    Args:
        result: The result as it was read.
        sweep: Name of the sweep that it should belong to.
        key: Key of the object that held it.

    Raises:
        DataError: It is another sweep's, or a trial is not the sweep's trial of that number.
    """
    names = [trial_run_name(sweep, number) for number in range(len(result.trials))]
    if result.sweep != sweep or [trial.run for trial in result.trials] != names:
        raise DataError(
            f"{key} does not belong to sweep {sweep!r} alone; remove it and start the sweep again"
        )
    if [trial.number for trial in result.trials] != list(range(len(names))):
        raise DataError(f"{key} has its trials out of order; remove it and start the sweep again")


def as_best(spec: SweepSpec, result: SweepResult) -> RunSpec:
    """The winner's run with the configuration that its best checkpoint was trained with.

    The spec in the store has the last one: population-based training may have changed it since.

    Raises:
        ConfigError: The sweep has no winner.
    """
    winner = _winner(result)
    return spec.trial(winner.number, winner.settings)


def train_on(
    store: ObjectStore, spec: SweepSpec, result: SweepResult, dataset: DatasetVersion, request: str
) -> RunSpec:
    """The run that takes up a sweep's winner and trains it on to the recipe's full budget.

    An ordinary run of the recipe with the winner's values as overrides; its spec is not written yet.

    Raises:
        ConfigError: The sweep has no winner, or ``request`` is not fit for a name.
        DataError: What the winner left in the object store is damaged or gone.
    """
    trial = _winner(result)
    key = result_key(trial.run)
    last = TrainResult.from_json(store.get(key), source=key).last
    # What population-based training changed in mid-run is in the trial's spec.
    values = values_of(read_spec(store, trial.run).config, spec.config.search)
    config = spec.config.final_config(values)
    run = RunSpec(
        run=run_name(config, dataset, request),
        config=config,
        dataset_name=spec.dataset_name,
        dataset_digest=spec.dataset_digest,
        code_version=spec.code_version,
        adopt=last,
        window_shards=spec.window_shards,
    )
    return keep_window(store, run) or run


def sweep_name(config: SweepConfig, dataset_digest: str, request: str) -> str:
    """A sweep's name. Raises as :func:`~ganlib.config.run.name_of`."""
    return name_of(config.base.recipe, dataset_digest, config.digest, request)


def sweep_spec_key(sweep: str) -> str:
    """Where a sweep's specification lies."""
    return f"sweeps/{sweep}/spec.json"


def sweep_result_key(sweep: str) -> str:
    """Where a sweep's :class:`~ganlib.sweep.records.SweepResult` lies; rewritten as trials change."""
    return f"sweeps/{sweep}/result.json"


def sweep_state_key(sweep: str) -> str:
    """Where a sweep's job keeps what it needs to go on."""
    return f"sweeps/{sweep}/state.json"


def sweep_plan_key(sweep: str) -> str:
    """Where a sweep's :class:`~ganlib.sweep.records.SweepPlan` lies."""
    return f"sweeps/{sweep}/plan.json"


def _winner(result: SweepResult) -> Trial:
    if result.best is None:
        raise ConfigError(f"sweep {result.sweep} has no winner yet; run it to its end first")
    return result.trials[result.best]
