from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import requests
from e2e_commands import TINY, Run
from mlflow import MlflowClient
from PIL import Image

from ganlib.logins import login_headers
from ganlib.settings import Settings
from ganlib.storage import S3Store
from ganlib.sweep.records import SweepResult

# The limits are generous for busy machines: they only end a test that hangs.
pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]

JOBS = 3
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""

RECIPE = "digits-wgan"
WORDS = [
    "sweep",
    RECIPE,
    *(part for item in TINY.items() for part in ("--set", "=".join(map(str, item)))),
    *("--algorithm", "grid", "--search", "cadence.n_critic=1,2", "--search", "objective.clip=0.05,0.1"),
    *("--budget-kimg", "3", "--grace-kimg", "1", "--finalists", "2"),
]


@pytest.fixture(scope="module")
def sweep(ganlib: Run, digits: str, store: S3Store) -> dict[str, Any]:
    """The output and the result of a sweep of four tiny trials."""
    before = {o.key for o in store.list("sweeps/") if o.key.endswith("/result.json")}
    done = ganlib(*WORDS)
    [key] = {o.key for o in store.list("sweeps/") if o.key.endswith("/result.json")} - before
    return {"output": done.stdout, "result": SweepResult.from_json(store.get(key))}


def test_the_command_prints_a_table_and_the_best_trial(
    sweep: dict[str, Any], stack_settings: Settings
) -> None:
    result, said = sweep["result"], sweep["output"]
    assert result.status == "finished"
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
    assert result.trials[0].values == {"cadence.n_critic": 2, "objective.clip": 0.1}
    [best] = [trial for trial in result.trials if trial.number == result.best]
    recipe = result.trials[0]
    assert best.evaluation is not None
    assert recipe.evaluation is not None
    assert best.evaluation.value <= recipe.evaluation.value
    assert best.evaluation.draw != 1, "fresh latents"
    table = [line.split() for line in said.splitlines()]
    assert ["trial", "status", "n_critic", "clip"] in [line[:4] for line in table]
    assert {line[0] for line in table if len(line) > 3 and line[1] in ("finished", "stopped")} == set("0123")
    assert ("the recipe itself, trial 0" in said) != ("The recipe's own values, trial 0" in said)
    assert f"{stack_settings.mlflow_uri}/#/runs/{result.tracking_run_id}" in said


def test_every_trial_is_a_child_run_and_the_parent_run_has_the_pictures(
    sweep: dict[str, Any], mlflow: MlflowClient, tmp_path: Path
) -> None:
    result = sweep["result"]
    parent = mlflow.get_run(result.tracking_run_id)
    assert parent.info.status == "FINISHED"
    found = mlflow.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{result.tracking_run_id}'"
    )
    assert {run.info.run_id for run in found} == {trial.tracking_run_id for trial in result.trials}
    for run in found:
        assert run.data.params["cadence.n_critic"] in ("1", "2")
        assert mlflow.get_metric_history(run.info.run_id, result.metric)
    kept = {file.path for file in mlflow.list_artifacts(result.tracking_run_id, "sweep")}
    names = ("heat_map", "parallel_coordinates", "curves", "samples")
    assert kept == {f"sweep/{name}.png" for name in names} | {
        f"sweep/trials.{kind}" for kind in ("md", "csv", "json")
    }
    for name in names:
        path = mlflow.download_artifacts(result.tracking_run_id, f"sweep/{name}.png", str(tmp_path))
        with Image.open(path) as picture:
            assert picture.size[0] >= 1200
    shown = {file.path.rpartition("/")[2] for file in mlflow.list_artifacts(result.tracking_run_id, "images")}
    assert all(any(file.startswith(f"sweep_{name}+") for file in shown) for name in names)
    values = parent.data.metrics
    assert values["trials_finished"] + values["trials_stopped"] == 4
    assert values["best_final_distance"] <= values["recipe_final_distance"]
    path = mlflow.download_artifacts(result.tracking_run_id, "sweep/trials.csv", str(tmp_path))
    rows = list(csv.DictReader(io.StringIO(Path(path).read_text())))
    assert {int(row["trial"]) for row in rows} == {0, 1, 2, 3}
    assert float(rows[0]["final_distance"]) == values["best_final_distance"]


def test_the_same_command_repeats_no_trial_and_can_train_the_best_one_on(
    sweep: dict[str, Any], ganlib: Run, store: S3Store, mlflow: MlflowClient, stack_settings: Settings
) -> None:
    key = f"sweeps/{sweep['result'].sweep}/result.json"
    before = store.get(key)
    published = [version.version for version in mlflow.search_model_versions(f"name = '{RECIPE}'")]
    said = ganlib(*WORDS, "--train-on").stdout
    assert "Trained on to 4 kimg" in said
    assert "Registered" not in said
    found = [version.version for version in mlflow.search_model_versions(f"name = '{RECIPE}'")]
    assert found == published, "publishing was not asked for"
    said = ganlib(*WORDS, "--train-on", "--publish").stdout
    assert store.get(key) == before
    assert "Trained on to 4 kimg" in said
    assert f"Registered {RECIPE}/" in said
    assert mlflow.get_registered_model(RECIPE)
    artifacts = requests.post(
        f"{stack_settings.prefect_api_url}/artifacts/filter",
        json={"artifacts": {"key": {"any_": ["swept"]}}},
        headers=login_headers(stack_settings, "prefect"),
        timeout=30,
    ).json()
    assert any(sweep["result"].sweep in artifact["data"] for artifact in artifacts)


def test_sweep_status_shows_a_finished_sweep(sweep: dict[str, Any], ganlib: Run) -> None:
    name = sweep["result"].sweep
    assert f"{name}: finished, 4 trials" in ganlib("sweep-status").stdout
    shown = ganlib("sweep-status", name).stdout
    assert shown == sweep["output"][sweep["output"].index(name) :].partition("The same command")[0]


def test_a_dry_run_prints_the_plan_and_starts_no_sweep(
    sweep: dict[str, Any], ganlib: Run, store: S3Store
) -> None:
    def begun() -> list[str]:
        return [o.key for o in store.list("sweeps/")]

    before = begun()
    said = ganlib(*WORDS, "--request", "another", "--dry-run").stdout
    assert "4 trials" in said
    assert "at once" in said
    assert begun() == before
