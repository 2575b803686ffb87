"""The in-memory stand-in for the model registry; :mod:`ganlib.fakes.stores` offers it with the others."""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganlib.errors import UnknownName
from ganlib.names import check_alias, check_tags
from ganlib.ports import Publication
from ganlib.records import AliasMove, RegisteredGenerator
from ganlib.registry.aliases import Intent, MoveEntry, fold, move
from ganlib.registry.checksums import DIGEST_TAG, verify_listing, write_listing

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class MemoryVersion:
    """A version as :class:`MemoryRegistry` keeps it."""

    generator: nn.Module
    record: RegisteredGenerator
    files: dict[str, bytes]
    example: tuple[Tensor, ...]


@dataclass
class MemoryAliasLog:
    """A model's log and aliases; a step at a time is safe from several threads."""

    log: list[MoveEntry] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)
    versions: list[MemoryVersion] = field(default_factory=list)
    """The first is number 1."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def entries(self) -> list[MoveEntry]:
        """The whole log."""
        return list(self.log)

    def append(self, intent: Intent, settled: bool) -> MoveEntry:
        """Put an intent at the end of the log."""
        with self.lock:
            entry = MoveEntry(len(self.log) + 1, intent, time.time(), _now(), settled)
            self.log.append(entry)
            return entry

    def settle(self, number: int) -> None:
        """Mark an entry as settled."""
        with self.lock:
            known = self.log[number - 1]
            self.log[number - 1] = MoveEntry(number, known.intent, known.seconds, known.when, True)

    def pointed(self, alias: str) -> int | None:
        """Where an alias points."""
        return self.aliases.get(alias)

    def point(self, alias: str, version: int | None) -> None:
        """Point an alias, or remove it."""
        with self.lock:
            if version is None:
                self.aliases.pop(alias, None)
            else:
                self.aliases[alias] = version


class MemoryRegistry:
    """A :class:`~ganlib.ports.ModelRegistry` and ``ModelCatalog`` in a dictionary."""

    def __init__(self) -> None:
        self.ledgers: dict[str, MemoryAliasLog] = {}
        """Versions, aliases and their log, by model."""
        self._lock = threading.Lock()

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        return sorted(self.ledgers)

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        """The version an alias points to, or of that number. Raises ``UnknownName``."""
        ledger = self._ledger(model)
        if alias_or_version in ledger.aliases:
            number = ledger.aliases[alias_or_version]
            return self._record(ledger, number).model_copy(update={"alias": alias_or_version})
        for number in range(1, len(ledger.versions) + 1):
            if alias_or_version == str(number):
                return self._record(ledger, number)
        known = [*ledger.aliases, *(str(n) for n in range(1, len(ledger.versions) + 1))]
        raise UnknownName(f"version or alias of {model}", alias_or_version, known)

    def publish(self, publication: Publication) -> RegisteredGenerator:
        """Register a new version; no alias moves. Idempotent by run name.

        Raises:
            RegistryError: The generator does not turn latents into pictures.
        """
        from ganlib.registry.program import frozen_copy

        generator, _ = frozen_copy(publication)
        with self._lock:
            ledger = self.ledgers.get(publication.model) or MemoryAliasLog()
            for number, version in enumerate(ledger.versions, start=1):
                if version.record.tags["ganlib.run"] == publication.run:
                    return self._record(ledger, number)
            record = RegisteredGenerator(
                model=publication.model,
                version=len(ledger.versions) + 1,
                tracking_run_id=publication.tracking_run_id,
                created=_now(),
                tags={
                    **publication.tags,
                    "ganlib.run": publication.run,
                    DIGEST_TAG: _content_digest(generator, publication.files),
                },
            )
            kept = MemoryVersion(generator, record, dict(publication.files), publication.example())
            ledger.versions.append(kept)
            self.ledgers[publication.model] = ledger
            return record

    def load(self, generator: RegisteredGenerator) -> nn.Module:
        """The program itself: latents [batch, latent_dim] to pictures in [−1, 1]."""
        return copy.deepcopy(self._version(generator.model, generator.version).generator)

    def download(self, generator: RegisteredGenerator, folder: Path) -> None:
        """Write all files of a version, the exported program among them, into an empty folder."""
        from ganlib.registry.program import PROGRAM, write_program

        version = self._version(generator.model, generator.version)
        write_program(version.generator, version.example, folder / PROGRAM)
        for name, data in version.files.items():
            (folder / "files").mkdir(exist_ok=True)
            (folder / "files" / name).write_bytes(data)
        verify_listing(folder, write_listing(folder), f"{generator.model} version {generator.version}")

    def versions(self, model: str) -> list[RegisteredGenerator]:
        """All versions, the newest first. Raises ``UnknownName``."""
        ledger = self._ledger(model)
        return [self._record(ledger, number) for number in range(len(ledger.versions), 0, -1)]

    def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version. Raises ``UnknownName``, and ``ConfigError`` for tags nothing can have."""
        check_tags(tags)
        self._version(model, version).record.tags.update(tags)

    def files(self, generator: RegisteredGenerator) -> dict[str, bytes]:
        """What was published beside the program, by name."""
        return dict(self._version(generator.model, generator.version).files)

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
        """Move an alias if it points to ``expected`` by then (:mod:`ganlib.registry.aliases`).

        Raises:
            AliasMoved: It points elsewhere.
            UnknownName: There is no such model or version.
            ConfigError: The alias is a name that none can have, or who or why cannot be recorded.
        """
        check_alias(alias)
        intent = Intent(alias, version, expected, who, why, kind)
        intent.check()
        self._version(model, version)
        return move(model, self._ledger(model), intent, time.time())

    def history(self, model: str) -> list[AliasMove]:
        """Every move of the model's aliases, the oldest first. Raises ``UnknownName``."""
        return fold(model, self._ledger(model).entries())

    def _ledger(self, model: str) -> MemoryAliasLog:
        try:
            return self.ledgers[model]
        except KeyError:
            raise UnknownName("model", model, self.ledgers) from None

    def _version(self, model: str, number: int) -> MemoryVersion:
        versions = self._ledger(model).versions
        if not 1 <= number <= len(versions):
            raise UnknownName(f"version of {model}", str(number), (str(n + 1) for n in range(len(versions))))
        return versions[number - 1]

    def _record(self, ledger: MemoryAliasLog, number: int) -> RegisteredGenerator:
        aliases = tuple(sorted(a for a, v in ledger.aliases.items() if v == number))
        record = ledger.versions[number - 1].record
        return record.model_copy(update={"aliases": aliases, "tags": dict(record.tags)})


def _content_digest(generator: nn.Module, files: Mapping[str, bytes]) -> str:
    """Stands for the digest of the list of files, which the export is too slow to make each time."""
    digest = hashlib.sha256()
    for name, tensor in generator.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    for name, data in sorted(files.items()):
        digest.update(name.encode() + data)
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
