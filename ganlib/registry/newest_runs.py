"""The newest training runs that an MLflow server knows, with the versions registered of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganlib.names import RUN_TAG, is_log_name
from ganlib.registry.claims import CLAIM_TAG
from ganlib.settings import Settings
from ganlib.tracking.mlflow import PARENT_TAG
from ganlib.tracking.server import MlflowConnection, quoted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_RUNS = 1000
"""Most runs that are listed."""

_SWEEP_TAG = "ganlib.sweep"
_EXPERIMENTS_A_PAGE, _RUNS_A_PAGE, _RUNS_A_FILTER = 1000, 200, 50


@dataclass(frozen=True)
class TrackedRun:
    """A training run; ``None`` for what the tracker does not know."""

    run: str
    status: str
    """``running``, ``finished``, ``failed``, ``killed`` or ``scheduled``, as the tracker has it."""
    recipe: str
    dataset: str | None
    dataset_digest: str | None
    metric: str | None
    """Name of the distance of the finished run's evaluation."""
    value: float | None
    """That distance."""
    started: float
    """Seconds since 1970, UTC."""
    versions: tuple[str, ...]
    """Registered versions made of it, as ``MODEL/VERSION``."""


def newest_runs(settings: Settings, count: int) -> list[TrackedRun]:
    """The newest training runs, the newest first; neither sweeps nor their trials.

    Args:
        settings: Where the tracking server is.
        count: Most runs, 1 to :data:`MOST_RUNS`.

    Raises:
        ServiceError: The server cannot be reached or fails.
        ConfigError: No server is configured.
    """
    connection = MlflowConnection(settings)
    connection.check()
    with connection.client() as client:
        names = _experiments(client)
        found = _newest(client, list(names), count)
        versions = _versions(client, [run.info.run_id for run in found])
        return [_tracked(run, names, versions.get(run.info.run_id, ())) for run in found]


def _experiments(client: MlflowClient) -> dict[str, str]:
    """Names of all experiments by their ids."""
    names: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_experiments(max_results=_EXPERIMENTS_A_PAGE, page_token=token)
        names.update({each.experiment_id: each.name for each in page})
        token = page.token
        if not token:
            return names


def _newest(client: MlflowClient, experiments: list[str], count: int) -> list[Run]:
    found: list[Run] = []
    token: str | None = None
    while len(found) < count:
        page = client.search_runs(
            experiments,
            f"tags.`{RUN_TAG}` LIKE '%'",
            max_results=_RUNS_A_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        # MLflow's filters cannot ask for runs without a tag.
        found += [run for run in page if not {_SWEEP_TAG, PARENT_TAG} & set(run.data.tags)]
        token = page.token
        if not token:
            break
    return found[:count]


def _versions(client: MlflowClient, runs: list[str]) -> dict[str, tuple[str, ...]]:
    """Registered versions by the tracker's id of the run they were made of."""
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(runs), _RUNS_A_FILTER):
        ids = ", ".join(map(quoted, runs[start : start + _RUNS_A_FILTER]))
        for version in client.search_model_versions(f"run_id IN ({ids})", max_results=1000):
            if not is_log_name(version.name) and CLAIM_TAG not in version.tags:
                name = f"{version.name}/{version.version}"
                found[version.run_id or ""] = (*found.get(version.run_id or "", ()), name)
    return found


def _tracked(run: Run, experiments: dict[str, str], versions: tuple[str, ...]) -> TrackedRun:
    inputs = run.inputs.dataset_inputs if run.inputs is not None else []
    metric = next((name for name in sorted(run.data.metrics) if _is_final(name)), None)
    return TrackedRun(
        run=run.data.tags[RUN_TAG],
        status=run.info.status.lower(),
        recipe=experiments[run.info.experiment_id],
        dataset=inputs[0].dataset.name if inputs else None,
        dataset_digest=run.data.tags.get("ganlib.dataset_digest"),
        metric=metric,
        value=None if metric is None else run.data.metrics[metric],
        started=run.info.start_time / 1000,
        versions=versions,
    )


def _is_final(name: str) -> bool:
    """Whether a metric is the distance of a finished run's evaluation."""
    return (name == "fid" or name.startswith("fd_")) and not name.endswith(("_curve", "_untrained"))
