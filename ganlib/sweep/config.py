"""The configuration of a sweep: one frozen, documented, bounded value.

A sweep trains several configurations of one recipe on one dataset version and says which generates
best. Everything that can be wrong with it is found when a :class:`SweepConfig` is built: every
configuration that it could come to is built once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from pydantic import Field, model_validator

from ganlib.config.fields import unknown_field
from ganlib.config.parameters import telling_fields
from ganlib.config.parts import ConfigPart
from ganlib.config.run import RunConfig, change_config, field_names, value_types
from ganlib.errors import ConfigError, together
from ganlib.records import digest_of
from ganlib.sweep.records import Scalar
from ganlib.sweep.space import Range, Search

Algorithm = Literal["grid", "random", "tpe"]
Scheduler = Literal["none", "asha", "median", "pbt"]

TRIALS = 12
"""Default number of trials of a random or TPE sweep."""

_NOT_SEARCHED = {
    "dataset": "all trials train on one dataset version",
    "budget": "trials compare at equal budgets",
    "evaluation": "trials compare by one evaluation",
    "checkpoint": "it does not change what is trained",
    "compute": "it does not change what is trained",
    "watch": "it does not change what is trained",
    "gate": "it does not change what is trained",
    "name": "all trials compete for one model",
}
_PERTURBED = ("objective.", "r1.", "augmentation.", "cadence.", "optimizer.", "averaging.")
_MOST_COMBINATIONS = 4096
"""Most combinations that are built in full as a check, which takes about a second."""
_MOST_PROBLEMS = 10
"""Most problems of combinations that are told."""


class SweepConfig(ConfigPart):
    """A whole sweep; its metric is always ``fd_<extractor>_curve`` of the recipe's extractor."""

    base: RunConfig
    """The recipe: trial 0, which the others vary."""
    search: dict[str, Search] = Field(min_length=1)
    """Values or ranges to search, by dotted field name of :class:`~ganlib.config.run.RunConfig`."""
    algorithm: Algorithm = "random"
    """``grid``: every combination of the lists; ``random``: independent draws; ``tpe``: Optuna's
    tree-structured Parzen estimator, which learns from the trials before. With ``pbt``, how its
    population begins: not ``tpe``."""
    scheduler: Scheduler = "asha"
    """``asha``: asynchronous successive halving (arXiv:1810.05934), which stops a trial at a rung unless it
    is among the best ``1/reduction`` that reached it; ``median``: stops a trial whose best is worse than the
    median of the others' running means; ``pbt``: population-based training (arXiv:1711.09846), which lets
    the worst quarter go on as perturbed copies of the best each time that all have come as far; ``none``:
    all trials train in full. Trial 0 is never stopped or replaced: what wins is compared with the recipe at
    the same budget."""
    trials: int | None = Field(default=None, ge=1, le=1000)
    """Trials, trial 0 included; ``None``: every combination of a grid, else 12 or as many as exist."""
    grace_kimg: float = Field(gt=0, le=1_000_000)
    """Thousand images: the first rung of ``asha``; ``median`` stops no trial before; ``pbt`` has the
    trials wait for one another each time so many have gone by."""
    reduction: float = Field(default=3.0, gt=1, le=100)
    """Each rung of ``asha`` is at this multiple of the one before, and one in so many trials passes it."""
    total_kimg: float = Field(gt=0, le=1_000_000)
    """A trial's budget, thousand images."""
    max_seconds: float | None = Field(default=None, gt=0, le=30 * 86_400)
    """A trial's budget in seconds in the loop; ``None``: images alone count, so that trials which run beside
    others compare fairly."""
    workers: int = Field(default=1, ge=1, le=1024)
    """Data-parallel processes of a trial. With one, trials take turns in processes that keep dataset and
    extractor loaded; with several, each is a Ray Train run of its own."""
    cpus: int = Field(default=1, ge=1, le=1024)
    """CPUs of each of a trial's workers: its threads."""
    gpus: float = Field(default=1.0, gt=0, le=8)
    """GPUs of each of a trial's workers where there are any; 0.25 lets four small networks share one."""
    concurrency: int | None = Field(default=None, ge=1, le=1000)
    """Trials at once, at the most; ``None``: as many as the cluster has room for."""
    finalists: int = Field(default=3, ge=1, le=100)
    """Best trials by their curves that are evaluated again with fresh latents, beside trial 0."""
    final_samples: int = Field(ge=16, le=100_000)
    """Generated pictures in each of these evaluations."""
    train_on: bool = False
    """Whether the winner is trained on to the recipe's full budget afterwards, as a run of its own."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of the search's random draws."""

    @model_validator(mode="after")
    def _usable(self) -> SweepConfig:
        # Our own errors, which pydantic lets through.
        problems = [*self._field_problems(), *self._budget_problems(), *self._algorithm_problems()]
        # Lists are combined, and ranges drawn from, only once each field may be searched.
        problems = problems or list(islice(self._corner_problems(), _MOST_PROBLEMS))
        problems = problems or list(self._trial_problems())
        if problems:
            raise together(problems)
        return self

    def _field_problems(self) -> Iterator[ConfigError]:
        for field, search in self.search.items():
            found = _unsearchable(field, self.scheduler)
            types = value_types(field)
            if found is not None:
                yield found
            elif isinstance(search, Range) and not search.whole and int in types and float not in types:
                yield ConfigError(
                    f"{field} = {search} cannot be searched: it takes whole numbers, as integers:LOW:HIGH or "
                    "log-integers:LOW:HIGH give them"
                )

    def _budget_problems(self) -> Iterator[ConfigError]:
        if self.scheduler != "none" and self.total_kimg < self.grace_kimg:
            yield ConfigError(
                f"total_kimg = {self.total_kimg:g} is below the first rung, grace_kimg = "
                f"{self.grace_kimg:g}: scheduler {self.scheduler} would never look at a trial; raise the one "
                "or lower the other"
            )
        few = self.base.evaluation.curve_samples
        if self.final_samples < few:
            yield ConfigError(
                f"final_samples = {self.final_samples} must be at least evaluation.curve_samples = {few}: "
                "the final is to be surer than the curves"
            )

    def _algorithm_problems(self) -> Iterator[ConfigError]:
        for field in self._ranges() if self.algorithm == "grid" else ():
            yield ConfigError(
                f"{field} is a range, and a grid needs lists: name its values, or choose random or tpe"
            )
        if self.algorithm == "tpe" and self.scheduler == "pbt":
            yield ConfigError("algorithm tpe cannot go with scheduler pbt; choose random or grid")
        if self.scheduler == "pbt" and (self.workers > 1 or self.concurrency is not None):
            name = "workers" if self.workers > 1 else "concurrency"
            yield ConfigError(
                f"{name} = {getattr(self, name)} cannot go with scheduler pbt, whose trials are of one "
                f"worker and take turns on what the cluster has room for; leave {name} out"
            )

    def _trial_problems(self) -> Iterator[ConfigError]:
        if self.scheduler == "pbt" and self.trial_count < 3:
            yield ConfigError(
                f"{self.trial_count} trials are no population: pbt needs 3 or more, of which trial 0 stays "
                "as it is; raise trials or name more values"
            )
        if self._ranges() or self.trials is None:
            return
        room = 1 + len(self.combinations())
        if self.trials > room:
            yield ConfigError(
                f"trials = {self.trials} is more than the {room} configurations that the lists and the "
                f"recipe itself give; choose at most {room} or name more values"
            )

    def _corner_problems(self) -> Iterator[ConfigError]:
        """Each problem of a combination of values, or of the ends of ranges, once."""
        known: set[str] = set()
        for values in self._corners():
            try:
                self.trial_config(values)
            except ConfigError as error:
                if str(error) not in known:
                    known.add(str(error))
                    yield error

    def _ranges(self) -> list[str]:
        return [field for field, search in self.search.items() if isinstance(search, Range)]

    def _corners(self) -> list[dict[str, Scalar]]:
        """Every combination of values, and of the ends of ranges."""
        ends = {field: search.ends() for field, search in self.search.items()}
        if math.prod(map(len, ends.values())) <= _MOST_COMBINATIONS:
            return [dict(zip(ends, row, strict=True)) for row in itertools.product(*ends.values())]
        return [{field: value} for field, values in ends.items() for value in values]

    @property
    def trial_count(self) -> int:
        """Trials of the sweep, ``None`` resolved."""
        if self.trials is not None:
            return self.trials
        if any(isinstance(search, Range) for search in self.search.values()):
            return TRIALS
        room = 1 + len(self.combinations())
        return room if self.algorithm == "grid" else min(TRIALS, room)

    def combinations(self) -> list[dict[str, Scalar]]:
        """Every combination of the lists but the recipe's own, in their order; for sweeps without ranges."""
        lists = {field: search.ends() for field, search in self.search.items()}
        rows = [dict(zip(lists, row, strict=True)) for row in itertools.product(*lists.values())]
        own = self.trial_config({}).digest
        return list(
            {config.digest: row for row in rows if (config := self.trial_config(row)).digest != own}.values()
        )

    def trial_config(self, values: Mapping[str, Scalar]) -> RunConfig:
        """A trial's configuration.

        Raises:
            ConfigError: A value is out of its field's bounds, or does not go with the others.
        """
        every = self.base.evaluation.every_kimg
        looks = every if self.scheduler == "none" else min(every, self.grace_kimg)
        return change_config(
            self.base,
            {
                **values,
                "budget.total_kimg": self.total_kimg,
                "budget.max_seconds": self.max_seconds,
                "evaluation.every_kimg": looks,
                "evaluation.samples": self.final_samples,
                "compute.workers": self.workers,
                "compute.max_workers": None,
            },
        )

    def accepts(self, values: Mapping[str, Scalar]) -> bool:
        """Whether a trial of these values can be trained."""
        try:
            self.trial_config(values)
        except ConfigError:
            return False
        return True

    def recipe_values(self) -> dict[str, Scalar]:
        """Return the recipe's own values of the searched fields: those of trial 0."""
        return values_of(self.base, self.search)

    def final_config(self, values: Mapping[str, Scalar]) -> RunConfig:
        """The run that trains a trial's values on to the recipe's full budget."""
        return change_config(self.base, values)

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides the result, and of nothing that is done with it afterwards."""
        means = {"workers", "cpus", "gpus", "concurrency", "train_on"}
        return digest_of({**self.model_dump(mode="json", exclude={"base", *means}), "base": self.base.digest})

    def telling_fields(self) -> dict[str, str]:
        """The sweep's own fields as text, then those of the base run that tell it from others."""
        own = self.model_dump(mode="json", exclude={"base", "search"})
        searched = {f"search.{field}": str(search) for field, search in self.search.items()}
        return {**{name: str(value) for name, value in own.items()}, **searched, **telling_fields(self.base)}


def values_of(config: RunConfig, fields: Sequence[str] | Mapping[str, Any]) -> dict[str, Scalar]:
    """Return a configuration's values of some dotted fields, without fields that its kinds lack."""
    found: dict[str, Scalar] = {}
    for field in fields:
        value: Any = config
        for part in field.split("."):
            value = getattr(value, part, None)
        if isinstance(value, bool | int | float | str):
            found[field] = value
    return found


def _unsearchable(field: str, scheduler: Scheduler) -> ConfigError | None:
    """The error for a field that does not exist or cannot differ between the trials of a sweep."""
    known = field_names()
    names = [name for name in known if name.partition(".")[0] not in _NOT_SEARCHED]
    if field not in names:
        if field in known:
            return ConfigError(f"{field} cannot be searched: {_NOT_SEARCHED[field.partition('.')[0]]}")
        return unknown_field(field, names, "", "field to search")
    if scheduler == "pbt" and (not field.startswith(_PERTURBED) or field.endswith(".kind")):
        return ConfigError(
            f"{field} cannot be searched with scheduler pbt, which changes it in the middle of a trial; "
            f"it takes fields of {', '.join(name.rstrip('.') for name in _PERTURBED)}, kinds apart"
        )
    return None
