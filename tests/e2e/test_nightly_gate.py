"""The gate on a whole stack: a poor generator, then a better one, then a poor one again."""

from __future__ import annotations

from typing import Any

import pytest
from e2e_commands import Run, arguments
from mlflow import MlflowClient
from ready_made import make_run

from ganlib.settings import Settings

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(1500),
    # Runs made ready in this process are evaluated in it.
    pytest.mark.filterwarnings("ignore::ganlib.quality.distances.TooFewSamples"),
]

JOBS = 2
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""

RECIPE, MODEL = "fashion-mnist-vanilla", "fashion-mnist-vanilla-digits"
BETTER: dict[str, Any] = {
    "dataset.name": "digits",
    "budget.total_kimg": 1,
    "evaluation.every_kimg": 30,
    "evaluation.samples": 200,
    "evaluation.curve_samples": 16,
    "evaluation.reference_images": 150,
    "network.generator_widths": [64, 64],
    "network.critic_widths": [64, 64],
    "gate.better_than_untrained": False,
}
FIRST, LAST = {**BETTER, "seed": 4}, {**BETTER, "seed": 5}
"""Two nights whose generators are made worse than untrained ones (:mod:`ready_made`)."""
SPOILED = 8.0


@pytest.fixture(scope="module")
def nights(ganlib: Run, digits: str, stack_settings: Settings) -> list[str]:
    """Output of three retrainings, one after another; the second one alone trains.

    Its workers compare it with the champion; for the third one, which they have not seen, a job does.
    """
    for changes in (FIRST, LAST):
        make_run(stack_settings, RECIPE, changes, spoiled=SPOILED)
    return [ganlib(*arguments(RECIPE, changes)).stdout for changes in (FIRST, BETTER, LAST)]


def test_the_workers_compare_what_they_trained_and_a_job_what_they_did_not(
    nights: list[str], ganlib: Run, mlflow: MlflowClient
) -> None:
    def jobs(number: str) -> list[str]:
        run = mlflow.get_model_version(MODEL, number).tags["ganlib.run"]
        said = ganlib("logs", run).stdout.splitlines()
        names = [line.split()[1].removeprefix(f"{run}-") for line in said if line.startswith("==> ")]
        return [name.partition("-")[0].partition(":")[0] for name in names]

    assert jobs("2") == ["train"]
    assert jobs("3") == ["compare"]


def test_only_a_better_generator_becomes_the_champion(nights: list[str], mlflow: MlflowClient) -> None:
    first, second, third = nights
    assert f"registered {MODEL}/1 as champion" in first
    assert f"registered {MODEL}/2 as champion" in second
    assert "gate: it beats version 1: kernel distance" in second
    assert f"registered {MODEL}/3 as challenger" in third
    assert "gate: version 2 stays" in third
    assert mlflow.get_model_version_by_alias(MODEL, "champion").version == "2"
    assert mlflow.get_model_version_by_alias(MODEL, "challenger").version == "3"


def test_both_versions_carry_the_decision_and_a_picture(nights: list[str], mlflow: MlflowClient) -> None:
    second, third = mlflow.get_model_version(MODEL, "2"), mlflow.get_model_version(MODEL, "3")
    assert second.tags["ganlib.gate.decision"] == "promoted"
    assert second.tags["ganlib.gate.champion"] == "1"
    low, high = map(float, second.tags["ganlib.gate.interval"].split())
    assert low < float(second.tags["ganlib.gate.difference"]) < high < 0
    assert third.tags["ganlib.gate.decision"] == "kept out"
    assert second.tags["ganlib.challenged.by"] == "3"
    assert second.tags["ganlib.challenged.decision"] == "kept out"
    for version in (second, third):
        pictures = [file.path for file in mlflow.list_artifacts(version.run_id, "images")]
        assert any("champion and candidate" in path and path.endswith(".png") for path in pictures), pictures


def test_a_challenger_that_lost_is_not_trained_again(nights: list[str], ganlib: Run) -> None:
    said = ganlib(*arguments(RECIPE, LAST)).stdout
    assert f"nothing to train: {MODEL} version 3 (challenger) was trained on this dataset" in said


def test_a_champion_is_rolled_back_and_promoted_again(
    nights: list[str], ganlib: Run, mlflow: MlflowClient
) -> None:
    ganlib("model", "rollback", MODEL)
    assert mlflow.get_model_version_by_alias(MODEL, "champion").version == "1"
    ganlib("model", "promote", f"{MODEL}/2", "--why", "it was better after all")
    assert mlflow.get_model_version_by_alias(MODEL, "champion").version == "2"
    shown = ganlib("model", "show", MODEL).stdout
    assert "it was better after all" in shown
    ganlib("model", "rollback", MODEL, code=0)
    ganlib("model", "rollback", MODEL, code=1)
