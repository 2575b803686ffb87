"""Builds a :class:`~ganlib.sweep.config.SweepConfig` from a recipe and options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ganlib.config.complaints import complaints
from ganlib.config.fields import fields_of, unknown_field
from ganlib.config.run import RunConfig, load_config
from ganlib.errors import ConfigError, together
from ganlib.sweep.config import Algorithm, Scheduler, SweepConfig, values_of
from ganlib.sweep.space import Choice, Range, Search

OPTIONS = {"total_kimg": "--budget-kimg"}
"""Options of the command line by the fields of :class:`SweepConfig`, where they have another name."""


def default_search(base: RunConfig, algorithm: Algorithm, scheduler: Scheduler) -> dict[str, Search]:
    """Return the default search: critic steps and clip value, with ``pbt`` learning rates too.

    Raises:
        ConfigError: The recipe's objective clips nothing.
    """
    if base.objective.kind != "wasserstein":
        raise ConfigError(
            f"recipe {base.recipe} has objective.kind = {base.objective.kind} and no clip value to search; "
            "name the fields to search, as in --search cadence.n_critic=1,2,5"
        )
    if algorithm == "grid":
        return {
            "cadence.n_critic": Choice(values=(1, 2, 5)),
            "objective.clip": Choice(values=(0.01, 0.03, 0.1, 0.3)),
        }
    search: dict[str, Search] = {
        "cadence.n_critic": Range(low=1, high=8, scale="integers"),
        "objective.clip": Range(low=0.01, high=0.5, scale="log"),
    }
    if scheduler == "pbt":
        for field in ("optimizer.generator_learning_rate", "optimizer.critic_learning_rate"):
            rate = float(values_of(base, [field])[field])
            search[field] = Range(low=rate / 5, high=min(rate * 5, 1.0), scale="log")
    return search


def load_sweep(
    recipe: str,
    overrides: Mapping[str, Any] | None = None,
    search: Mapping[str, Search] | None = None,
    **options: Any,
) -> SweepConfig:
    """A sweep over a recipe.

    Args:
        recipe: One of :func:`ganlib.config.run.recipes`.
        overrides: Dotted field names with values, for every trial.
        search: What to vary; nothing: :func:`default_search`.
        **options: Other fields of :class:`SweepConfig`. Those left out or ``None`` follow from the recipe:
            ``total_kimg`` is its budget, ``grace_kimg`` a ninth of it, ``trials`` all combinations of a grid
            or 12, ``final_samples`` its ``evaluation.samples``.

    Raises:
        UnknownName: No such recipe, field or option.
        ConfigError: A value, a range or a combination of them cannot be used.
    """
    given = {name: value for name, value in options.items() if value is not None}
    known = [name for name in SweepConfig.model_fields if name not in ("base", "search")]
    problems: list[ConfigError] = [
        unknown_field(name, known, "", "option of a sweep") for name in given if name not in known
    ]
    try:
        base = load_config(recipe, overrides)
    except ConfigError as error:
        raise together([error, *problems]) from error
    if problems:
        raise together(problems)
    algorithm, scheduler = given.get("algorithm", "random"), given.get("scheduler", "asha")
    searched = dict(search) if search else default_search(base, algorithm, scheduler)
    values: dict[str, Any] = {"base": base, "search": searched, "total_kimg": base.budget.total_kimg}
    values |= {"final_samples": base.evaluation.samples} | given
    total = values["total_kimg"]
    usable = isinstance(total, int | float) and total > 0  # else it is refused below, and alone
    values.setdefault("grace_kimg", total / 9 if usable else 1)
    try:
        return SweepConfig.model_validate(values)
    except ValidationError as error:
        raise together(complaints(error, fields_of(SweepConfig), options=OPTIONS)) from error
