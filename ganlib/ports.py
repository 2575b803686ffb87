"""Protocols for storage, tracking and registry; :mod:`ganlib.fakes` has an in-memory one of each.

A stage that needs storage, tracking or the registry takes one of these and never the library
behind it. The real ones are :mod:`ganlib.storage`, :mod:`ganlib.tracking.mlflow` and
:mod:`ganlib.registry.mlflow`; fakes and real ones pass the same tests in ``tests/contracts``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from ganlib.errors import ConfigError, DataError, ObjectReplaced
from ganlib.names import RUN_TAG, check_model_name, check_tags
from ganlib.records import AliasMove, RegisteredGenerator

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn


CLASSES_FILE = "classes.json"
"""A conditional version's file with the names of its classes, a JSON list in the order of the labels.

A tag would not do: its value may have 5,000 characters, and a thousand class names have more."""
CLASS_COUNT_TAG = "ganlib.class_count"
"""Tag with the number of classes of a conditional version."""


class ObjectInfo(NamedTuple):
    """One object in a listing."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Changes when the content changes; compare it for equality only."""


def range_refused(key: str, start: int, *, replaced: bool) -> DataError:
    """The error for a part of an object that cannot be read."""
    why = "it was replaced since it was listed" if replaced else f"it ends before byte {start:,}"
    kind = ObjectReplaced if replaced else DataError
    return kind(f"a part of {key} cannot be read: {why}; repeat the command")


class ObjectStore(Protocol):
    """Immutable objects under keys: what ganlib asks of S3."""

    def put(self, key: str, data: bytes | Path) -> None:
        """Store bytes, or a file's content, whole or not at all; an object of that key is replaced."""
        ...

    def copy(self, key: str, source: ObjectStore, info: ObjectInfo) -> None:
        """Store a copy of an object of a store of the same kind and place, without reading it where possible.

        Args:
            key: The copy's.
            source: Holds the object.
            info: The object as listed.

        Raises:
            ObjectMissing: It is gone.
            DataError: It was replaced since it was listed.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return an object's bytes. Raises :class:`~ganlib.errors.ObjectMissing`."""
        ...

    def get_range(self, key: str, start: int, length: int, *, etag: str = "") -> bytes:
        """Return ``length`` bytes of an object from position ``start`` on, fewer where it ends before.

        Args:
            key: The object.
            start: 0 to its size less 1.
            length: 1 or more.
            etag: The object must still have it; empty: any.

        Raises:
            ObjectMissing: There is no such object.
            DataError: It ends before ``start``, or has been replaced and has another ETag.
        """
        ...

    def stream(self, key: str, start: int, length: int) -> Generator[bytes, None, None]:
        """Give an object's bytes from position ``start`` on as they come, by one request without a retry.

        Args:
            key: The object.
            start: 0 to its size less 1.
            length: 1 or more.

        Yields:
            Pieces of any size but 0, ``length`` bytes in all: fewer where the object ends before.

        Raises:
            Interrupted: It broke off, maybe at once; what has been given is good, the rest may come later.
            ObjectMissing: There is no such object.
            DataError: It ends at or before ``start``.
        """
        ...

    def download(self, key: str, path: Path) -> None:
        """Bring an object into a new file, written beside and renamed. Raises ``ObjectMissing``."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """List the objects whose key starts with ``prefix``, each once, in no order that may be relied on.

        AWS lists by key, its directory buckets do not, and SeaweedFS lists folder by folder.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is no error."""
        ...


@dataclass(frozen=True)
class RunStart:
    """Facts about a run when it begins."""

    experiment: str
    """Group of runs in the tracker: the recipe's name."""
    name: str
    """The run name; starting a name again continues that run."""
    params: Mapping[str, str]
    """A few fields of the configuration, by dotted name: ``objective.clip`` → ``0.05``. MLflow lists
    them on every tile of pictures; the whole configuration is one of ``files``."""
    tags: Mapping[str, str]
    dataset_name: str
    dataset_digest: str
    dataset_source: str
    """Address of the prepared version, as a URI."""
    parent: str = ""
    """Id of the run that this one is a part of; empty: none."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Artifacts that are known at the start, by path: ``config.json``."""


RunStatus = Literal["finished", "failed", "killed"]


def check_picture(image: np.ndarray) -> None:
    """Check that an array is a picture.

    Raises:
        DataError: It is not uint8 [height, width] or [height, width, 3].
    """
    grey_or_rgb = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype.name != "uint8" or not grey_or_rgb or 0 in image.shape:
        raise DataError(
            f"a picture must be uint8 [height, width] or [height, width, 3], not "
            f"{image.dtype.name} {list(image.shape)}"
        )


class RunTracker(Protocol):
    """Curves and pictures of a run, keyed by the training clock in images."""

    def start(self, run: RunStart) -> str:
        """Begin a run, or continue the one of that experiment and name; returns its id."""
        ...

    def metrics(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Log values at ``step`` images; a metric already logged at or after ``step`` is left alone."""
        ...

    def points(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log values at several steps, in order, as :meth:`metrics` does for each."""
        ...

    def image(self, run_id: str, key: str, step: int, image: np.ndarray) -> None:
        """Log a picture, uint8 [height, width] or [height, width, 3], at ``step`` images; once per step."""
        ...

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """Attach a file to the run under ``path``."""
        ...

    def describe(self, run_id: str, markdown: str) -> None:
        """Replace the text that the run's page shows."""
        ...

    def finish(self, run_id: str, status: RunStatus) -> None:
        """End a run."""
        ...


@dataclass(frozen=True)
class Publication:
    """A generator to be registered.

    Raises:
        ConfigError: The registry would refuse the model's name, a tag or a file's name; this is known before
            anything is uploaded.
    """

    model: str
    """Registered model name."""
    run: str
    """Run name; publishing the same run again returns the version it already has."""
    tracking_run_id: str
    generator: nn.Module
    """In eval mode: latents float32 [batch, latent_dim], and labels int64 [batch] when it has classes, to
    pictures float32 [batch, c, h, w] in [−1, 1]."""
    latent_dim: int
    tags: Mapping[str, str]
    classes: tuple[str, ...] = ()
    """Class names in the order of the labels; empty for an unconditional generator."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """More files to keep beside the program, by name."""
    description: str = ""
    """Markdown, shown on the version's page in the registry, which takes its first 5,000 characters."""

    def example(self) -> tuple[Tensor, ...]:
        """Make an input for the generator: two latents, and two labels when it has classes.

        Two, because an example of one would fix an exported program's batch size at one.
        """
        import torch

        latents = torch.zeros(2, self.latent_dim)
        return (latents, torch.zeros(2, dtype=torch.int64)) if self.classes else (latents,)

    def all_files(self) -> dict[str, bytes]:
        """Return the files to store, the list of classes among them."""
        listed = {CLASSES_FILE: json.dumps(self.classes).encode()} if self.classes else {}
        return {**self.files, **listed}

    def all_tags(self) -> dict[str, str]:
        """Return the tags to set, the run's name and the number of classes among them."""
        count = {CLASS_COUNT_TAG: str(len(self.classes))} if self.classes else {}
        return {**self.tags, RUN_TAG: self.run, **count}

    def __post_init__(self) -> None:
        check_model_name(self.model)
        check_tags(self.all_tags())
        for name in self.files:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
                raise ConfigError(
                    f"{name!r} cannot be a file's name: letters, digits, '_', '.' and '-', as in 'grid.png'"
                )


class ModelRegistry(Protocol):
    """Registered generators and the aliases that point to them."""

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        ...

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        """Return the version that an alias points to, or that has a number.

        Raises :class:`~ganlib.errors.UnknownName` for a model, alias or version that does not exist.
        """
        ...

    def publish(self, publication: Publication) -> RegisteredGenerator:
        """Register a version; no alias moves.

        A run has one version, whoever publishes it and however often: everybody gets that version back. A
        publisher that dies leaves nothing that readers see or that stops the next one.
        """
        ...

    def load(self, generator: RegisteredGenerator) -> nn.Module:
        """Load the program, latents [batch, latent_dim] to pictures in [−1, 1]; no pickle is read.

        Raises :class:`~ganlib.errors.RegistryError` when files are gone, damaged or not ganlib's.
        """
        ...

    def download(self, generator: RegisteredGenerator, folder: Path) -> None:
        """Bring all files of a version, verified, into an empty folder. Raises as :meth:`load`."""
        ...

    def versions(self, model: str) -> list[RegisteredGenerator]:
        """Return all versions, the newest first, with their tags and aliases. Raises ``UnknownName``."""
        ...

    def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay. Raises ``UnknownName``."""
        ...

    def describe(self, model: str, version: int, markdown: str) -> None:
        """Replace the text that the version's page shows; the registry takes its first 5,000 characters.

        Raises ``UnknownName``.
        """
        ...

    def files(self, generator: RegisteredGenerator) -> dict[str, bytes]:
        """Return the files beside the program by name, verified. Raises as :meth:`load`."""
        ...

    def move(
        self,
        model: str,
        alias: str,
        version: int,
        *,
        expected: int | None,
        who: str,
        why: str,
        kind: Literal["move", "rollback"] = "move",
    ) -> AliasMove:
        """Move an alias, provided that it still points to ``expected`` (``None``: nowhere), and record it.

        Raises :class:`~ganlib.errors.AliasMoved` when it points elsewhere, and ``UnknownName``.
        """
        ...

    def history(self, model: str) -> list[AliasMove]:
        """Return every move of the model's aliases, the oldest first. Raises ``UnknownName``."""
        ...
