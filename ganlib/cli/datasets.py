"""The commands ``ganlib dataset …``."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from ganlib.cli.help import Group, command
from ganlib.cli.options import Json, say
from ganlib.config.parts import MOST_REFUSED, DatasetConfig
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
            metavar="SOURCE",
            help="A folder, s3://BUCKET/PREFIX, or one file: pictures, zip, tar, npz, npy, Parquet, IDX.",
            show_default="a known dataset's own source",
        ),
    ] = None,
    class_level: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The folder that names the class: 1 the outermost, 0 none.",
            show_default="1 where there are folders, unless a table or the format gives the classes",
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN_OR_PATTERN",
            help="What tells groups, whole ones of which are held out: a column of the table beside the "
            "pictures, or a pattern on the path with one pair of parentheses, as in 'patient_([0-9]+)'.",
            show_default="the column group, where a table has one",
        ),
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="Take State Farm's pictures without a class, too.")
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Licence of the pictures, for the cards of dataset and models: CC-BY-4.0, or a sentence.",
            show_default="as stated before, or unknown",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what was added before and is not in the source.")
    ] = False,
) -> None:
    """Put raw pictures into the object store."""
    from ganlib.cli.dataset_reports import print_added
    from ganlib.data.labelling.dataset_labels import DatasetLabels
    from ganlib.data.labelling.labels import MAX_CLASS_LEVEL
    from ganlib.data.raw.add import add_dataset
    from ganlib.storage import open_prefix, open_store

    if class_level is not None and not 0 <= class_level <= MAX_CLASS_LEVEL:
        raise ConfigError(f"--class-level {class_level} cannot be used: it is 0 to {MAX_CLASS_LEVEL}")
    settings = load_settings()
    added = add_dataset(
        open_store(settings),
        name,
        source,
        open_store=lambda uri: open_prefix(settings, uri),
        scratch=settings.scratch,
        labels=DatasetLabels(class_level=class_level, group=group or "", unlabelled=unlabelled),
        replace=replace,
        licence=licence,
    )
    print_added(added, replaced=replace, size=28 if added.format == "idx" else 64)


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
    most_refused: Annotated[
        float,
        typer.Option(
            metavar="PERCENT", min=0, max=100, help="Most pictures that may be unusable, in percent of all."
        ),
    ] = 100 * MOST_REFUSED,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Decode in so many processes of the cluster; 0: in this one.",
            show_default="one for each CPU of the cluster, from 20,000 new pictures on, else 0",
        ),
    ] = None,
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
    from ganlib.cli.dataset_reports import picture_progress, print_prepared, show_line
    from ganlib.data.preparation import Preparation
    from ganlib.data.versions import find_report, report_key
    from ganlib.jobs.prepare_dataset import prepare_anywhere
    from ganlib.quality.requirements import require_held_out
    from ganlib.storage import open_store

    settings = load_settings()
    store = open_store(settings)
    preparation = Preparation.model_validate(
        {"size": size, "channels": channels, "fit": fit, "background": colour}
    )
    with picture_progress("preparing") as progress:
        version, key = prepare_anywhere(
            settings,
            store,
            name,
            preparation,
            progress=progress,
            on_line=lambda line: show_line(line, progress),
            most_refused=most_refused / 100,
            workers=workers,
        )
    place = f"s3://{settings.s3_bucket}/{report_key(name, key)}"
    print_prepared(version, find_report(store, name, key), place)
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
        say("there is no dataset yet; `ganlib dataset add digits` adds one")
    else:
        print_datasets(found)


@command(dataset_app, "make-drivers", example="ganlib dataset make-drivers drivers.zip --pictures 2000")
def dataset_make_drivers(
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="The zip to write.")],
    pictures: Annotated[
        int, typer.Option(metavar="N", help="How many pictures; State Farm's archive has 22,424.")
    ] = 22_424,
    unlabelled: Annotated[
        int,
        typer.Option(
            metavar="N", help="How many pictures without a class, of other drivers; State Farm's has 79,726."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed draws other drivers.")] = 0,
) -> None:
    """Draw drivers at the wheel in ten classes: a stand-in for State Farm's zip, in its layout and size."""
    import shlex
    import time

    from ganlib.cli.output import terminal
    from ganlib.data.raw.drivers.archive import make_drivers

    console, begun = terminal(), time.monotonic()
    with console.status("drawing") as status:

        def show(done: int, total: int) -> None:
            status.update(
                f"{done:,} of {total:,} pictures, {done / (time.monotonic() - begun):,.0f} a second"
            )

        make_drivers(out, pictures=pictures, unlabelled=unlabelled, seed=seed, progress=show)
    size = out.stat().st_size / 2**20
    others = f" and {unlabelled:,} unlabelled ones" if unlabelled else ""
    say(f"{out}: {pictures:,} pictures{others}, {size:,.0f} MiB")
    say(f"next: ganlib dataset add statefarm --from {shlex.quote(str(out))}")


def _models_trained_on(settings: Settings, name: str, digests: Collection[str]) -> list[str]:
    """Ask the registry for the models that were trained on a dataset."""
    from ganlib.registry.dataset_use import trained_on, use_in_words
    from ganlib.registry.mlflow import MlflowRegistry

    return use_in_words(trained_on(MlflowRegistry(settings), name, digests))
