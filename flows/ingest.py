"""The flow ``ingest``: from whatever lies in a bucket to a prepared version of a dataset.

Repeated, it copies and decodes only what is new, so a schedule can keep a dataset up to date with a bucket
that grows.
"""

from __future__ import annotations

from typing import Literal

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact

from flows.log import begin, tell
from flows.stages import prepare_dataset
from ganlib.config.parts import MOST_REFUSED
from ganlib.data.data_card import data_card
from ganlib.data.labelling.dataset_labels import DatasetLabels
from ganlib.data.licences import licence_of
from ganlib.data.preparation import Preparation
from ganlib.data.raw.add import AddedDataset, add_dataset
from ganlib.data.versions import find_report
from ganlib.jobs.prepare_dataset import Prepared
from ganlib.records import DatasetVersion, Record
from ganlib.settings import load_settings
from ganlib.storage import open_prefix, open_store


class Ingested(Record):
    """Result of a run of the flow."""

    added: AddedDataset
    version: DatasetVersion


@flow(name="ingest", flow_run_name="{name}")
def ingest(
    name: str,
    source: str | None = None,
    size: Literal[28, 32, 64, 128, 256] = 64,
    channels: Literal[1, 3] | None = None,
    fit: Literal["crop", "stretch", "pad"] = "crop",
    background: str = "#ffffff",
    class_level: int | None = None,
    group: str = "",
    unlabelled: bool = False,
    replace: bool = False,
    most_refused: float = MOST_REFUSED,
    licence: str = "",
) -> Ingested:
    """Add pictures to a dataset and prepare a version of all of it.

    Args:
        name: The dataset.
        source: ``s3://BUCKET/PREFIX``, or a folder or file on the machine of the worker: pictures, archives,
            arrays, tables. Left out: a known dataset's own source.
        size: Side of the square pictures, pixels.
        channels: 1 grey, 3 colour; left out: 1 for IDX files, 3 for pictures.
        fit: How pictures become square: cut, distorted, or with a border.
        background: Colour behind transparent pictures and of the border, as ``#ffffff``.
        class_level: The folder that names the class: 1 the outermost, 0 none. Left out: as before.
        group: What tells groups, whole ones of which are held out: a column, or a pattern with parentheses.
        unlabelled: Take State Farm's pictures without a class, too.
        replace: Remove what was added before and is not in the source.
        most_refused: Largest share of the pictures that may be unusable, 0 to 1.
        licence: Licence of the pictures, for the cards: CC-BY-4.0, or a sentence. Left out: as before.
    """
    labels = DatasetLabels(class_level=class_level, group=group, unlabelled=unlabelled)
    preparation = Preparation(size=size, channels=channels, fit=fit, background=background.lower())
    added = add_source(name, source, labels, replace, licence or None)
    version, key = prepare_added(name, preparation, most_refused)
    _summarize(version, key)
    return Ingested(added=added, version=version)


@task(task_run_name="add {name}")
def add_source(
    name: str, source: str | None, labels: DatasetLabels, replace: bool, licence: str | None = None
) -> AddedDataset:
    """Put the source's files into the object store; those that are there already are not copied again."""
    begin("add")
    settings = load_settings()
    added = add_dataset(
        open_store(settings),
        name,
        source,
        open_store=lambda uri: open_prefix(settings, uri),
        scratch=settings.scratch,
        labels=labels,
        replace=replace,
        licence=licence,
    )
    tell(f"{added.uploaded:,} of {added.objects:,} files are new, {added.removed:,} were removed")
    return added


@task(task_run_name="prepare {name}")
def prepare_added(name: str, preparation: Preparation, most_refused: float) -> Prepared:
    """Prepare the dataset, on the cluster if it is large."""
    prepared = prepare_dataset(name, preparation, most_refused)
    version = prepared.version
    tell(
        f"dataset {name} version {version.digest}: {version.count('train'):,} pictures to train on, "
        f"{version.count('held_out'):,} held out"
    )
    return prepared


def _summarize(version: DatasetVersion, key: str) -> None:
    store = open_store(load_settings())
    report = find_report(store, version.name, key)
    card = data_card(version, report, licence_of(store, version.name), sheet="")
    create_markdown_artifact(card, key="ingested", description=version.name)
