"""The commands ``ganlib dataset …``."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from ganlib.cli.help import Group, command
from ganlib.cli.options import Json, say
from ganlib.config.parts import DatasetConfig
from ganlib.errors import ConfigError, DataError
from ganlib.settings import Settings, load_settings

# Only light modules above: `ganlib --help` and a refused option must not wait for torch.

dataset_app = typer.Typer(cls=Group, help="Datasets in the object store.", no_args_is_help=True)

SIZES: tuple[int, ...] = get_args(DatasetConfig.model_fields["size"].annotation)
"""Sides of pictures that there are networks for, in pixels."""


DatasetArgument = Annotated[str, typer.Argument(metavar="NAME", help="The dataset.")]


@command(dataset_app, "add", example="ganlib dataset add digits")
def dataset_add(
    name: DatasetArgument,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FOLDER_OR_S3_PREFIX",
            help="Where the pictures are.",
            show_default="a known dataset's own source",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what was added before and is not in the source.")
    ] = False,
) -> None:
    """Put raw pictures into the object store."""
    from ganlib.data.raw.add import add_dataset
    from ganlib.storage import open_prefix, open_store

    settings = load_settings()
    added = add_dataset(
        open_store(settings),
        name,
        source,
        open_store=lambda uri: open_prefix(settings, uri),
        scratch=settings.scratch,
        replace=replace,
    )
    say(f"dataset {added.name}: {added.source}")
    what = "pictures" if added.format == "pictures" else "IDX files"
    removed = f", {added.removed:,} removed" if replace else ""
    say(f"{what}: {added.uploaded:,} added, {added.objects - added.uploaded:,} unchanged{removed}")
    if added.passed_over:
        say(f"passed over: {_counts(added.passed_over)}")
    if added.classes:
        shown = ", ".join(added.classes[:20]) + (", …" if len(added.classes) > 20 else "")
        say(f"{len(added.classes):,} classes: {shown}")
    elif added.format == "pictures":
        say("no classes: the pictures are in no folders")


@command(dataset_app, "prepare", example="ganlib dataset prepare digits --size 28")
def dataset_prepare(
    name: DatasetArgument,
    size: Annotated[
        int,
        typer.Option(
            metavar="PIXELS", help=f"Side of the square pictures, pixels: {', '.join(map(str, SIZES))}."
        ),
    ],
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3,
            metavar="1|3",
            help="1 grey or 3 colour.",
            show_default="1 for IDX files, 3 for pictures",
        ),
    ] = None,
    fit: Annotated[
        Literal["crop", "stretch", "pad"],
        typer.Option(help="How pictures become square: cut, distorted, or with a border."),
    ] = "crop",
    background: Annotated[
        str,
        typer.Option(metavar="#RRGGBB", help="Colour behind transparent pictures and of the border of pad."),
    ] = "#ffffff",
) -> None:
    """Make a version of a dataset: pictures of one size, a held-out split, a digest."""
    if size not in SIZES:
        raise ConfigError(
            f"--size {size} cannot be used: there are networks for pictures of {', '.join(map(str, SIZES))} "
            "pixels"
        )
    if channels == 2:
        raise ConfigError("--channels must be 1 (grey) or 3 (colour)")
    colour = background.lower()
    if not re.fullmatch("#[0-9a-f]{6}", colour):
        raise ConfigError(f"--background {background!r} is no colour: give it as '#ffffff', which is white")
    from ganlib.data.layout import describe_raw, raw_objects
    from ganlib.data.preparation import Preparation
    from ganlib.data.prepare import prepare
    from ganlib.quality.requirements import require_held_out
    from ganlib.storage import open_store

    settings = load_settings()
    store = open_store(settings)
    version = prepare(
        store,
        name,
        Preparation.model_validate({"size": size, "channels": channels, "fit": fit, "background": colour}),
        scratch=settings.scratch,
    )
    train, held_out = version.count("train"), version.count("held_out")
    say(f"dataset {version.name} version {version.digest}")
    say(f"{train:,} pictures to train on, {held_out:,} held out")
    if describe_raw(store, name).format == "pictures":
        copies = len(raw_objects(store, name)) - train - held_out
        if copies:
            say(f"{copies:,} exact copies left out")
    try:
        require_held_out(version)
    except DataError as error:
        say(f"it cannot be trained on yet: {error}")


@command(dataset_app, "remove", example="ganlib dataset remove digits")
def dataset_remove(
    name: DatasetArgument,
    versions: Annotated[
        bool, typer.Option("--versions", help="Remove its prepared versions, too, but those that runs use.")
    ] = False,
    used: Annotated[
        bool, typer.Option("--used", help="With --versions: remove also those that runs use.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remove it although registered models were trained on it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a dataset's raw objects from the object store, unless registered models were trained on it."""
    if used and not versions:
        raise ConfigError("--used is for --versions; give both")
    if not yes and not sys.stdin.isatty():
        raise ConfigError("nothing was removed: there is nobody to ask; give --yes")
    from ganlib.data.raw.remove import plan_removal, remove_dataset, require_unused
    from ganlib.storage import open_store

    settings = load_settings()
    store = open_store(settings)
    removal = plan_removal(store, name, versions=versions, used=used)
    if not force:
        require_unused(removal, lambda name, digests: _models_trained_on(settings, name, digests))
    what = f"{len(removal.raw):,} raw objects and {len(removal.versions):,} versions of dataset {name}"
    if not yes:
        typer.confirm(f"Remove {what}?", abort=True)
    remove_dataset(store, removal)
    say(f"removed {what}")
    for digest in removal.versions:
        say(f"removed version {digest}")
    for digest in removal.kept:
        say(f"kept version {digest}")


@command(dataset_app, "list", example="ganlib dataset list")
def dataset_list(json: Json = False) -> None:
    """List the datasets in the object store and, of each version, pictures, classes and shape."""
    from ganlib.cli.dataset_views import listed_values, print_datasets
    from ganlib.cli.output import as_json
    from ganlib.data.layout import datasets
    from ganlib.data.summary import summarize
    from ganlib.storage import open_store

    store = open_store(load_settings())
    found = [summarize(store, name) for name in datasets(store)]
    if json:
        say(as_json(listed_values(found)))
    elif not found:
        say("there is no dataset yet; `ganlib dataset add NAME --from SOURCE` adds one")
    else:
        print_datasets(found)


@command(dataset_app, "make-drivers", example="ganlib dataset make-drivers drivers.zip --pictures 2000")
def dataset_make_drivers(
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="The zip to write.")],
    pictures: Annotated[
        int, typer.Option(metavar="N", help="How many pictures; State Farm's archive has 22,424.")
    ] = 22_424,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed draws other drivers.")] = 0,
) -> None:
    """Draw drivers at the wheel in ten classes: a stand-in for State Farm's zip, in its layout and size."""
    import time

    from ganlib.cli.output import terminal
    from ganlib.data.raw.drivers.archive import make_drivers

    console, begun = terminal(), time.monotonic()
    with console.status("drawing") as status:

        def show(done: int, total: int) -> None:
            status.update(
                f"{done:,} of {total:,} pictures, {done / (time.monotonic() - begun):,.0f} a second"
            )

        make_drivers(out, pictures=pictures, seed=seed, progress=show)
    size = out.stat().st_size / 2**20
    say(f"{out}: {pictures:,} pictures, {size:,.0f} MiB")
    say("unpacked, `ganlib dataset add drivers --from imgs/train` adds them")


def _models_trained_on(settings: Settings, name: str, digests: Collection[str]) -> list[str]:
    """Ask the registry for the models that were trained on a dataset."""
    from ganlib.registry.dataset_use import trained_on, use_in_words
    from ganlib.registry.mlflow import MlflowRegistry

    return use_in_words(trained_on(MlflowRegistry(settings), name, digests))


def _counts(counts: Mapping[str, int]) -> str:
    """Counts by kind, the most frequent first: ``6 .webp, 2 hidden``."""
    return ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    )
