"""The in-memory stand-in for the model registry."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ganlib.errors import UnknownName
from ganlib.names import RUN_TAG, check_alias, check_tags
from ganlib.ports import Publication
from ganlib.records import AliasMove, RegisteredGenerator
from ganlib.registry.aliases import Intent, MoveEntry, fold, move
from ganlib.registry.checksums import DIGEST_TAG, verify_listing, write_listing
from ganlib.registry.claims import CLAIM_TAG, Claim, agree

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class MemoryVersion:
    """A version in a :class:`MemoryRegistry`."""

    generator: nn.Module
    record: RegisteredGenerator
    files: dict[str, bytes]
    example: tuple[Tensor, ...]
    description: str = ""


@dataclass
class MemoryAliasLog:
    """A model's versions, aliases and log; each method is atomic among threads."""

    log: list[MoveEntry] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)
    versions: dict[int, MemoryVersion] = field(default_factory=dict)
    """Versions by number, claims included."""
    last_version: int = 0
    """The last number given; no number is given twice."""
    lock: threading.RLock = field(default_factory=threading.RLock)

    def entries(self) -> list[MoveEntry]:
        """Return the whole log."""
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
        """Return the version that an alias points to."""
        return self.aliases.get(alias)

    def point(self, alias: str, version: int | None) -> None:
        """Point an alias, or remove it."""
        with self.lock:
            if version is None:
                self.aliases.pop(alias, None)
            else:
                self.aliases[alias] = version


class MemoryClaims:
    """The :class:`~ganlib.registry.claims.Claims` of one run in a :class:`MemoryAliasLog`."""

    def __init__(self, ledger: MemoryAliasLog, run: str) -> None:
        self._ledger, self._run = ledger, run

    def found(self) -> list[Claim]:
        """List the run's versions."""
        with self._ledger.lock:
            return [
                Claim(number, CLAIM_TAG not in version.record.tags)
                for number, version in self._ledger.versions.items()
                if version.record.tags[RUN_TAG] == self._run
            ]

    def create(self, publication: Publication, generator: nn.Module) -> None:
        """Create a version with the claim's mark."""
        files = publication.all_files()
        digest = _content_digest(generator, files)
        with self._ledger.lock:
            self._ledger.last_version += 1
            record = RegisteredGenerator(
                model=publication.model,
                version=self._ledger.last_version,
                tracking_run_id=publication.tracking_run_id,
                created=_now(),
                tags={**publication.all_tags(), DIGEST_TAG: digest, CLAIM_TAG: "true"},
            )
            version = MemoryVersion(generator, record, files, publication.example(), publication.description)
            self._ledger.versions[record.version] = version

    def confirm(self, number: int) -> None:
        """Remove a version's mark."""
        with self._ledger.lock:
            self._ledger.versions[number].record.tags.pop(CLAIM_TAG, None)

    def withdraw(self, number: int) -> None:
        """Delete a version; one that is gone is no error."""
        with self._ledger.lock:
            self._ledger.versions.pop(number, None)


class MemoryRegistry:
    """A :class:`~ganlib.ports.ModelRegistry` in a dictionary."""

    def __init__(self) -> None:
        self.ledgers: dict[str, MemoryAliasLog] = {}
        """Versions, aliases and their log, by model."""

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        return sorted(self.ledgers)

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        """Return the version that an alias points to, or that has a number. Raises ``UnknownName``."""
        ledger = self._ledger(model)
        if alias_or_version in ledger.aliases:
            number = ledger.aliases[alias_or_version]
            return self._record(ledger, number).model_copy(update={"alias": alias_or_version})
        numbers = [str(number) for number in self._numbers(ledger)]
        if alias_or_version in numbers:
            return self._record(ledger, int(alias_or_version))
        raise UnknownName(f"version or alias of {model}", alias_or_version, [*ledger.aliases, *numbers])

    def publish(self, publication: Publication) -> RegisteredGenerator:
        """Register a version; no alias moves. A run has one version (:mod:`ganlib.registry.claims`).

        Raises:
            RegistryError: The generator does not turn latents into pictures.
        """
        from ganlib.registry.program import frozen_copy

        generator, _ = frozen_copy(publication)
        ledger = self.ledgers.setdefault(publication.model, MemoryAliasLog())
        claims = MemoryClaims(ledger, publication.run)
        number = agree(claims)
        if number is None:
            claims.create(publication, generator)
            number = agree(claims)
            assert number is not None
        return self._record(ledger, number)

    def load(self, generator: RegisteredGenerator) -> nn.Module:
        """Load the program: latents [batch, latent_dim] to pictures in [−1, 1]."""
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
        """Return all versions, the newest first. Raises ``UnknownName``."""
        ledger = self._ledger(model)
        return [self._record(ledger, number) for number in reversed(self._numbers(ledger))]

    def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version. Raises ``UnknownName``, and ``ConfigError`` for an invalid tag."""
        check_tags(tags)
        self._version(model, version).record.tags.update(tags)

    def describe(self, model: str, version: int, markdown: str) -> None:
        """Replace the text that the version's page shows. Raises ``UnknownName``."""
        found = self._version(model, version)
        self._ledger(model).versions[version] = dataclasses.replace(found, description=markdown)

    def files(self, generator: RegisteredGenerator) -> dict[str, bytes]:
        """Return the files beside the program by name."""
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
        """Move an alias, provided that it still points to ``expected`` (:mod:`ganlib.registry.aliases`).

        Raises:
            AliasMoved: It points elsewhere.
            UnknownName: There is no such model or version.
            ConfigError: The alias is no valid name, or ``who`` or ``why`` cannot be recorded.
        """
        check_alias(alias)
        intent = Intent(alias, version, expected, who, why, kind)
        intent.check()
        self._version(model, version)
        return move(model, self._ledger(model), intent, time.time())

    def history(self, model: str) -> list[AliasMove]:
        """Return every move of the model's aliases, the oldest first. Raises ``UnknownName``."""
        return fold(model, self._ledger(model).entries())

    def _ledger(self, model: str) -> MemoryAliasLog:
        try:
            return self.ledgers[model]
        except KeyError:
            raise UnknownName("model", model, self.ledgers) from None

    def _version(self, model: str, number: int) -> MemoryVersion:
        ledger = self._ledger(model)
        if number not in (numbers := self._numbers(ledger)):
            raise UnknownName(f"version of {model}", str(number), map(str, numbers))
        return ledger.versions[number]

    def _numbers(self, ledger: MemoryAliasLog) -> list[int]:
        """Return the numbers of the versions that readers see, ascending."""
        with ledger.lock:
            return [n for n, version in ledger.versions.items() if CLAIM_TAG not in version.record.tags]

    def _record(self, ledger: MemoryAliasLog, number: int) -> RegisteredGenerator:
        aliases = tuple(sorted(a for a, v in ledger.aliases.items() if v == number))
        record = ledger.versions[number].record
        return record.model_copy(update={"aliases": aliases, "tags": dict(record.tags)})


def _content_digest(generator: nn.Module, files: Mapping[str, bytes]) -> str:
    """Stand in for the digest of the list of files: exporting the program for it would take too long."""
    digest = hashlib.sha256()
    for name, tensor in generator.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    for name, data in sorted(files.items()):
        digest.update(name.encode() + data)
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
