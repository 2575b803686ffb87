"""``ganlib generate``: pictures of a registered generator, as files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganlib.cli.options import say
from ganlib.errors import ConfigError
from ganlib.generators.places import SUFFIXES, Kind, check_place, check_total
from ganlib.names import parse_reference

if TYPE_CHECKING:
    from torch import Tensor

    from ganlib.generators.loaded import LoadedGenerator

COUNT, STEPS, FPS = 64, 16, 12.0


def generate(
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="NAME@ALIAS, NAME/VERSION or NAME.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE_OR_FOLDER",
            help="Where the pictures go: a grid (.png), arrays (.npz), an animation (.gif), or a new or "
            "empty folder, which gets a PNG for each.",
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option("--format", help="What --out is.", show_default="what its name tells")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, metavar="COUNT", help="Pictures.", show_default=str(COUNT)),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=2**31 - 1,
            metavar="SEED",
            help="The same seed gives the same pictures.",
            show_default="0",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class of the pictures, where the generator was trained with labels.",
            show_default="all in turn",
        ),
    ] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=4,
            metavar="THRESHOLD",
            help="Draw components of latents beyond ±THRESHOLD again from within: the smaller, the more "
            "typical and the more alike the pictures.",
            show_default="none",
        ),
    ] = None,
    interpolate: Annotated[
        str | None,
        typer.Option(
            metavar="SEED,SEED,…",
            help="Go from the first picture of each seed to that of the next.",
            show_default="pictures of one seed",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            metavar="COUNT",
            help="From one seed of --interpolate to the next.",
            show_default=str(STEPS),
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            min=1, max=50, metavar="RATE", help="Pictures a second of a .gif.", show_default=f"{FPS:g}"
        ),
    ] = None,
) -> None:
    """Make pictures with a registered generator."""
    parse_reference(generator)
    kind = kind_of(out, kind)
    check_place(out, kind)
    if fps is not None and kind != "gif":
        raise ConfigError(f"--fps is for an animation, and --out {out} is none: name a .gif, or leave it out")
    wanted = wanted_pictures(count, seed, interpolate, steps, label, truncation)
    check_total(out, kind, wanted.total)
    from ganlib.generators.fetch import load

    loaded = load(generator)
    write_pictures(out, kind, loaded, wanted, fps or FPS)
    say(f"{wanted.total} pictures of {loaded.registered.model} version {loaded.registered.version} in {out}")


def kind_of(out: Path, asked: Kind | None) -> Kind:
    """Return the kind of output that a path names.

    Raises:
        ConfigError: Its ending is another's, or nobody's and nothing was asked for.
    """
    known = SUFFIXES.get(out.suffix.lower())
    if asked is None:
        if known is None:
            raise ConfigError(
                f"--out {out} must end with .png (a grid), .npz or .gif, or without a suffix (a folder); "
                "or say with --format what it is"
            )
        return known
    if known not in (None, "folder", asked):
        raise ConfigError(f"--out {out} ends as another format than --format {asked}: change one of them")
    return asked


def parse_seeds(text: str) -> tuple[int, ...]:
    """``1,2,3`` as numbers.

    Raises:
        ConfigError: They are not two to a thousand whole numbers from 0 to 2³¹ − 1.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) < 2**31 for word in words) or not 2 <= len(words) <= 1000:
        raise ConfigError(
            f"--interpolate {text}: give 2 to 1000 seeds from 0 to {2**31 - 1}, with commas between, as in "
            "1,2,3"
        )
    return tuple(int(word) for word in words)


@dataclass(frozen=True)
class Wanted:
    """Which pictures are asked for."""

    seeds: tuple[int, ...]
    """One, or those to go between."""
    total: int
    steps: int
    """From one seed to the next; 0 for pictures of one seed."""
    label: str | None
    truncation: float | None

    def batches(self, loaded: LoadedGenerator) -> Iterator[Tensor]:
        """The pictures, checked before the first is made."""
        if self.steps:
            return loaded.interpolated_batches(self.seeds, self.steps, self.label, self.truncation)
        return loaded.batches(self.total, self.seeds[0], self.label, self.truncation)

    def labels(self, loaded: LoadedGenerator) -> Tensor | None:
        """Their labels, int64 [total]."""
        alike = loaded.classes[0] if self.steps and loaded.classes else None
        return loaded.labels(self.total, self.label or alike)


def wanted_pictures(
    count: int | None,
    seed: int | None,
    interpolate: str | None,
    steps: int | None,
    label: str | None,
    truncation: float | None,
) -> Wanted:
    """The pictures that the options ask for.

    Raises:
        ConfigError: One of them would do nothing, or --interpolate is no list of seeds.
    """
    if interpolate is None:
        if steps is not None:
            raise ConfigError("--steps is for --interpolate: give seeds to go between, or leave it out")
        return Wanted((seed or 0,), count or COUNT, 0, label, truncation)
    for option, value in (("--count", count), ("--seed", seed)):
        if value is not None:
            raise ConfigError(
                f"{option} {value} does nothing beside --interpolate, whose pictures are given by its seeds "
                "and --steps: leave it out"
            )
    seeds, steps = parse_seeds(interpolate), steps or STEPS
    return Wanted(seeds, (len(seeds) - 1) * steps + 1, steps, label, truncation)


def write_pictures(out: Path, kind: Kind, loaded: LoadedGenerator, wanted: Wanted, fps: float) -> None:
    """Make the pictures and write them.

    Raises:
        ConfigError: A label is asked of an unconditional generator, or --out cannot be written.
        UnknownName: There is no such class.
    """
    from ganlib.generators import files

    batches, labels = wanted.batches(loaded), wanted.labels(loaded)
    if kind == "gif":
        files.write_gif(out, batches, fps)
    elif kind == "npz":
        files.write_npz(out, batches, wanted.total, wanted.seeds, labels, loaded.classes)
    elif kind == "folder":
        files.write_folder(out, batches, labels, loaded.classes)
    elif wanted.steps:
        files.write_ways(out, batches, wanted.steps)
    else:
        files.write_grid(out, batches, math.ceil(math.sqrt(wanted.total)))
