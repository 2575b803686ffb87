"""Output of the commands that add and prepare datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ganlib.cli.options import say
from ganlib.cli.output import one_line, terminal
from ganlib.cluster.lines import StageProgress, read_line

if TYPE_CHECKING:
    from ganlib.data.formats.entries import Refused
    from ganlib.data.preparation import PreparationReport
    from ganlib.data.raw.add import AddedDataset
    from ganlib.records import DatasetVersion

MOST_CLASSES = 20
"""Classes that are printed."""

MOST_KINDS = 20
"""Kinds of files that are printed."""


def print_added(added: AddedDataset, *, replaced: bool, size: int) -> None:
    """Print what was taken from a source, what was not, and the next command.

    Args:
        added: The result of the add.
        replaced: Whether the source was made the whole truth.
        size: The size of prepared pictures in the next command, in pixels.
    """
    say(f"dataset {added.name}: {added.source}")
    what = "files" if added.format == "pictures" else "IDX files"
    removed = f", {added.removed:,} removed" if replaced else ""
    say(f"{what}: {added.uploaded:,} added, {added.objects - added.uploaded:,} unchanged{removed}")
    if added.by_suffix:
        say(f"{sum(added.by_suffix.values()):,} pictures in the source: {counted(added.by_suffix)}")
    if added.left_out:
        say(f"{added.left_out:,} pictures without a class left out; --unlabelled takes them")
    if added.passed_over:
        say(f"passed over: {counted(added.passed_over)}")
    if added.refused:
        print_refused(added.refused)
    if added.rows_without_picture:
        say(f"{added.rows_without_picture:,} rows of the table have no picture")
    if added.unused_tables:
        say(f"{added.unused_tables:,} tables not used: classes are read from the columns file and label")
    if added.tables_not_looked_at:
        say(_not_looked_at(added))
    if added.format == "pictures":
        say(_classes(added.by_class))
    elif added.classes:
        say(f"{len(added.classes):,} classes: {', '.join(added.classes[:MOST_CLASSES])}")
    if added.groups:
        say(f"{added.groups:,} groups, whole ones of which will be held out")
    say(f"next: ganlib dataset prepare {added.name} --size {size}")


def print_prepared(version: DatasetVersion, report: PreparationReport | None, place: str) -> None:
    """Print a version in numbers, what was refused, and where all of that is.

    Args:
        version: The version.
        report: Of its preparation; ``None`` for a version of an older ganlib.
        place: Address of the report, for people.
    """
    train, held_out = version.count("train"), version.count("held_out")
    say(f"dataset {version.name} version {version.digest}")
    say(f"{train:,} pictures to train on, {held_out:,} held out{_split(report)}")
    if report is None:
        return
    if report.copies:
        say(f"{report.copies:,} exact copies left out")
    if report.near_copies:
        say(f"{report.near_copies:,} of the held-out pictures look almost like one to train on")
        if report.split_by == "content":
            say("  for frames of one video, say, give --group when adding them: whole groups are held out")
    if report.refused_count:
        print_refused(report.refused)
        say(f"the list: ganlib dataset show {version.name} --refused, and in {place}")


def print_refused(refused: Sequence[Refused]) -> None:
    """Print refused pictures: how many by reason, and the first of them."""
    say(f"refused: {counted(Counter(each.reason for each in refused))}")
    for each in refused[:3]:
        say(f"  {each.name}: {each.detail or each.reason}")


def counted(counts: Mapping[str, int]) -> str:
    """Counts by kind, the most frequent first, and of many kinds the rest: ``6 .webp, 2 hidden``."""
    ordered = sorted(counts.items(), key=lambda c: (-c[1], c[0]))
    parts = [f"{count:,} {one_line(kind)}" for kind, count in ordered[:MOST_KINDS]]
    if rest := ordered[MOST_KINDS:]:
        parts.append(f"{sum(count for _, count in rest):,} of {len(rest):,} other kinds")
    return ", ".join(parts)


@contextmanager
def picture_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with pictures a second and time left, on a terminal; nothing elsewhere.

    Gives a function that takes pictures done and pictures in all.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Pictures a second, lately."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:,.0f} a second")

    console = terminal()
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def show_line(line: str, progress: Callable[[int, int], None]) -> None:
    """Show a line of a preparation's job: its progress on the bar, and its errors."""
    said = read_line(line)
    if isinstance(said, StageProgress) and said.images is not None:
        progress(said.images, said.total_images or 0)
    elif isinstance(said, str) and not said.startswith("dataset "):
        say(said)


def _not_looked_at(added: AddedDataset) -> str:
    from ganlib.data.labelling.label_table import MAX_TABLE_BYTES
    from ganlib.data.raw.source_tables import MOST_TABLE_BYTES, MOST_TABLES

    named = ", ".join(map(one_line, added.first_tables_not_looked_at))
    more = ", …" if added.tables_not_looked_at > len(added.first_tables_not_looked_at) else ""
    return (
        f"{added.tables_not_looked_at:,} tables not looked at: {named}{more}; at most {MOST_TABLES:,} are, "
        f"of {MAX_TABLE_BYTES / 2**20:.0f} MiB each and {MOST_TABLE_BYTES / 2**20:.0f} MiB together: "
        "put the one that gives the classes at the top, and take others out"
    )


def _classes(by_class: Mapping[str, int]) -> str:
    named = {name: count for name, count in by_class.items() if name}
    if not named:
        return "no classes: the pictures are in no folders, and no table gives them any"
    shown = ", ".join(f"{name} {count:,}" for name, count in list(named.items())[:MOST_CLASSES])
    return f"{len(named):,} classes: {shown}" + (", …" if len(named) > MOST_CLASSES else "")


def _split(report: PreparationReport | None) -> str:
    if report is None or report.split_by == "content":
        return ""
    if report.split_by == "source":
        return ", as the source's own files have it"
    groups = report.held_out_groups
    shown = ", ".join(groups[:10]) + (", …" if len(groups) > 10 else "")
    return f": whole groups, {len(groups):,} of them ({shown})"
