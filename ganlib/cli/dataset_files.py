"""``ganlib dataset export`` and ``verify``: a version's pictures out of the object store, and read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from ganlib.cli.datasets import DatasetArgument, dataset_app
from ganlib.cli.help import command
from ganlib.cli.options import say
from ganlib.errors import DataError
from ganlib.settings import load_settings

# Only light modules above: `ganlib --help` and a refused option must not wait for numpy.

__all__ = ["dataset_app"]

VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="DIGEST",
        help="Which version: the beginning of its digest.",
        show_default="the only one",
    ),
]


@command(dataset_app, "export", example="ganlib dataset export digits digits.npz")
def dataset_export(
    name: DatasetArgument,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new or empty folder, or a file that ends with .npz.")
    ],
    digest: VersionOption = None,
    kind: Annotated[
        Literal["png", "npz"] | None,
        typer.Option("--format", help="What OUT is.", show_default="npz where its name ends so, else png"),
    ] = None,
    split: Annotated[
        Literal["train", "held_out", "all"], typer.Option(help="Pictures to train on, held-out ones, or all.")
    ] = "all",
) -> None:
    """Write a version's pictures as folders of PNG with a table of labels, or as arrays in an .npz."""
    from ganlib.data.export import check_out, export_version
    from ganlib.data.shard_reader import stored_shards
    from ganlib.data.version_choice import pick_version
    from ganlib.data.versions import load_version
    from ganlib.records import Split
    from ganlib.storage import open_store

    chosen = kind or ("npz" if out.suffix.lower() == ".npz" else "png")
    check_out(out, chosen)
    splits: tuple[Split, ...] = ("train", "held_out") if split == "all" else (split,)
    store = open_store(load_settings())
    version = load_version(store, name, pick_version(store, name, digest))
    with counted("exporting", "pictures") as progress:
        total = export_version(version, stored_shards(store, version), out, chosen, splits, progress)
    say(f"{total:,} pictures of dataset {name} version {version.digest[:12]} in {out}")


@command(dataset_app, "verify", example="ganlib dataset verify digits")
def dataset_verify(
    name: DatasetArgument,
    digest: Annotated[
        str | None,
        typer.Option(
            "--version",
            metavar="DIGEST",
            help="Only this version: the beginning of its digest.",
            show_default="all versions",
        ),
    ] = None,
    discard: Annotated[
        bool,
        typer.Option(
            "--discard", help="Remove what is damaged, so that preparing again makes the version anew."
        ),
    ] = False,
) -> None:
    """Read versions back from the object store, every byte, and list what is wrong with them."""
    from ganlib.cli.dataset_views import print_verification
    from ganlib.data.verify import discard_faults, verify_version
    from ganlib.data.version_choice import pick_version, version_digests
    from ganlib.storage import open_store

    store, damaged = open_store(load_settings()), 0
    digests = version_digests(store, name) if digest is None else [pick_version(store, name, digest)]
    for each in digests:
        with counted(f"verifying {each[:12]}", "MB") as progress:
            found = verify_version(store, name, each, progress)
        print_verification(found)
        if found.faults and discard:
            say(f"removed {len(discard_faults(store, found)):,} objects of version {each}")
        damaged += bool(found.faults)
    if damaged:
        prepare = f"prepare it as it was, with ganlib dataset prepare {name} --size N"
        remedy = (
            prepare
            if discard
            else f"`ganlib dataset verify {name} --discard` removes what is damaged; then {prepare}"
        )
        raise DataError(
            f"{damaged:,} of {len(digests):,} versions of dataset {name} cannot be trusted; {remedy}: "
            "the same raw pictures make the same version"
        )


@contextmanager
def counted(doing: str, what: str) -> Iterator[Callable[[int, int], None]]:
    """A line on the terminal that says how far something is; what is given takes counts done and in all."""
    from ganlib.cli.output import terminal

    begun = time.monotonic()
    with terminal().status(doing) as status:

        def show(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - begun, 1e-3)
            left = (total - done) / rate if rate else 0
            status.update(f"{doing}: {done:,} of {total:,} {what}, {rate:,.0f} a second, {left:,.0f} s to go")

        yield show
