"""Registered generators as people use them: latents in, pictures out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.core.sampling import generate, labels_in_turn, latents
from ganlib.errors import ConfigError, UnknownName
from ganlib.quality.evaluate import to_uint8
from ganlib.records import RegisteredGenerator


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

    def sample(self, count: int, seed: int = 0, label: str | None = None) -> Tensor:
        """Pictures uint8 [count, c, h, w]; the same seed gives the same pictures.

        The first pictures of a larger count are those of a smaller one.

        Args:
            count: How many.
            seed: Of the latents.
            label: The class of all of them, by name; without it a conditional generator makes all
                classes in turn.

        Raises:
            ConfigError: ``count`` is not in 1…1,000,000 or ``seed`` not in 0…2³¹−1, or a label is asked of
                an unconditional generator.
            UnknownName: There is no such class.
        """
        if not 1 <= count <= 1_000_000:
            raise ConfigError(f"count {count} must be between 1 and 1000000")
        if not 0 <= seed < 2**31:
            raise ConfigError(f"seed {seed} must be between 0 and {2**31 - 1}")
        # One stream for each picture: torch's normal numbers depend on how many are drawn at once.
        noise = torch.cat([latents(seed, "sample", index, 1, self.latent_dim) for index in range(count)])
        labels = None if label is None else torch.full((count,), self.label(label))
        return to_uint8(self(noise, labels))
