"""Registered generators as people use them: latents in, pictures out."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from ganlib.core.sampling import generate, labels_in_turn, sample_latents, spherical
from ganlib.errors import ConfigError
from ganlib.generators import files
from ganlib.generators.arguments import (
    MAX_PICTURES,
    MAX_SEED,
    MAX_STEPS,
    check_labels,
    check_latents,
    check_seeds,
    check_truncation,
    check_whole,
    position,
    shown,
)
from ganlib.generators.places import check_place, check_total, sample_place
from ganlib.quality.generated import to_uint8
from ganlib.records import RegisteredGenerator

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

    def __repr__(self) -> str:
        """One line: model and version, pictures as far as the version's tags tell, inputs, device."""
        facts = [
            f"{self.registered.model}/{self.registered.version}",
            _pictures_told(self.registered.tags.get("ganlib.image_shape", "")),
            f"{len(self.classes)} classes" if self.classes else "",
            f"latent {self.latent_dim}",
            *sorted({str(parameter.device) for parameter in self.program.parameters()}),
            "from the cache, offline" if self.offline else "",
        ]
        return f"Generator({', '.join(filter(None, facts))})"

    def __call__(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents float32 [n, latent_dim] → pictures float32 [n, c, h, w] in [−1, 1].

        Args:
            noise: The latents.
            labels: int64 [n], positions in ``classes``; for a conditional generator, which makes
                all classes in turn without them.

        Raises:
            ConfigError: The latents or labels have another type or shape, a label is none of the
                classes, or the generator takes none.
        """
        check_latents(noise, self.latent_dim, self.registered.model)
        if labels is None:
            labels = labels_in_turn(len(self.classes), len(noise))
        else:
            self._require_classes(labels)
            labels = check_labels(labels, len(noise), len(self.classes), self.registered.model)
        return generate(self.program, noise, labels)

    def label(self, name: str) -> int:
        """The label of a class.

        Raises:
            ConfigError: There are no classes, or the name is no text.
            UnknownName: There is no such class.
        """
        self._require_classes(name)
        return position(name, self.classes, self.registered.model)

    def _require_classes(self, asked: object) -> None:
        if not self.classes:
            raise ConfigError(
                f"label {shown(asked)} cannot be asked of {self.registered.model} version "
                f"{self.registered.version}, which was trained without labels; train one with "
                "network.conditional=true"
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
            ConfigError: ``count`` is no whole number in 1…1,000,000, ``seed`` none in 0…2³¹−1,
                ``truncation`` not in 0.01…4, ``label`` no text, or a label is asked of an unconditional
                generator.
            UnknownName: There is no such class.
        """
        return _together(count, self.batches(count, seed, label, truncation))

    def batches(
        self, count: int, seed: int = 0, label: str | None = None, truncation: float | None = None
    ) -> Iterator[Tensor]:
        """The pictures of :meth:`sample`, uint8 [up to 128, c, h, w] at a time: memory does not grow."""
        count = check_whole("count", count, 1, MAX_PICTURES)
        seed = check_whole("seed", seed, 0, MAX_SEED)
        truncation = check_truncation(truncation)
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
            ConfigError: ``count`` is no whole number in 1…1,000,000, ``label`` no text, or a label is
                asked of an unconditional generator.
            UnknownName: There is no such class.
        """
        count = check_whole("count", count, 1, MAX_PICTURES)
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
        # First the batches, which check the seeds and steps that are counted with.
        batches = self.interpolated_batches(seeds, steps, label, truncation)
        return _together(frame_count(seeds, steps), batches)

    def interpolated_batches(
        self,
        seeds: Sequence[int],
        steps: int = 16,
        label: str | None = None,
        truncation: float | None = None,
    ) -> Iterator[Tensor]:
        """The pictures of :meth:`interpolate`, uint8 [up to 128, c, h, w] at a time."""
        seeds, steps = check_seeds(seeds), check_whole("steps", steps, 1, MAX_STEPS)
        truncation = check_truncation(truncation)
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

    def save(
        self,
        path: str | os.PathLike[str],
        count: int = 64,
        seed: int = 0,
        label: str | None = None,
        truncation: float | None = None,
    ) -> None:
        """Write the pictures of :meth:`sample` to files, whole or not at all.

        Args:
            path: ``NAME.png`` for a grid of up to 10,000 pictures, which are all held in memory;
                ``NAME.npz`` for arrays (:func:`~ganlib.generators.files.write_npz`); a name without a
                suffix for a folder, new or empty, with a PNG for each. An existing file is replaced.
            count: How many pictures.
            seed: Of the latents.
            label: As for :meth:`sample`.
            truncation: As for :meth:`sample`.

        Raises:
            ConfigError: The path ends otherwise or cannot be written, there are more pictures than it
                holds, or :meth:`sample` would refuse the rest.
            UnknownName: There is no such class.
        """
        out, kind = sample_place(path)
        count, seed = check_whole("count", count, 1, MAX_PICTURES), check_whole("seed", seed, 0, MAX_SEED)
        batches, labels = self.batches(count, seed, label, truncation), self.labels(count, label)
        check_total(out, kind, count, option="")
        check_place(out, kind, option="")
        if kind == "png":
            files.write_grid(out, batches, math.ceil(math.sqrt(count)))
        elif kind == "npz":
            files.write_npz(out, batches, count, [seed], labels, self.classes)
        else:
            files.write_folder(out, batches, labels, self.classes)

    def _pictures(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Pictures uint8 [n, c, h, w] for up to a batch of latents."""
        # Matrix products of few rows round differently from those of many: padding makes the same latent
        # give the same picture at any batch size.
        count, spare = len(noise), -len(noise) % ROWS
        rows = torch.arange(count + spare) % count
        return to_uint8(generate(self.program, noise[rows], None if labels is None else labels[rows])[:count])


def _pictures_told(shape: str) -> str:
    """``1,28,28`` as ``28×28 grey``; nothing for another text, as tags can be set by anybody."""
    found = re.fullmatch(r"([13]),(\d{1,4}),(\d{1,4})", shape, re.ASCII)
    if found is None:
        return ""
    channels, height, width = found.groups()
    return f"{height}×{width} {'grey' if channels == '1' else 'colour'}"


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
