"""A run as its jobs find it: name, configuration, dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from typing import Annotated

from pydantic import Field

from ganlib.config.parameters import telling_fields
from ganlib.config.run import RunConfig, name_of
from ganlib.errors import ConfigError, DataError, ObjectMissing
from ganlib.names import DatasetName, RunName, Sha256
from ganlib.ports import ObjectStore, RunStart
from ganlib.records import MAX_SHARDS, CheckpointRef, DatasetVersion, Evaluation, Record, TrainResult

DIGEST_SHOWN = 12
"""Characters of a dataset's digest in a tracker's parameters; a tag has all."""


WINDOW_TAG = "ganlib.dataset_window"
"""A tracking run's tag that tells which way it takes to its pictures."""


def window_tag(window: int | None) -> str:
    """The value of :data:`WINDOW_TAG`."""
    return "whole" if window is None else f"{window} shard{'s' if window > 1 else ''}"


class RunSpec(Record):
    """Everything a job needs to know; kept at ``runs/RUN/spec.json``."""

    run: RunName
    config: RunConfig
    dataset_name: DatasetName
    dataset_digest: Sha256
    code_version: str = Field(max_length=64)
    """ganlib's version that wrote it."""
    adopt: CheckpointRef | None = None
    """Another run's checkpoint from which this one begins, instead of from untrained networks."""
    window_shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] | None = None
    """Training shards among which pictures are mixed at a time, where the nodes have no room for all;
    ``None``: each epoch is a permutation of all pictures. The run keeps it, as it keeps its seed."""

    def tracking(self, bucket: str, parent: str = "", searched: Iterable[str] = ()) -> RunStart:
        """Build what the tracker needs to begin this run.

        Args:
            bucket: The object store's bucket.
            parent: Id of the tracker's run that this one is a part of; empty: none.
            searched: Dotted fields that are parameters even at their defaults: those that a sweep varies.
        """
        return RunStart(
            experiment=self.config.recipe,
            name=self.run,
            params={
                **telling_fields(self.config, searched),
                "dataset.digest": self.dataset_digest[:DIGEST_SHOWN],
            },
            files={"config.json": self.config.model_dump_json(indent=2).encode()},
            tags={
                "ganlib.config_digest": self.config.digest,
                "ganlib.dataset_digest": self.dataset_digest,
                "ganlib.code_version": self.code_version,
                WINDOW_TAG: window_tag(self.window_shards),
            },
            dataset_name=self.dataset_name,
            dataset_digest=self.dataset_digest,
            dataset_source=f"s3://{bucket}/datasets/{self.dataset_name}/{self.dataset_digest}/manifest.json",
            parent=parent,
        )


def run_name(config: RunConfig, dataset: DatasetVersion, request: str) -> str:
    """A run's name. Raises as :func:`~ganlib.config.run.name_of`."""
    return name_of(config.recipe, dataset.digest, config.digest, request)


def result_key(run: str) -> str:
    """Object key of a run's :class:`~ganlib.records.TrainResult`."""
    return f"runs/{run}/result.json"


def find_result(store: ObjectStore, run: str) -> TrainResult | None:
    """A run's result, if its training has ended. Raises ``DataError`` when it is damaged."""
    try:
        return TrainResult.from_json(store.get(result_key(run)), source=result_key(run))
    except ObjectMissing:
        return None


def find_evaluation(store: ObjectStore, run: str) -> Evaluation | None:
    """A run's evaluation, if it has been made. Raises ``DataError`` when it is damaged."""
    try:
        return Evaluation.from_json(store.get(evaluation_key(run)), source=evaluation_key(run))
    except ObjectMissing:
        return None


def evaluation_key(run: str) -> str:
    """Object key of a run's :class:`~ganlib.records.Evaluation`."""
    return f"runs/{run}/evaluation.json"


def run_draw(run: str) -> int:
    """The draw of latents of a run's own evaluation and of its comparison with a champion.

    Each run has its own: a champion was chosen on the latents of its run, and would look too good on
    them. Draw 0 is that of all curves, and the draws of a sweep's finals are below 2¹⁶.
    """
    return 2**16 + int.from_bytes(hashlib.blake2b(run.encode(), digest_size=4).digest(), "big")


def write_spec(store: ObjectStore, spec: RunSpec) -> None:
    """Keep the spec where its jobs look for it."""
    store.put(f"runs/{spec.run}/spec.json", spec.to_json().encode())


def read_spec(store: ObjectStore, run: str) -> RunSpec:
    """The spec of a run.

    Raises:
        ConfigError: There is no such run.
        DataError: The spec cannot be read, or is another run's.
    """
    key = f"runs/{run}/spec.json"
    try:
        text = store.get(key)
    except ObjectMissing as error:
        raise ConfigError(f"there is no run {run!r}: the object store holds no {key}") from error
    spec = RunSpec.from_json(text, source=key)
    if spec.run != run:
        raise DataError(f"{key} is the specification of run {spec.run!r}; start the run again")
    return spec


def require_same_code(what: str, code_version: str) -> None:
    """Refuse work that another version of ganlib submitted.

    Raises:
        ConfigError: This process has another one.
    """
    if code_version != version("ganlib"):
        raise ConfigError(
            f"{what} was submitted by ganlib {code_version}, this cluster has {version('ganlib')}; install "
            "the same version on both"
        )


def count_classes(config: RunConfig, dataset: DatasetVersion) -> int:
    """Number of classes that the networks take as labels: 0 for unconditional ones.

    Raises:
        ConfigError: The networks are to be conditional, and the dataset has no classes.
    """
    if not config.network.conditional:
        return 0
    if not dataset.classes:
        raise ConfigError(
            f"network.conditional = True cannot be used: dataset {dataset.name} has no classes; "
            "add it again with a folder for each class, or train without labels"
        )
    return len(dataset.classes)
