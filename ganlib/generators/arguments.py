"""Checks of the values that people give to a generator: a refusal names the value, the limit, the remedy."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ganlib.errors import ConfigError, UnknownName

MAX_PICTURES, MAX_SEED, MAX_STEPS, MAX_SEEDS = 1_000_000, 2**31 - 1, 1000, 1000


def shown(value: object) -> str:
    """The value as Python writes it, on one line and not longer than 60 characters."""
    text = " ".join(reprlib.repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """The value as an ``int``; NumPy's and torch's whole numbers are taken too.

    Raises:
        ConfigError: It is no whole number (a bool is none), or not in ``low``…``high``.
    """
    try:
        # True and False would count as 1 and 0, which nobody means by them.
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise ConfigError(
            f"{name} {shown(value)} is not a whole number: give one between {low} and {high}, as in "
            f"{name}={max(low, 1)}"
        )
    if not low <= number <= high:
        # Python refuses to write out numbers of thousands of digits.
        said = str(number) if number.bit_length() < 200 else f"of {number.bit_length()} bits"
        raise ConfigError(f"{name} {said} must be between {low} and {high}")
    return number


def check_seeds(seeds: Any) -> list[int]:
    """The seeds of an interpolation. Raises ``ConfigError``: they are not 2…1,000 numbers from 0…2³¹−1."""
    try:
        count = len(seeds)
    except TypeError:
        raise ConfigError(
            f"seeds {shown(seeds)} are no list: give 2 to {MAX_SEEDS} seeds, as in [1, 2]"
        ) from None
    if not 2 <= count <= MAX_SEEDS:
        raise ConfigError(f"{count} seeds cannot be interpolated between: give 2 to {MAX_SEEDS}")
    return [check_whole("seed", seed, 0, MAX_SEED) for seed in seeds]


def check_truncation(threshold: Any) -> float | None:
    """The threshold as a ``float``. Raises ``ConfigError``: it is no number, or not in 0.01…4."""
    if threshold is None:
        return None
    try:
        number = None if isinstance(threshold, (bool, str, bytes)) else float(threshold)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        raise ConfigError(
            f"truncation {shown(threshold)} is not a number: give one between 0.01 and 4, or leave it out"
        )
    if not 0.01 <= number <= 4:
        raise ConfigError(
            f"truncation {number:g} must be between 0.01 and 4; nearly all components of a latent lie "
            "within 4 as they are"
        )
    return number


def position(name: Any, classes: Sequence[str], model: str) -> int:
    """The label of a class of a model, 0…len(classes) − 1.

    Raises:
        ConfigError: The name is no text.
        UnknownName: There is no such class.
    """
    if not isinstance(name, str):
        some = ", ".join(map(repr, classes[:10])) + (", …" if len(classes) > 10 else "")
        raise ConfigError(
            f"label {shown(name)} is not the name of a class of {model}: give one of {some}, or leave it out"
        )
    if name not in classes:
        raise UnknownName(f"class of {model}", name, classes)
    return classes.index(name)


def check_latents(noise: Any, latent_dim: int, model: str) -> None:
    """Raise ``ConfigError`` for what is no tensor float32 [n, latent_dim]."""
    if not isinstance(noise, Tensor) or noise.dtype != torch.float32:
        what = noise.dtype if isinstance(noise, Tensor) else type(noise).__name__
        raise ConfigError(
            f"latents of type {what} do not fit {model}: it takes a tensor float32 [n, {latent_dim}], as "
            f"torch.randn(n, {latent_dim}) gives"
        )
    if noise.ndim != 2 or noise.shape[1] != latent_dim:
        raise ConfigError(
            f"latents of shape {tuple(noise.shape)} do not fit {model}: it takes [n, {latent_dim}]"
        )


def check_labels(labels: Any, count: int, classes: int, model: str) -> Tensor:
    """The labels as int64 [count].

    Raises:
        ConfigError: They are no tensor of ``count`` whole numbers from 0 to ``classes`` − 1.
    """
    takes = f"do not fit {count} latents of {model}: it takes {count} numbers from 0 to {classes - 1}"
    if not isinstance(labels, Tensor) or labels.dtype == torch.bool or labels.dtype.is_floating_point:
        raise ConfigError(f"labels {shown(labels)} {takes}, as a tensor int64: torch.tensor([0, …])")
    if labels.shape != (count,) or not bool(((labels >= 0) & (labels < classes)).all()):
        raise ConfigError(f"labels {shown(labels.tolist())} {takes}")
    return labels.long()
