"""The data card and the contact sheet of a dataset, in the MLflow run of each training on it."""

from __future__ import annotations

from ganlib.cluster.lines import Say
from ganlib.data.cache import LocalDataset
from ganlib.data.contact_sheet import contact_sheet
from ganlib.data.data_card import data_card
from ganlib.data.licences import licence_of
from ganlib.data.reports import class_counts, fullest_report, stored_reports
from ganlib.data.shard_reader import local_shards, stored_shards
from ganlib.data.streaming import StreamedDataset
from ganlib.ports import ObjectStore, RunTracker

CARD, SHEET = "dataset/card.md", "dataset/contact-sheet.png"
"""Paths of the two among a run's artifacts."""


def log_dataset(
    store: ObjectStore,
    tracker: RunTracker,
    tracking_run_id: str,
    dataset: LocalDataset,
    licence: str,
    say: Say,
    *,
    with_sheet: bool = True,
) -> None:
    """Attach the dataset's card and contact sheet to a run; whatever fails is told and ends nothing.

    The sheet is drawn from the shards on this machine, in less than a second.

    Args:
        store: Has the reports of the dataset's preparations.
        tracker: Receives both; should not block.
        tracking_run_id: The tracker's id of the run.
        dataset: The version, on this machine.
        licence: As the run's configuration states it; ``unknown`` takes what was stated when the dataset was
            added, or what a recipe states.
        say: Takes a warning for the job's log.
        with_sheet: Whether to draw the sheet, too.
    """
    version = dataset.version
    try:
        reports = [report for _, report, _ in stored_reports(store, version.name) if report is not None]
        report = fullest_report(reports, version.digest)
        stated = licence_of(store, version.name, licence)
        card = data_card(version, report, stated, sheet=SHEET.rpartition("/")[2] if with_sheet else "")
        tracker.artifact(tracking_run_id, CARD, card.encode())
        if with_sheet:
            counts = class_counts(version, report)
            # This machine has only a few shards of a streamed dataset.
            streamed = isinstance(dataset, StreamedDataset)
            shards = stored_shards(store, version) if streamed else local_shards(dataset.folder)
            tracker.artifact(tracking_run_id, SHEET, contact_sheet(version, shards, counts))
    except Exception as error:  # noqa: BLE001 - a picture for people must not end a training of days
        say(
            f"warning: the run shows no card or contact sheet of its dataset: {type(error).__name__}: {error}"
        )
