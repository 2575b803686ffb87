"""The values that the stages hand to one another.

Each stage takes one of these and returns the next; each is frozen, and crosses processes and
storage as JSON (:meth:`Record.to_json`, :meth:`Record.from_json`), never as a pickle.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ganlib.errors import DataError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in lower-case hexadecimal."""

Split = Literal["train", "held_out"]
"""``train`` is what the critic sees; ``held_out`` is only ever compared against."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text, so it can be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest_of(value: Any) -> str:
    """SHA-256 of :func:`canonical_json`, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


class Record(BaseModel):
    """Base of the values below: frozen, no unknown fields, JSON in and out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="constants")

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
            DataError: It is not JSON or not of this shape.
        """
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

    path: str
    """Below the version's folder, as in ``shards/train-00000.safetensors``."""
    split: Split
    images: int = Field(ge=1)
    bytes: int = Field(ge=1)
    sha256: Sha256


class DatasetVersion(Record):
    """A dataset prepared at one size: named by the content of its pictures.

    The digest covers shape, classes and shards and nothing else, so the same pictures prepared
    the same way have the same digest on any machine and under any name.
    """

    name: str
    digest: Sha256
    image_shape: tuple[int, int, int]
    """Channels, height, width."""
    classes: tuple[str, ...]
    """Class names in the order of the labels; empty when the pictures have none (labels are 0)."""
    shards: tuple[Shard, ...]
    source: str = ""
    """Where the raw pictures came from, for people; not part of the digest."""

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


class CheckpointRef(Record):
    """A complete checkpoint in the object store."""

    run: str
    """Run name."""
    key: str
    """Key prefix of its folder: ``runs/RUN/checkpoints/000001024000``."""
    images_seen: int = Field(ge=0)
    """The training clock: real pictures the critic has seen."""
    generator_steps: int = Field(ge=0)
    sha256: Sha256
    """Of its tensor file."""


class TrainResult(Record):
    """What a training job leaves behind."""

    run: str
    tracking_run_id: str
    status: Literal["finished", "failed"]
    reason: str = ""
    """Why it failed, for a person; empty when it finished."""
    best: CheckpointRef | None = None
    """The checkpoint with the smallest distance in the run."""
    last: CheckpointRef | None = None
    images_seen: int = 0
    seconds: float = 0.0
    """Seconds in the loop, over all attempts."""
    images_per_second: float = 0.0
    evaluating_seconds: float = 0.0
    """Seconds in which the loop waited for evaluations, in the last attempt."""
    saving_seconds: float = 0.0
    """Likewise for checkpoints."""
    images_lost: int = 0
    """Images that were trained on and, because workers died, had to be trained on again."""


class Evaluation(Record):
    """A distance between generated and held-out pictures, for the trained and the untrained generator."""

    run: str
    checkpoint: CheckpointRef
    dataset_digest: Sha256
    metric: str
    """``fd_<extractor>``."""
    samples: int
    value: float
    value_untrained: float
    seconds: float


class RegisteredGenerator(Record):
    """A version in the model registry."""

    model: str
    version: int
    alias: str = ""
    """The alias it was resolved by or given; empty when asked for by number."""
    tracking_run_id: str
    tags: dict[str, str] = Field(default_factory=dict)
    """``ganlib.run``, ``ganlib.dataset_digest``, ``ganlib.config_digest``, ``ganlib.metric``, …"""
