"""Run tracking on MLflow; :class:`~ganlib.tracking.spool.SpooledTracker` keeps it from delaying training."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ganlib.errors import ConfigError
from ganlib.names import RUN_TAG
from ganlib.ports import RunStart, RunStatus, check_picture
from ganlib.settings import Settings
from ganlib.tracking.server import MlflowConnection, active_run, quoted, restore_experiment
from ganlib.tracking.spool import SpooledTracker

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

__all__ = ["MlflowTracker", "SpooledTracker"]

PARENT_TAG = "mlflow.parentRunId"

_DESCRIPTION_TAG = "mlflow.note.content"
_DESCRIPTION_CHARACTERS = 5000
_KIND_OF_EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}
"""Makes MLflow open an experiment with its runs and curves, and not with an overview of language models."""
_METRICS_A_REQUEST = 1000
_PARAMS_A_REQUEST = 100
_DIGEST_CHARACTERS = 36


class MlflowTracker:
    """A :class:`~ganlib.ports.RunTracker` on an MLflow server; safe to use from several threads.

    A metric's step is the training clock in images. The tracker asks once which points and pictures of a
    run the server has, and remembers them, so only one tracker should write to a run. A run or experiment
    that was deleted in MLflow is restored by the next write to it.

    Args:
        settings: Where the server is.

    Raises:
        ConfigError: No address is configured, or it is no ``http://`` URL.
        ServiceError: From every method, when the server cannot be reached or fails.
        RequestRefused: From every method, when the server refuses what it was given.
    """

    def __init__(self, settings: Settings) -> None:
        self._connection = MlflowConnection(settings)
        self._lock = threading.Lock()
        self._last_steps: dict[str, dict[str, int]] = {}
        self._images: dict[str, set[tuple[str, int]]] = {}

    def start(self, run: RunStart) -> str:
        """Begin a run, or continue the one of that experiment and name; returns its id.

        A continued run keeps the parameters it has; tags take their new values. A server that is
        down is reported within ten seconds.
        """
        self._connection.check()
        with self._connection.client() as client, self._lock:
            from mlflow.entities import ViewType

            experiment = self._experiment(client, run.experiment)
            found = client.search_runs(
                [experiment],
                filter_string=f"tags.`{RUN_TAG}` = {quoted(run.name)}",
                run_view_type=ViewType.ALL,
            )
            if found:
                chosen = min(found, key=lambda each: each.info.lifecycle_stage != "active")
                known = active_run(client, chosen.info.run_id)
                client.update_run(known.info.run_id, status="RUNNING")
            else:
                known = client.create_run(experiment, tags={RUN_TAG: run.name}, run_name=run.name)
            _introduce(client, known, run)
        for path, data in run.files.items():
            self.artifact(known.info.run_id, path, data)
        return str(known.info.run_id)

    def metrics(self, run_id: str, step: int, values: Mapping[str, float]) -> None:
        """Log values at ``step`` images; a metric already logged at or after ``step`` is left alone."""
        self.points(run_id, [(step, values)])

    def points(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log values at several steps, in order, as :meth:`metrics` does, with few requests."""
        with self._connection.client() as client, self._lock:
            active_run(client, run_id)
            last = self._steps_of(client, run_id)
            ahead = dict(last)
            fresh = iter(_fresh(ahead, points))
            try:
                while batch := list(islice(fresh, _METRICS_A_REQUEST)):
                    client.log_batch(run_id, metrics=batch, synchronous=True)
                    last.update({metric.key: metric.step for metric in batch})
            except BaseException:
                # The server may have stored some of them; ask it again before the next point.
                self._last_steps.pop(run_id, None)
                raise

    def image(self, run_id: str, key: str, step: int, image: np.ndarray) -> None:
        """Log a picture, uint8 [height, width] or [height, width, 3], once per key and step."""
        check_picture(image)
        with self._connection.client() as client, self._lock:
            active_run(client, run_id)
            known = self._images_of(client, run_id)
            if (key, step) in known:
                return
            try:
                client.log_image(run_id, image, key=key, step=step, synchronous=True)
            except ValueError as error:
                raise ConfigError(f"{key!r} cannot be a picture's name in MLflow: {error}") from error
            known.add((key, step))

    def artifact(self, run_id: str, path: str, data: bytes) -> None:
        """Attach a file to the run under ``path``, relative and without ``..``."""
        place = PurePosixPath(path)
        if place.is_absolute() or ".." in place.parts or not place.name:
            raise ConfigError(
                f"{path!r} cannot be an artifact's path: it must be relative, as in 'grids/last.png'"
            )
        folder = None if place.parent == PurePosixPath() else str(place.parent)
        with self._connection.client() as client, tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / place.name
            file.write_bytes(data)
            active_run(client, run_id)
            client.log_artifact(run_id, str(file), artifact_path=folder)

    def describe(self, run_id: str, markdown: str) -> None:
        """Replace the text that the run's page shows, at most 5,000 characters."""
        with self._connection.client() as client:
            active_run(client, run_id)
            client.set_tag(run_id, _DESCRIPTION_TAG, markdown[:_DESCRIPTION_CHARACTERS])

    def finish(self, run_id: str, status: RunStatus) -> None:
        """End a run."""
        with self._connection.client() as client:
            active_run(client, run_id)
            client.set_terminated(run_id, status=status.upper())

    def end_abandoned(self, run: RunStart) -> None:
        """End as killed a run and its parts whose job has died; those that have ended stay as they are."""
        with self._connection.client() as client:
            experiment = client.get_experiment_by_name(run.experiment)
            if experiment is None:
                return

            def search(tag: str, value: str) -> list[Run]:
                return list(client.search_runs([experiment.experiment_id], f"tags.`{tag}` = {quoted(value)}"))

            runs = search(RUN_TAG, run.name)
            parts = [part for known in runs for part in search(PARENT_TAG, known.info.run_id)]
            for known in (*runs, *parts):
                if known.info.status == "RUNNING":
                    client.set_terminated(known.info.run_id, status="KILLED")

    def _experiment(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return client.create_experiment(name, tags=_KIND_OF_EXPERIMENT)
            except MlflowException as error:
                found = client.get_experiment_by_name(name)
                if found is None:  # so the error is not that another process has just created it
                    raise error
        restore_experiment(client, found.experiment_id)
        return str(found.experiment_id)

    def _steps_of(self, client: MlflowClient, run_id: str) -> dict[str, int]:
        if run_id not in self._last_steps:
            latest = client.get_run(run_id).data.to_proto().metrics
            self._last_steps[run_id] = {metric.key: metric.step for metric in latest}
        return self._last_steps[run_id]

    def _images_of(self, client: MlflowClient, run_id: str) -> set[tuple[str, int]]:
        if run_id not in self._images:
            files = client.list_artifacts(run_id, "images")
            self._images[run_id] = {found for file in files if (found := _image_in(file.path))}
        return self._images[run_id]


def _introduce(client: MlflowClient, known: Run, run: RunStart) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

    run_id = known.info.run_id
    params = [Param(name, value) for name, value in run.params.items() if name not in known.data.params]
    tags = [RunTag(name, value) for name, value in run.tags.items() if name != RUN_TAG]
    tags.append(RunTag("ganlib.dataset_digest", run.dataset_digest))
    if run.parent:
        # MLflow's list of runs folds the runs of one parent together by this tag.
        tags.append(RunTag(PARENT_TAG, run.parent))
    for start in range(0, max(len(params), len(tags)), _PARAMS_A_REQUEST):
        part = slice(start, start + _PARAMS_A_REQUEST)
        client.log_batch(run_id, params=params[part], tags=tags[part], synchronous=True)
    if known.inputs is None or not known.inputs.dataset_inputs:
        dataset = Dataset(
            name=run.dataset_name,
            digest=run.dataset_digest[:_DIGEST_CHARACTERS],  # MLflow's limit; the tag has the whole digest
            source_type="s3",
            source=json.dumps({"uri": run.dataset_source}),
        )
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _fresh(last: dict[str, int], points: Sequence[tuple[int, Mapping[str, float]]]) -> list[Metric]:
    """Return the points with larger steps than ``last``, and update ``last``."""
    from mlflow.entities import Metric

    now, fresh = time.time_ns() // 1_000_000, []
    for step, values in points:
        for name, value in values.items():
            if name not in last or step > last[name]:
                fresh.append(Metric(name, float(value), now, step))
                last[name] = step
    return fresh


def _image_in(path: str) -> tuple[str, int] | None:
    """Parse key and step of a logged picture, from its small ``.webp`` copy, which MLflow stores last."""
    name, plus_step, rest = PurePosixPath(path).name.partition("+step+")
    step = rest.partition("+")[0]
    if not plus_step or not path.endswith(".webp") or not step.isdigit():
        return None
    return name.replace("~", "/"), int(step)
