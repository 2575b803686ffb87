"""The list of training runs, against a real MLflow server."""

from __future__ import annotations

import dataclasses

import pytest

from ganlib.core.networks import Generator
from ganlib.errors import ServiceError
from ganlib.ports import Publication, RunStart
from ganlib.registry import newest_runs as listing
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.registry.newest_runs import newest_runs
from ganlib.settings import Settings
from ganlib.tracking.mlflow import MlflowTracker


@pytest.mark.services
def test_the_newest_runs_come_first_with_their_versions_and_without_trials(
    settings: Settings, run_start: RunStart, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = MlflowTracker(settings)
    older, newer = (dataclasses.replace(run_start, name=f"{name}-{which}") for which in ("a", "b"))
    first = tracker.start(older)
    tracker.metrics(first, 0, {"fd_classifier": 800.0, "fd_classifier_curve": 810.0})
    tracker.metrics(first, 640, {"fd_classifier": 247.5, "fd_classifier_curve": 250.0})
    tracker.finish(first, "finished")
    tracker.start(newer)
    sweep = dataclasses.replace(run_start, name=f"{name}-sweep", tags={"ganlib.sweep": f"{name}-sweep"})
    parent = tracker.start(sweep)
    for number in range(3):  # on a page of their own, to be gone past
        tracker.start(dataclasses.replace(run_start, name=f"{name}-trial-{number}", parent=parent))
    registry = MlflowRegistry(settings)
    for model in (f"{name}-m", f"{name}-n"):
        network = Generator(size=28, channels=1, latent_dim=5, width=4).eval()
        publication = Publication(
            model=model, run=older.name, tracking_run_id=first, generator=network, latent_dim=5, tags={}
        )
        registry.publish(publication)
        registry.move(model, "champion", 1, expected=None, who="tests", why="its log has versions, too")

    monkeypatch.setattr(listing, "_RUNS_A_PAGE", 2)
    second, found = newest_runs(settings, 2)
    assert (second.run, second.status, second.versions) == (newer.name, "running", ())
    assert (second.metric, second.value) == (None, None)
    assert (found.run, found.status) == (older.name, "finished")
    assert set(found.versions) == {f"{name}-m/1", f"{name}-n/1"}
    assert (found.metric, found.value) == ("fd_classifier", 247.5)
    assert (found.recipe, found.dataset, found.dataset_digest) == ("contracts", "digits", "d" * 64)
    assert found.started <= second.started
    assert [run.run for run in newest_runs(settings, 1)] == [newer.name]


def test_a_server_that_is_down_is_told(closed_port: str, settings: Settings) -> None:
    with pytest.raises(ServiceError, match="nothing answers there"):
        newest_runs(settings.model_copy(update={"mlflow_uri": closed_port}), 5)
