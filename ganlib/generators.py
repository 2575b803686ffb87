"""Registered generators as people use them: latents in, pictures out."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.core.sampling import generate, latents
from ganlib.errors import ConfigError, RegistryError
from ganlib.ports import ModelRegistry
from ganlib.quality.evaluate import to_uint8
from ganlib.records import RegisteredGenerator
from ganlib.registry import MlflowRegistry
from ganlib.settings import load_settings

_REFERENCE = re.compile(r"^(?P<model>[^@/\s]+)(?:[@/](?P<which>[^@/\s]+))?$")


@dataclass(frozen=True)
class LoadedGenerator:
    """A generator from the registry, on the CPU."""

    registered: RegisteredGenerator
    program: nn.Module
    latent_dim: int

    def __call__(self, noise: Tensor) -> Tensor:
        """Latents float32 [n, latent_dim] → pictures float32 [n, c, h, w] in [−1, 1].

        Raises:
            ConfigError: The latents have another shape.
        """
        if noise.ndim != 2 or noise.shape[1] != self.latent_dim:
            raise ConfigError(
                f"latents of shape {tuple(noise.shape)} do not fit {self.registered.model}: it takes "
                f"[n, {self.latent_dim}]"
            )
        return generate(self.program, noise)

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """Pictures uint8 [count, c, h, w]; the same seed gives the same pictures.

        The first pictures of a larger count are those of a smaller one.

        Raises:
            ConfigError: ``count`` is not in 1…1,000,000 or ``seed`` not in 0…2³¹−1.
        """
        if not 1 <= count <= 1_000_000:
            raise ConfigError(f"count {count} must be between 1 and 1000000")
        if not 0 <= seed < 2**31:
            raise ConfigError(f"seed {seed} must be between 0 and {2**31 - 1}")
        # One stream for each picture: torch's normal numbers depend on how many are drawn at once.
        noise = torch.cat([latents(seed, "sample", index, 1, self.latent_dim) for index in range(count)])
        return to_uint8(self(noise))


def parse_reference(reference: str) -> tuple[str, str]:
    """``NAME@ALIAS``, ``NAME/VERSION`` or ``NAME`` as (name, alias or version).

    Raises:
        ConfigError: It is none of these.
    """
    found = _REFERENCE.match(reference)
    if found is None:
        raise ConfigError(f"{reference!r} is no generator: give NAME@ALIAS, NAME/VERSION or NAME")
    return found["model"], found["which"] or "champion"


def load(reference: str, registry: ModelRegistry | None = None) -> LoadedGenerator:
    """The generator of a reference; see :func:`ganlib.load_generator`."""
    model, which = parse_reference(reference)
    registry = registry or MlflowRegistry(load_settings())
    registered = registry.resolve(model, which)
    try:
        latent_dim = int(registered.tags["ganlib.latent_dim"])
    except KeyError as error:
        raise RegistryError(
            f"{model} version {registered.version} was not registered by ganlib: "
            "it has no tag ganlib.latent_dim"
        ) from error
    return LoadedGenerator(registered, registry.load(registered), latent_dim)
