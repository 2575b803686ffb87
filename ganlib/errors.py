"""Every error that ganlib raises on purpose, as one tree.

::

    GanlibError                 a message for a person: the value, the limit, the remedy
    ├── ConfigError             a setting or a run configuration that cannot be used
    │   ├── SeveralProblems     several of them at once
    │   └── UnknownName         a recipe, dataset, model, alias or version that does not exist
    ├── ServiceError            a service that cannot be reached or refuses us
    │   └── RequestRefused      a service that works and refuses one request for good
    ├── ServiceNotStarted       an embedded service that did not come up
    ├── DataError               pictures that cannot be had or cannot be trusted
    │   ├── ObjectMissing       no object under that key
    │   ├── PictureRefused      one picture that cannot be used (ganlib.data.formats.entries)
    │   ├── DiskFull            a disk of this machine without room
    │   ├── DigestMismatch      bytes that are not the ones that were promised
    │   └── SourceUnavailable   a known dataset that could be had nowhere
    ├── TrainingError           a run that must not go on
    │   ├── NonFiniteLoss       a loss or weight that is no longer a number
    │   ├── DeadEnd             numbers that say that training on is of no use
    │   └── CheckpointRefused   a checkpoint that is damaged or from another run
    ├── JobFailed               a cluster job that ended without a result
    └── RegistryError           a generator that cannot be registered or fetched
        └── AliasMoved          an alias that somebody else has moved meanwhile

The command line prints ``str(error)`` and exits with :attr:`GanlibError.exit_code`; anything that
is not in this tree is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MOST_NAMES = 20
"""Most names that an error lists in full."""


class GanlibError(Exception):
    """Base of the tree."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # Ray carries a task's error to its caller; Python would call the constructor with the message alone.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[GanlibError], args: tuple[Any, ...], fields: dict[str, Any]) -> GanlibError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class ConfigError(GanlibError):
    """A setting or configuration field is refused; nothing was started."""

    exit_code = 2


class SeveralProblems(ConfigError):
    """Several settings or fields are refused, told in a line each.

    Args:
        problems: What is wrong, each as a sentence.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "".join([f"{len(self.problems)} problems:", *(f"\n  {text}" for text in self.problems)])
        )


def together(errors: Iterable[ConfigError]) -> ConfigError:
    """One error for one or more: the only one itself, or :class:`SeveralProblems`."""
    found = list(errors)
    if len(found) == 1:
        return found[0]
    texts = [error.problems if isinstance(error, SeveralProblems) else (str(error),) for error in found]
    return SeveralProblems(dict.fromkeys(text for some in texts for text in some))


class UnknownName(ConfigError):
    """A name that does not exist.

    Args:
        kind: What was asked for, in the singular: ``"recipe"``, ``"dataset"``, ``"model"``.
        name: The name as it was given.
        known: The names that exist; close ones are suggested first, and of many no others are told.
        remedy: What else helps, as a command or a sentence.
        close: The names to suggest; left out: those that are spelled alike.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        remedy: str = "",
        *,
        close: Iterable[str] | None = None,
    ) -> None:
        names = sorted(known)
        alike = list(difflib.get_close_matches(name, names, n=3, cutoff=0.5) if close is None else close)
        parts = [f"there is no {kind} {name!r}"]
        if alike:
            parts.append("close to it: " + ", ".join(alike))
        if len(names) <= _MOST_NAMES:
            parts.append("known: " + ", ".join(names) if names else f"no {kind} exists yet")
        elif not alike:
            parts.append(f"none of the {len(names):,} known is close to it")
        if remedy:
            parts.append(remedy)
        super().__init__("; ".join(parts))
        self.kind, self.name, self.known = kind, name, tuple(names)


class ServiceError(GanlibError):
    """A service cannot be reached, or refuses our credentials.

    Args:
        service: The service as the settings name it: ``"s3"``, ``"mlflow"``, ``"prefect"``, ``"ray"``.
        address: Where it was looked for.
        setting: The environment variable that says where.
        reason: What was seen, without secrets; a user and password inside a URL are left out.
    """

    def __init__(self, service: str, address: str, setting: str, reason: str) -> None:
        address, self.reason = without_userinfo(address), without_userinfo(reason).rstrip(". \n")
        super().__init__(
            f"{service} at {address} cannot be used: {self.reason}. "
            f"Start the embedded services with `ganlib up`, or correct {setting}"
        )
        self.service, self.address, self.setting = service, address, setting


class RequestRefused(ServiceError):
    """The service answers and refuses this one request; asking again gives the same answer."""

    def __init__(self, service: str, address: str, setting: str, reason: str) -> None:
        super().__init__(service, address, setting, reason)
        self.args = (f"{service} at {self.address} refuses this: {self.reason}",)


class Interrupted(ServiceError):
    """A request failed for a moment: a timeout, a reset, a 5xx; repeated, the same may succeed."""


def without_userinfo(text: str) -> str:
    """The text with ``user:password@`` taken out of every URL in it."""
    return re.sub(r"(?<=://)[^/\s@]*@", "", text)


class ServiceNotStarted(GanlibError):
    """An embedded service did not come up; what this `ganlib up` had started was ended again.

    Args:
        service: ``"s3"``, ``"mlflow"``, ``"prefect"``, ``"ray"`` or ``"worker"``.
        reason: What was seen.
        log: Its log.
        lines: The log's last lines, without secrets.
    """

    def __init__(self, service: str, reason: str, log: Path, lines: Iterable[str] = ()) -> None:
        tail = "".join(f"\n    {line}" for line in lines)
        super().__init__(
            f"{service} did not start: {reason}. Its log is {log}"
            + (f", which ends with{tail}" if tail else "")
        )
        self.service, self.log = service, log


class DataError(GanlibError):
    """Pictures that cannot be had or cannot be trusted."""


class ObjectReplaced(DataError):
    """An object of the store has other content than when it was listed."""


class ObjectMissing(DataError):
    """The object store holds nothing under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the object store holds no {key!r}")
        self.key = key


class DiskFull(DataError):
    """A disk of this machine has no room left.

    Args:
        folder: A folder on that disk.
        free_bytes: Its free space.
        needed_bytes: The space that is needed.
    """

    def __init__(self, folder: Path, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"the disk of {folder} is full: {free_bytes / 1e6:,.0f} MB are free and "
            f"{needed_bytes / 1e6:,.0f} MB are needed; make room there, or set GANLIB_HOME to another disk"
        )
        self.folder, self.free_bytes, self.needed_bytes = folder, free_bytes, needed_bytes


class DigestMismatch(DataError):
    """Bytes differ from the digest they were promised under; they were not kept."""

    def __init__(self, what: str, expected: str, actual: str) -> None:
        super().__init__(
            f"{what} is damaged or altered: SHA-256 is {actual}, expected {expected}. "
            "It was refused and nothing was written; fetch it again from its source"
        )
        self.what, self.expected, self.actual = what, expected, actual


class SourceUnavailable(DataError):
    """A known dataset was found at none of the places it is looked for.

    Args:
        dataset: The dataset's name.
        tried: What was tried, each with its outcome, in order.
    """

    def __init__(self, dataset: str, tried: Iterable[str]) -> None:
        self.dataset, self.tried = dataset, tuple(tried)
        lines = "".join(f"\n  - {line}" for line in self.tried)
        super().__init__(f"{dataset} could not be found. Tried:{lines}\nGive a folder with --from")


class TrainingError(GanlibError):
    """A run that must not go on."""


class NonFiniteLoss(TrainingError):
    """A loss became NaN or infinite; the last good checkpoint stays as it is.

    Args:
        name: Which value it was.
        value: Its value.
        images_seen: The training clock at that moment, in images.
    """

    def __init__(self, name: str, value: float, images_seen: int) -> None:
        super().__init__(
            f"{name} became {value} after {images_seen} images; the run was stopped and its last "
            "good checkpoint kept. Lower the learning rates or the clip value"
        )
        self.name, self.value, self.images_seen = name, value, images_seen


class DeadEnd(TrainingError):
    """A rule of the watch over the run was broken, and is configured to stop it.

    Args:
        text: What was seen, the limit, and what may help.
    """

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}; the run was stopped and its last good checkpoint kept")


class CheckpointRefused(TrainingError):
    """A checkpoint is damaged, half-written, or belongs to another configuration."""


class JobFailed(GanlibError):
    """A cluster job ended without a result.

    Args:
        job_id: Ray's submission id, or the job's name.
        status: The status it ended with.
        reason: The last lines that explain it.
        on_cluster: Whether Ray has its log.
    """

    def __init__(self, job_id: str, status: str, reason: str, *, on_cluster: bool = True) -> None:
        name, attempt, _ = job_id.rpartition("--")
        hint = f"; see `ganlib logs {name if attempt else job_id}`" if on_cluster else ""
        super().__init__(f"job {job_id} ended as {status}: {reason.rstrip('. ')}{hint}")
        self.job_id, self.status = job_id, status


class RegistryError(GanlibError):
    """A generator cannot be registered or fetched."""


class AliasMoved(RegistryError):
    """An alias points elsewhere than a mover expected; the move was refused, and recorded as refused.

    Args:
        model: The model.
        alias: The alias.
        wanted: Where it was to point.
        expected: Where it was expected to point; ``None``: nowhere.
        actual: Where it pointed instead.
        moved: Who moved it, when and why, as a clause that begins with a colon.
    """

    def __init__(
        self,
        model: str,
        alias: str,
        *,
        wanted: int | None,
        expected: int | None,
        actual: int | None,
        moved: str = "",
    ) -> None:
        def named(version: int | None) -> str:
            return "nowhere" if version is None else f"to version {version}"

        super().__init__(
            f"alias {alias} of {model} points {named(actual)}, not {named(expected)} as expected{moved}. It "
            f"was not moved {named(wanted)}; look at `ganlib model show {model}` and decide anew"
        )
        self.model, self.alias, self.wanted = model, alias, wanted
        self.expected, self.actual = expected, actual
