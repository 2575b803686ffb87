"""The values that the stages hand to one another.

Each stage takes one of these and returns the next; each is frozen, and crosses processes and
storage as JSON (:meth:`Record.to_json`, :meth:`Record.from_json`), never as a pickle. Names, counts and
sizes are bounded by their types (:mod:`ganlib.names`), since whoever can write to the object store can
write any JSON there.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ganlib.errors import DataError
from ganlib.names import (
    MAX_CLASSES,
    AliasName,
    CheckpointKey,
    ClassName,
    Count,
    DatasetName,
    RegisteredName,
    RunName,
    Sha256,
    ShardPath,
    TrackingRunId,
)

Split = Literal["train", "held_out"]
"""``train`` is what the critic sees; ``held_out`` is only ever compared against."""

MAX_JSON_BYTES = 64 * 2**20
"""Longest JSON that is parsed as a record."""

MAX_SHARDS = 100_000
"""Most shards of a dataset version."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, so it can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(value: Any) -> str:
    """SHA-256 of :func:`canonical_json`, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Record(BaseModel):
    """Base of the values below: frozen, no unknown fields, JSON in and out."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="constants", str_max_length=2**20
    )

    def to_json(self) -> str:
        """This value as indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "") -> Self:
        """The value that :meth:`to_json` wrote.

        Args:
            text: The JSON.
            source: Where it came from, for the message.

        Raises:
            DataError: It is not JSON, not of this shape, out of a field's bounds, or longer than
                :data:`MAX_JSON_BYTES`.
        """
        if len(text) > MAX_JSON_BYTES:
            raise DataError(
                f"{source or 'this JSON'} has {len(text):,} bytes; a {cls.__name__} has at most "
                f"{MAX_JSON_BYTES:,}"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the document"
            raise DataError(
                f"{source or 'this JSON'} is not a {cls.__name__}: {where}: {first['msg']}"
            ) from error


class Shard(Record):
    """One file of pictures: safetensors with ``images`` uint8 [n, c, h, w] and ``labels`` int64 [n]."""

    path: ShardPath
    split: Split
    images: int = Field(ge=1, le=2**20)
    bytes: int = Field(ge=1, le=2**30)
    """Size of the file."""
    sha256: Sha256


Channels = Annotated[int, Field(ge=1, le=3)]
Side = Annotated[int, Field(ge=1, le=1024)]


class DatasetVersion(Record):
    """A dataset prepared at one size: named by the content of its pictures.

    The digest covers shape, classes and shards and nothing else, so the same pictures prepared
    the same way have the same digest on any machine and under any name.
    """

    name: DatasetName
    digest: Sha256
    image_shape: tuple[Channels, Side, Side]
    """Channels, height, width."""
    classes: tuple[ClassName, ...] = Field(max_length=MAX_CLASSES)
    """Class names in the order of the labels; empty when the pictures have none (labels are 0)."""
    shards: tuple[Shard, ...] = Field(max_length=MAX_SHARDS)
    source: str = ""
    """Source of the raw pictures, for people; not part of the digest."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> DatasetVersion:
        for what, names in (
            ("class", self.classes),
            ("shard path", tuple(shard.path for shard in self.shards)),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is listed more than once")
        return self

    def count(self, split: Split) -> int:
        """Pictures in a split."""
        return sum(shard.images for shard in self.shards if shard.split == split)

    @property
    def prefix(self) -> str:
        """Key prefix of this version in the object store, without a trailing slash."""
        return f"datasets/{self.name}/{self.digest}"

    @staticmethod
    def digest_for(
        image_shape: tuple[int, int, int], classes: tuple[str, ...], shards: tuple[Shard, ...]
    ) -> str:
        """The digest of a version with this content."""
        return digest_of(
            {
                "format": 1,
                "image_shape": list(image_shape),
                "classes": list(classes),
                "shards": [[s.path, s.split, s.images, s.sha256] for s in shards],
            }
        )


Metric = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}\z")]
"""Name of a distance: ``fd_<extractor>``, or ``fid`` over the standard Inception network."""


class CheckpointRef(Record):
    """A complete checkpoint in the object store."""

    run: RunName
    """The run that trained it."""
    key: CheckpointKey
    images_seen: Count
    """The training clock: real pictures the critic has seen."""
    generator_steps: Count
    sha256: Sha256
    """SHA-256 of its tensor file."""


class CurvePoint(Record):
    """An evaluation during a run."""

    images_seen: Count
    distance: float
    """The metric ``<metric>_curve``."""
    seconds: float
    """Seconds in the loop, up to here."""


class TrainResult(Record):
    """The result of a training job."""

    run: RunName
    tracking_run_id: TrackingRunId
    status: Literal["finished", "failed"]
    reason: str = ""
    """Why it failed, for a person; empty when it finished."""
    best: CheckpointRef | None = None
    """The checkpoint with the smallest distance in the run."""
    last: CheckpointRef | None = None
    images_seen: Count = 0
    images_asked: Count = 0
    """Images of the budget; 0 in results from before it was kept."""
    seconds: float = 0.0
    """Seconds in the loop, over all attempts."""
    images_per_second: float = 0.0
    evaluating_seconds: float = 0.0
    """Seconds in which the loop waited for evaluations, in the last attempt."""
    saving_seconds: float = 0.0
    """Seconds in which it waited for checkpoints, in the last attempt."""
    images_lost: Count = 0
    """Images that had to be trained on again because workers died."""


class Copying(Record):
    """Distances of generated pictures to single training pictures (:mod:`ganlib.quality.copying`)."""

    samples: Count
    """Generated pictures that were looked up, and as many held-out ones."""
    generated_distance: float
    """Median distance of a generated picture to the training picture nearest to it."""
    held_out_distance: float
    """The same for held-out pictures that are not training pictures themselves; 0 when all of them are."""
    held_out_copies: Count = 0
    """Held-out pictures that are training pictures, and say nothing about new ones."""
    training_sample: Count = 0
    """Training pictures that they were compared with, where the cache had no room for all; 0: all."""

    @property
    def ratio(self) -> float:
        """About 1 or more when the generator makes pictures of its own; near 0 when it repeats some.

        NaN when it cannot be measured: there was no held-out picture to say how far new pictures are.
        """
        measurable = math.isfinite(self.generated_distance) and 0 < self.held_out_distance < math.inf
        return self.generated_distance / self.held_out_distance if measurable else math.nan


class Measures(Record):
    """How near a set of generated pictures is to a set of real ones; NaN where it was not measured."""

    metric: Metric
    """``fd_<extractor>``, or ``fid`` over the standard Inception network."""
    samples: Count
    """Generated pictures."""
    value: float
    """The Fréchet distance."""
    kernel_distance: float = math.nan
    """Unbiased; may be a little below 0."""
    kernel_distance_error: float = math.nan
    """Its standard error."""
    precision: float = math.nan
    """Share of generated pictures that lie among the real ones."""
    recall: float = math.nan
    """Share of real pictures that lie among the generated ones."""


class Evaluation(Record):
    """How far generated pictures are from held-out ones; smaller distances are better."""

    run: RunName
    checkpoint: CheckpointRef
    dataset_digest: Sha256
    measures: Measures
    """The trained generator's."""
    draw: Count = 1
    """Number of the draw of latents (:func:`ganlib.training.spec.run_draw`); 1 if an older ganlib made it."""
    value_untrained: float
    """The Fréchet distance before training; NaN when it was not asked for."""
    copying: Copying | None = None
    """``None`` in evaluations from before it was measured."""
    resizing: str = ""
    """The method by which pictures were scaled for the extractor."""
    seconds: float

    @model_validator(mode="before")
    @classmethod
    def _fold_measures(cls, values: Any) -> Any:
        """Accept the measures' fields beside the others, where an older ganlib stored them."""
        if not isinstance(values, Mapping) or "measures" in values:
            return values
        flat = {name: value for name, value in values.items() if name in Measures.model_fields}
        rest = {name: value for name, value in values.items() if name not in flat}
        return {**rest, "measures": flat}

    @property
    def metric(self) -> str:
        """Name of the Fréchet distance."""
        return self.measures.metric

    @property
    def value(self) -> float:
        """The trained generator's Fréchet distance."""
        return self.measures.value


Version = Annotated[int, Field(ge=1, le=2**53)]
"""Number of a version of a registered model."""


class Comparison(Record):
    """A candidate beside the champion: same latents, same held-out pictures, same session."""

    dataset_digest: Sha256
    candidate: Measures
    candidate_version: Version
    champion: Measures
    champion_version: Version
    difference: float
    """Candidate's kernel distance less the champion's; below 0 the candidate is better."""
    low: float
    """Lower end of the bootstrap interval of ``difference``."""
    high: float
    confidence: float


class Decision(Record):
    """Whether a candidate becomes the champion, and why."""

    promoted: bool
    reason: str
    """For a person: values and limits."""
    comparison: Comparison | None = None
    """``None`` when there was no champion to compare with."""


MoveKind = Literal["move", "rollback", "found"]
"""``rollback`` undoes a move; ``found`` was made outside ganlib and recorded when it was noticed."""


class AliasMove(Record):
    """A move of an alias, carried out or refused: an entry of a model's history."""

    number: int = Field(ge=1)
    """Position in the history."""
    model: RegisteredName
    alias: AliasName
    version: Version | None
    """The version that it points to afterwards; ``None``: nowhere, when it was found removed."""
    previous: Version | None
    """The version that it pointed to before; ``None``: nowhere."""
    who: str
    when: str
    """UTC, ISO 8601."""
    why: str
    kind: MoveKind = "move"
    effective: bool = True
    """Whether the alias was moved. ``False``: it pointed elsewhere than expected, so it stayed at
    ``previous`` instead of going to ``version``."""


class RegisteredGenerator(Record):
    """A version in the model registry."""

    model: RegisteredName
    version: Version
    alias: AliasName = ""
    """The alias it was resolved by or given; empty when asked for by number."""
    tracking_run_id: TrackingRunId
    aliases: tuple[AliasName, ...] = ()
    """All aliases that point to it, sorted."""
    created: str = ""
    """UTC, ISO 8601."""
    tags: dict[str, str] = Field(default_factory=dict)
    """``ganlib.run``, ``ganlib.dataset_digest``, ``ganlib.config_digest``, ``ganlib.metric``, …"""
