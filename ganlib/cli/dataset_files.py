"""``ganlib dataset show``, ``verify`` and ``export``: what a dataset's versions hold."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ganlib.cli.datasets import DatasetArgument, dataset_app
from ganlib.cli.help import command
from ganlib.cli.options import Json, say
from ganlib.errors import ConfigError, DataError, ServiceError
from ganlib.settings import Settings, load_settings

if TYPE_CHECKING:
    from ganlib.ports import ObjectStore

# Only light modules above: `ganlib --help` and a refused option must not wait for numpy.

__all__ = ["dataset_app"]

OnlyVersion = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="DIGEST",
        help="Only this version: the beginning of its digest.",
        show_default="all versions",
    ),
]

OneVersion = Annotated[
    str | None,
    typer.Option(
        "--version",
        metavar="DIGEST",
        help="Which version: the beginning of its digest.",
        show_default="the only one",
    ),
]


@command(dataset_app, "show", example="ganlib dataset show digits")
def dataset_show(
    name: DatasetArgument,
    digest: OnlyVersion = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.png",
            help="Write a contact sheet, too: some pictures of each class.",
            show_default="none",
        ),
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Print only the pictures that were refused, one a line.")
    ] = False,
    json: Json = False,
) -> None:
    """Show a dataset: what was added, its versions, their classes and splits, and what was refused."""
    from ganlib.cli.dataset_views import detailed_values, print_details
    from ganlib.cli.output import as_json
    from ganlib.cli.version_views import refused_lines
    from ganlib.data.summary import describe
    from ganlib.data.version_choice import pick_version
    from ganlib.data.windows import way_now
    from ganlib.storage import open_store

    if refused and json:
        raise ConfigError("--refused is a list for people, and --json has it anyway: give one of them")
    settings = load_settings()
    store, address = open_store(settings), f"s3://{settings.s3_bucket}/"
    chosen = pick_version(store, name, digest) if digest or sheet else None
    found = describe(
        store,
        name,
        only=chosen if digest else None,
        way=lambda version: way_now(version, settings.cache_bytes),
    )
    if sheet is not None and chosen is not None:
        _write_sheet(store, name, chosen, sheet)
    if refused:
        for version in found.summary.versions:
            for line in refused_lines(version, found.reports.get(version.digest)):
                say(line)
    elif json:
        say(as_json(detailed_values(found, address)))
    else:
        print_details(found, address)
        if sheet is not None:
            say(f"contact sheet of version {(chosen or '')[:12]} in {sheet}")


def _write_sheet(store: ObjectStore, name: str, digest: str, out: Path) -> None:
    """Write a version's contact sheet, beside its place and renamed; one that is there is replaced."""
    from ganlib.data.contact_sheet import contact_sheet
    from ganlib.data.reports import class_counts, fullest_report, stored_reports
    from ganlib.data.shard_reader import stored_shards
    from ganlib.data.versions import load_version

    version = load_version(store, name, digest)
    reports = [report for _, report, _ in stored_reports(store, name) if report is not None]
    counts = class_counts(version, fullest_report(reports, digest))
    data = contact_sheet(version, stored_shards(store, version), counts)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(out)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigError(
            f"--sheet {out} cannot be written: {error.strerror}; name a .png in a folder that is there"
        ) from error


@command(dataset_app, "export", example="ganlib dataset export digits digits.npz")
def dataset_export(
    name: DatasetArgument,
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new or empty folder, or a file that ends with .npz.")
    ],
    digest: OneVersion = None,
    kind: Annotated[
        Literal["png", "npz"] | None,
        typer.Option("--format", help="What OUT is.", show_default="npz where its name ends so, else png"),
    ] = None,
    split: Annotated[
        Literal["train", "held_out", "all"], typer.Option(help="Pictures to train on, held-out ones, or all.")
    ] = "all",
) -> None:
    """Write a version's pictures as folders of PNG with a table of labels, or as arrays in an .npz."""
    from ganlib.data.shard_reader import stored_shards
    from ganlib.data.version_choice import pick_version
    from ganlib.data.version_files import check_out, export_version
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
    digest: OnlyVersion = None,
    discard: Annotated[
        bool,
        typer.Option(
            "--discard",
            help="Remove what is damaged, so that preparing again makes the version anew, and what "
            "interrupted preparations of other raw pictures left.",
        ),
    ] = False,
) -> None:
    """Read versions back from the object store, every byte, and list what is wrong with them."""
    from ganlib.cli.version_views import prepare_command, print_verification
    from ganlib.data.verify import discard_faults, verify_version
    from ganlib.data.version_choice import pick_version, version_digests
    from ganlib.storage import open_store

    settings = load_settings()
    store, remedies = open_store(settings), dict[str, None]()
    _unfinished(settings, store, name, discard=discard)
    damaged = 0
    digests = version_digests(store, name) if digest is None else [pick_version(store, name, digest)]
    for each in digests:
        with counted(f"verifying {each[:12]}", "MB") as progress:
            found = verify_version(store, name, each, progress)
        again = prepare_command(store, found)  # asked now, since a discarded report cannot tell
        print_verification(found)
        if found.faults and discard:
            say(f"removed {len(discard_faults(store, found)):,} objects of version {each}")
        if found.faults:
            damaged += 1
            remedies[again] = None
    if damaged:
        prepare = f"prepare it as it was, with {' and '.join(remedies)}"
        remedy = (
            prepare
            if discard
            else f"`ganlib dataset verify {name} --discard` removes what is damaged; then {prepare}"
        )
        raise DataError(
            f"{damaged:,} of {len(digests):,} versions of dataset {name} cannot be trusted; {remedy}: "
            "the same raw pictures make the same version"
        )


def _unfinished(settings: Settings, store: ObjectStore, name: str, *, discard: bool) -> None:
    """Tell of work that interrupted preparations left and that fits no more, or remove it."""
    from ganlib.cli.version_views import size_text
    from ganlib.data.unfinished_work import discard_work, outdated_work

    works = outdated_work(store, name) if name and "/" not in name else []
    if not works:
        return
    what = f"{len(works):,} interrupted preparations of other raw pictures"
    size = size_text(sum(work.bytes for work in works))
    if not discard:
        say(f"{what} left {size}; `ganlib dataset verify {name} --discard` removes it")
        return
    # Imported here: it needs Ray's client, which takes a second.
    from ganlib.cluster.launch import is_running

    try:
        removed = discard_work(store, works, lambda job: is_running(settings, job))
    except ServiceError as error:
        say(f"{what} left {size}, which stays: whether a job is at work on it cannot be asked ({error})")
        return
    busy = f"; jobs are at work on {len(works) - removed:,} others" if removed < len(works) else ""
    say(f"removed what {removed:,} of {what} left{busy}")


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
