"""Values of a sweep's trials: proposed by grid, at random, or by Optuna through Ray Tune.

Trial 0 is the recipe. A proposal depends on the seed, on its number and, with TPE, on the trials before it,
all of which are on record: a sweep that is taken up again goes on proposing where it was.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Domain

from ganlib.errors import ConfigError
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.ledger import ENDED
from ganlib.sweep.records import Scalar, Trial
from ganlib.sweep.space import Choice, Range, Search
from ganlib.sweep.trial_report import METRIC

_TRIES = 100
_DIGITS = 6
"""Significant digits of a drawn number: enough to tell draws apart, few enough for a plot."""


class Source(Protocol):
    """Proposes the values of trials."""

    def propose(self, number: int) -> dict[str, Scalar]:
        """Return the values of trial ``number``, counted from 1; called in that order."""
        ...

    def ended(self, trial: Trial) -> None:
        """Take the outcome of a trial."""
        ...


def open_source(config: SweepConfig, trials: Sequence[Trial]) -> Source:
    """Return the source of a sweep's proposals.

    Args:
        config: The sweep.
        trials: What is on record, trial 0 among it.
    """
    if config.algorithm == "tpe":
        return Parzen(config, trials)
    return Listed(config) if config.algorithm == "grid" or not _ranges(config) else Drawn(config)


class Listed:
    """Combinations of lists: in their order for a grid, else shuffled by the seed."""

    def __init__(self, config: SweepConfig) -> None:
        self._rows = config.combinations()
        if config.algorithm != "grid":
            random.Random(config.seed).shuffle(self._rows)  # noqa: S311  # no secret

    def propose(self, number: int) -> dict[str, Scalar]:
        """Return the next combination."""
        return self._rows[number - 1]

    def ended(self, trial: Trial) -> None:
        """Do nothing: proposals do not depend on outcomes."""


class Drawn:
    """Independent draws, each a function of seed and number."""

    def __init__(self, config: SweepConfig) -> None:
        self._config = config

    def propose(self, number: int) -> dict[str, Scalar]:
        """Return a draw."""
        return draw(self._config, number)

    def ended(self, trial: Trial) -> None:
        """Do nothing: proposals do not depend on outcomes."""


class Parzen:
    """Optuna's TPE: the first few trials are drawn at random, the others near good ones."""

    def __init__(self, config: SweepConfig, trials: Sequence[Trial]) -> None:
        self._config = config
        # Optuna logs every trial; the sweep does so itself.
        optuna.logging.set_verbosity(logging.WARNING)
        self._taken = {_key(trial.values) for trial in trials}
        space = OptunaSearch.convert_search_space({f: domain(s) for f, s in config.search.items()})
        self._search = OptunaSearch(
            space,
            metric=METRIC,
            mode="min",
            # A fresh sampler would repeat its draws, so shift the seed.
            sampler=optuna.samplers.TPESampler(
                seed=config.seed + 1000 * len(trials), n_startup_trials=max(4, config.trial_count // 3)
            ),
        )
        for trial in trials:
            if trial.status in ENDED:
                self.ended(trial)

    def propose(self, number: int) -> dict[str, Scalar]:
        """Return TPE's next suggestion."""
        for attempt in range(_TRIES):
            values = _rounded(self._config, self._search.suggest(f"{number}-{attempt}") or {})
            if _key(values) not in self._taken and self._config.accepts(values):
                break
        else:
            # TPE may repeat a configuration; fall back to a random one.
            values = next(
                (
                    row
                    for n in range(_TRIES)
                    if _key(row := draw(self._config, number + 1000 * n)) not in self._taken
                ),
                values,
            )
        self._taken.add(_key(values))
        return values

    def ended(self, trial: Trial) -> None:
        """Learn from a trial, unless it lies outside the search space, as the recipe may."""
        inside = all(_holds(search, trial.values.get(field)) for field, search in self._config.search.items())
        if inside and trial.curve:
            self._search.add_evaluated_point(dict(trial.values), trial.distance)


def draw(config: SweepConfig, number: int) -> dict[str, Scalar]:
    """A draw from the search space that can be trained, a function of the sweep's seed and ``number``.

    Raises:
        ConfigError: None of many draws can be trained.
    """
    state = np.random.RandomState([config.seed, number])
    for _ in range(_TRIES):
        drawn = {field: domain(search).sample(random_state=state) for field, search in config.search.items()}
        if config.accepts(values := _rounded(config, drawn)):
            return values
    raise ConfigError(
        f"none of {_TRIES} draws from {', '.join(config.search)} can be trained, as with batch_size, which "
        "workers must divide; name the values that can"
    )


def domain(search: Search) -> Domain:
    """Return Tune's search domain for a field's list or range."""
    made: Domain
    if isinstance(search, Choice):
        made = tune.choice(list(search.values))
    elif search.scale == "integers":
        # Tune leaves the upper end out.
        made = tune.randint(int(search.low), int(search.high) + 1)
    elif search.scale == "log-integers":
        made = tune.lograndint(int(search.low), int(search.high) + 1)
    elif search.scale == "log":
        made = tune.loguniform(search.low, search.high)
    else:
        made = tune.uniform(search.low, search.high)
    return made


def _ranges(config: SweepConfig) -> bool:
    return any(isinstance(search, Range) for search in config.search.values())


def fitted(search: Search, value: Any) -> Scalar:
    """Return a drawn value as it is recorded: few digits, inside the range, a plain Python type."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(search, Range):
        if search.whole:
            return min(max(round(float(value)), int(search.low)), int(search.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), search.low), search.high)
    found: Scalar = value
    return found


def _rounded(config: SweepConfig, values: Mapping[str, Any]) -> dict[str, Scalar]:
    return {field: fitted(search, values[field]) for field, search in config.search.items()}


def _holds(search: Search, value: Scalar | None) -> bool:
    if value is None:
        return False
    return search.holds(value) if isinstance(search, Range) else value in search.values


def _key(values: Mapping[str, Scalar]) -> str:
    return repr(sorted(values.items()))
