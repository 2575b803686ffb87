"""Registered generators as people use them: latents in, pictures out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from ganlib.core.sampling import generate, labels_in_turn, sample_latents, spherical
from ganlib.errors import ConfigError, UnknownName
from ganlib.quality.generated import to_uint8
from ganlib.records import RegisteredGenerator

MAX_PICTURES, MAX_SEED = 1_000_000, 2**31 - 1

BATCH = 128
"""Pictures made at a time."""

ROWS = 16
"""A batch is filled up to a multiple of this."""


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator from the registry, on the CPU."""

    registered: RegisteredGenerator
    program: nn.Module
    latent_dim: int
    classes: tuple[str, ...] = ()
    """Class names in the order of the labels; empty for an unconditional generator."""
    offline: bool = False
    """Whether it is the cached copy of a version, used because the registry did not answer."""

    def __call__(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents float32 [n, latent_dim] → pictures float32 [n, c, h, w] in [−1, 1].

        Args:
            noise: The latents.
            labels: int64 [n], positions in ``classes``; for a conditional generator, which makes
                all classes in turn without them.

        Raises:
            ConfigError: The latents or labels have another shape, a label is none of the classes, or
                the generator takes none.
        """
        if noise.ndim != 2 or noise.shape[1] != self.latent_dim:
            raise ConfigError(
                f"latents of shape {tuple(noise.shape)} do not fit {self.registered.model}: it takes "
                f"[n, {self.latent_dim}]"
            )
        if labels is None:
            labels = labels_in_turn(len(self.classes), len(noise))
        else:
            self._check_labels(labels, len(noise))
        return generate(self.program, noise, labels)

    def label(self, name: str) -> int:
        """The label of a class. Raises ``ConfigError`` where there are none, ``UnknownName`` for another."""
        self._require_classes(name)
        if name not in self.classes:
            raise UnknownName(f"class of {self.registered.model}", name, self.classes)
        return self.classes.index(name)

    def _require_classes(self, asked: object) -> None:
        if not self.classes:
            raise ConfigError(
                f"label {asked!r} cannot be asked of {self.registered.model} version "
                f"{self.registered.version}, which was trained without labels; train one with "
                "network.conditional=true"
            )

    def _check_labels(self, labels: Tensor, count: int) -> None:
        self._require_classes(labels.tolist()[:3])
        if labels.shape != (count,) or not bool(((labels >= 0) & (labels < len(self.classes))).all()):
            raise ConfigError(
                f"labels {labels.tolist()[:3]}… do not fit {count} latents of {self.registered.model}: it "
                f"takes {count} numbers from 0 to {len(self.classes) - 1}"
            )

    def sample(
        self, count: int, seed: int = 0, label: str | None = None, truncation: float | None = None
    ) -> Tensor:
        """Pictures uint8 [count, c, h, w]; the same seed gives the same pictures.

        The first pictures of a larger count are those of a smaller one.

        Args:
            count: How many.
            seed: Of the latents.
            label: The class of all of them, by name; without it a conditional generator makes all
                classes in turn.
            truncation: A threshold from 0.01 to 4: components of latents beyond ±it are drawn again
                from within (:func:`~ganlib.core.sampling.sample_latents`). Smaller ones give more
                typical pictures that differ less from one another; beyond 4 nothing would change.
                ``None``: latents as the generator was trained with.

        Raises:
            ConfigError: ``count`` is not in 1…1,000,000, ``seed`` not in 0…2³¹−1, ``truncation`` not
                in 0.01…4, or a label is asked of an unconditional generator.
            UnknownName: There is no such class.
        """
        return _together(count, self.batches(count, seed, label, truncation))

    def batches(
        self, count: int, seed: int = 0, label: str | None = None, truncation: float | None = None
    ) -> Iterator[Tensor]:
        """The pictures of :meth:`sample`, uint8 [up to 128, c, h, w] at a time: memory does not grow."""
        _check("count", count, 1, MAX_PICTURES)
        _check("seed", seed, 0, MAX_SEED)
        _check_truncation(truncation)
        labels = self.labels(count, label)

        def drawn() -> Iterator[Tensor]:
            for start in range(0, count, BATCH):
                here = min(BATCH, count - start)
                noise = sample_latents(seed, start, here, self.latent_dim, truncation)
                yield self._pictures(noise, None if labels is None else labels[start : start + here])

        return drawn()

    def labels(self, count: int, label: str | None = None) -> Tensor | None:
        """Labels int64 [count] of :meth:`sample`'s pictures; ``None`` for an unconditional generator.

        Raises:
            ConfigError: A label is asked of an unconditional generator.
            UnknownName: There is no such class.
        """
        if label is None:
            return labels_in_turn(len(self.classes), count)
        return torch.full((count,), self.label(label))

    def interpolate(
        self,
        seeds: Sequence[int],
        steps: int = 16,
        label: str | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        """Pictures on the way from each seed's first picture to the next seed's.

        Between the latents lie those of a spherical interpolation (:func:`~ganlib.core.sampling.spherical`).

        Args:
            seeds: Two or more.
            steps: Steps from one seed to the next.
            label: The class of all pictures; without it the first class of a conditional generator,
                which a seed's first picture has.
            truncation: Of the seeds' latents, as for :meth:`sample`.

        Returns:
            uint8 [(len(seeds) − 1) · steps + 1, c, h, w]. Number ``i · steps`` is
            ``sample(1, seeds[i], label, truncation)``.

        Raises:
            ConfigError: There are not 2…1,000 seeds from 0…2³¹−1, ``steps`` is not in 1…1,000,
                ``truncation`` not in 0.01…4, or a label is asked of an unconditional generator.
            UnknownName: There is no such class.
        """
        return _together(
            frame_count(seeds, steps), self.interpolated_batches(seeds, steps, label, truncation)
        )

    def interpolated_batches(
        self,
        seeds: Sequence[int],
        steps: int = 16,
        label: str | None = None,
        truncation: float | None = None,
    ) -> Iterator[Tensor]:
        """The pictures of :meth:`interpolate`, uint8 [up to 128, c, h, w] at a time."""
        if not 2 <= len(seeds) <= 1000:
            raise ConfigError(f"{len(seeds)} seeds cannot be interpolated between: give 2 to 1000")
        for seed in seeds:
            _check("seed", seed, 0, MAX_SEED)
        _check("steps", steps, 1, 1000)
        _check_truncation(truncation)
        labels = self.labels(1, label)
        ends = torch.cat([sample_latents(seed, 0, 1, self.latent_dim, truncation) for seed in seeds])

        def drawn() -> Iterator[Tensor]:
            ways = max(1, BATCH // steps)  # at a time
            for start in range(0, len(ends) - 1, ways):
                frames = spherical(ends[start : start + ways + 1], steps)
                # All but the first begin with what was the end of those before.
                for noise in frames[min(start, 1) :].split(BATCH):
                    yield self._pictures(noise, None if labels is None else labels.expand(len(noise)))

        return drawn()

    def _pictures(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Pictures uint8 [n, c, h, w] for up to a batch of latents."""
        # Matrix products of few rows round differently from those of many: padding makes the same latent
        # give the same picture at any batch size.
        count, spare = len(noise), -len(noise) % ROWS
        rows = torch.arange(count + spare) % count
        return to_uint8(generate(self.program, noise[rows], None if labels is None else labels[rows])[:count])


def frame_count(seeds: Sequence[int], steps: int) -> int:
    """Pictures of :meth:`LoadedGenerator.interpolate`."""
    return (len(seeds) - 1) * steps + 1


def _together(count: int, batches: Iterator[Tensor]) -> Tensor:
    first = next(batches)
    pictures = torch.empty(count, *first.shape[1:], dtype=torch.uint8)
    done = 0
    for batch in chain([first], batches):
        pictures[done : done + len(batch)] = batch
        done += len(batch)
    return pictures


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} {value} must be between {low} and {high}")


def _check_truncation(threshold: float | None) -> None:
    if threshold is not None and not 0.01 <= threshold <= 4:
        raise ConfigError(
            f"truncation {threshold:g} must be between 0.01 and 4; nearly all components of a latent lie "
            "within 4 as they are"
        )
