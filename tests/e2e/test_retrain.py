from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest
import requests
from e2e_commands import TINY, Run, arguments, command, processes
from mlflow import MlflowClient
from PIL import Image
from prometheus_package import Programs, Prometheus, dashboard_queries, running

from ganlib.cli.demo import Demo
from ganlib.cluster.metrics import (
    CHECKPOINT_TIME,
    DATA_WAIT_RATIO,
    FRECHET_DISTANCE,
    IMAGES_LOST,
    IMAGES_PER_SECOND,
    IMAGES_SEEN,
    METRICS,
    Metric,
)
from ganlib.data.raw.add import datasets
from ganlib.data.raw.known import Places
from ganlib.logins import credential_variables, library_variables, login_headers
from ganlib.settings import Settings
from ganlib.storage import S3Store

# The limits are generous for busy machines: they only end a test that hangs.
pytestmark = [pytest.mark.services, pytest.mark.timeout(1500)]

MODEL = "digits-wgan"
DASHBOARD = Path(__file__).resolve().parents[2] / "infra" / "observability" / "grafana-dashboard.json"
JOBS = 8
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""


def test_a_champion_is_registered_with_its_run_dataset_curves_and_pictures(
    champion: dict[str, Any], mlflow: MlflowClient, store: S3Store
) -> None:
    version = mlflow.get_model_version_by_alias(MODEL, "champion")
    run = mlflow.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["objective.clip"] == str(champion["config"]["objective"]["clip"])
    [dataset] = run.inputs.dataset_inputs
    assert dataset.dataset.name == "digits"
    assert version.tags["ganlib.dataset_digest"].startswith(dataset.dataset.digest[:8])
    for curve in ("wasserstein", "critic_loss", "generator_loss"):
        assert mlflow.get_metric_history(version.run_id, curve), curve
    distances = mlflow.get_metric_history(version.run_id, "fd_efficientnet_lite0_curve")
    assert [point.step for point in distances] == sorted({point.step for point in distances})
    assert distances[0].step == 0
    assert distances[-1].step >= 4000
    pictures = [a.path for a in mlflow.list_artifacts(version.run_id, "images") if a.path.endswith(".png")]
    assert len([path for path in pictures if "training" in path]) == len(distances)
    assert len([path for path in pictures if "samples" in path]) == 1, "which MLflow opens at once"
    files = {artifact.path for artifact in mlflow.list_artifacts(version.run_id)}
    assert files >= {"config.json", "evaluation.json", "samples.png", "training.gif"}
    assert "became the champion" in run.data.tags["mlflow.note.content"]
    assert "samples.png" in version.description
    assert len([path for path in pictures if "copying" in path]) == 1
    measured = {
        "kd_efficientnet_lite0",
        "kd_efficientnet_lite0_error",
        "precision",
        "recall",
        "copying_ratio",
    }
    assert measured <= set(run.data.metrics)
    assert float(version.tags["ganlib.value"]) == run.data.metrics["fd_efficientnet_lite0"]
    kept = [
        o.key for o in store.list(f"runs/{version.tags['ganlib.run']}/") if o.key.endswith("checkpoint.json")
    ]
    assert 2 <= len(kept) <= 3, "the last two and the best"


def test_the_jobs_log_reaches_the_flow(champion: dict[str, Any]) -> None:
    assert "training on 2 × cpu" in champion["output"]
    assert "evaluated at 0 images" in champion["output"]
    assert re.search(r"train \d+% · \S+ kimg · .* left", champion["output"]), "the progress"
    assert "evaluate · 32 pictures" in champion["output"]
    assert "publish …" in champion["output"]
    for others in ("Beginning flow run", "Finished in state", "PreemptionWatcher", "TooFewSamples", "(Ray"):
        assert others not in champion["output"], "that is for --verbose"
    assert "registered digits-wgan/1 as champion" in champion["output"]


def test_a_runs_one_job_trains_and_evaluates_and_its_log_can_be_read(
    champion: dict[str, Any], ganlib: Run, mlflow: MlflowClient
) -> None:
    run = mlflow.get_model_version_by_alias(MODEL, "champion").tags["ganlib.run"]
    said = ganlib("logs", run).stdout
    assert [line for line in said.splitlines() if line.startswith("==> ")] == [
        f"==> {run}-train--1: SUCCEEDED <=="
    ]
    assert "evaluated at 0 images" in said
    assert "(untrained " in said, "the run's evaluation"


def test_pages_are_opened_by_name(ganlib: Run, stack_settings: Settings) -> None:
    assert ganlib("open", "ray").stdout.strip() == stack_settings.require("ray")
    assert ganlib("open", "mlflow").stdout.strip() == stack_settings.require("mlflow")
    api = stack_settings.require("prefect")
    assert ganlib("open", "prefect").stdout.strip() == api.removesuffix("/api")


def test_unchanged_data_and_configuration_are_not_trained_again(
    champion: dict[str, Any], ganlib: Run
) -> None:
    said = ganlib(*arguments(MODEL, TINY)).stdout
    assert "nothing to train: digits-wgan version 1 (champion) was trained on this dataset" in said


def test_the_same_seed_gives_the_same_picture(champion: dict[str, Any], ganlib: Run, tmp_path: Path) -> None:
    def picture(name: str, seed: int) -> bytes:
        out = tmp_path / name
        ganlib("generate", f"{MODEL}@champion", "--count", "9", "--seed", str(seed), "--out", str(out))
        with Image.open(out) as image:
            assert image.size[0] == image.size[1] >= 3 * 28
        return out.read_bytes()

    assert picture("a.png", 0) == picture("b.png", 0) != picture("c.png", 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("retrain", "digits-wgam"), "there is no recipe 'digits-wgam'; close to it: digits-wgan"),
        (("retrain", MODEL, "--set", "objective.clip=0"), "objective.clip = 0"),
        (("retrain", MODEL, "--set", "objective.clop=1"), "close to it: objective.clip"),
        (("retrain", MODEL, "--set", "dataset.name=digit"), "close to it: digits"),
        (("retrain", MODEL, "--set", "batch_size=64", "--set", "compute.workers=32"), "the cluster"),
        (("generate", "digits-wgam@champion", "--out", "x.png"), "close to it: digits-wgan"),
        (("generate", f"{MODEL}@champ", "--out", "x.png"), "close to it: champion"),
        (("generate", f"{MODEL}/99", "--out", "x.png"), "99"),
    ],
)
def test_a_wrong_name_or_value_is_refused_with_a_remedy(
    champion: dict[str, Any], ganlib: Run, words: tuple[str, ...], says: str
) -> None:
    done = ganlib(*words, code=2)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "variable",
    ["GANLIB_S3_ENDPOINT_URL", "GANLIB_MLFLOW_URI", "GANLIB_PREFECT_API_URL", "GANLIB_RAY_ADDRESS"],
)
def test_a_service_that_is_down_is_named_with_its_setting_before_anything_starts(
    champion: dict[str, Any], stack_environ: dict[str, str], variable: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        environ = {**stack_environ, variable: f"http://127.0.0.1:{closed.getsockname()[1]}"}
        if variable == "GANLIB_S3_ENDPOINT_URL":
            # The embedded gateway's credentials are never sent to another S3 endpoint.
            environ |= {
                "GANLIB_S3_ACCESS_KEY_ID": "someone",
                "GANLIB_S3_SECRET_ACCESS_KEY": "not-for-the-log",
            }
        done = subprocess.run(
            command(*arguments(MODEL, TINY)),
            env=environ,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 1, done.stdout + done.stderr
    assert variable in done.stderr
    assert "Traceback" not in done.stderr
    assert "prepare …" not in done.stdout + done.stderr
    assert "not-for-the-log" not in done.stdout + done.stderr


def test_the_demo_takes_digits_and_says_so_when_clothes_cannot_be_downloaded(
    stack_settings: Settings, store: S3Store, tmp_path: Path
) -> None:
    lines: list[str] = []
    nowhere = Places(
        debian_folder=tmp_path / "none",
        mirrors=("http://127.0.0.1:9/",),
        apt_get="no-apt-get",
        connect_seconds=1,
    )
    recipe, _ = Demo(say=lines.append, places=nowhere).add_dataset(stack_settings)
    said = "\n".join(lines)
    assert recipe == "digits-wgan"
    for tried in (str(tmp_path / "none"), "http://127.0.0.1:9/", "no-apt-get"):
        assert tried in said
    assert "going on with scikit-learn's handwritten digits instead of clothes" in said
    assert "digits" in datasets(store)


def interruptible(seed: int) -> dict[str, Any]:
    """Return the changes of a recipe for a run long enough to be interrupted."""
    return {**TINY, "budget.total_kimg": 24, "evaluation.every_kimg": 100, "seed": seed}


@pytest.fixture
def training(stack_environ: dict[str, str], digits: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a function that starts an :func:`interruptible` run, with its output in a file."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        log: Path, seed: int, *, changes: Mapping[str, Any] = MappingProxyType({}), **environ: str
    ) -> subprocess.Popen[bytes]:
        overrides = {**interruptible(seed), **changes}
        with log.open("ab") as output:
            process = subprocess.Popen(
                command(*arguments(MODEL, overrides)),
                env={**stack_environ, **environ},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def train_workers(settings: Settings) -> list[psutil.Process]:
    """Return Ray Train's workers, found by the title that Ray gives them."""
    return processes(settings, "RayTrainWorker")


def await_checkpoint(store: S3Store, process: subprocess.Popen[bytes], log: Path, known: set[str]) -> None:
    """Wait until the run has stored a checkpoint that is not among the known ones."""
    deadline = time.monotonic() + 600
    while not {o.key for o in store.list("runs/") if o.key.endswith("checkpoint.json")} - known:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def checkpoints(store: S3Store) -> set[str]:
    return {o.key for o in store.list("runs/") if o.key.endswith("checkpoint.json")}


def test_ctrl_c_ends_the_workers_and_the_same_command_resumes(
    training: Any, stack_settings: Settings, store: S3Store, tmp_path: Path
) -> None:
    log, known = tmp_path / "log", checkpoints(store)
    process = training(log, seed=11)
    await_checkpoint(store, process, log, known)
    workers = train_workers(stack_settings)
    assert workers
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(300) == 130, log.read_text()
    _, alive = psutil.wait_procs(workers, timeout=300)
    assert not alive, "workers outlived the interrupt"
    again = training(log, seed=11)
    assert again.wait(600) == 0, log.read_text()
    text = log.read_text()
    before, interrupted, after = text.partition("interrupted: job ")
    assert interrupted
    message, command_line, *_ = after.splitlines()
    assert message.endswith("-train--1 was stopped; the same command goes on from here:")
    assert command_line == f"  ganlib {shlex.join(arguments(MODEL, interruptible(11)))}"
    for alarming in ("ERROR", "Crash", "Traceback", "PreemptionWatcher"):
        assert alarming not in before + after
    assert "resumed runs/" in after
    assert "evaluated at 0 images" not in after, "it started from the beginning"


def test_a_killed_command_run_again_attaches_to_its_running_job(
    training: Any, stack_settings: Settings, store: S3Store, tmp_path: Path
) -> None:
    log, known = tmp_path / "log", checkpoints(store)
    process = training(log, seed=12)
    await_checkpoint(store, process, log, known)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert train_workers(stack_settings), "the job must outlive its client"
    again = training(log, seed=12)
    assert again.wait(600) == 0, log.read_text()
    text = log.read_text()
    assert "resumed" not in text
    assert "-train--1 runs already; following it" in text
    assert "train--2" not in text, "it trained twice"


@pytest.fixture
def prometheus(
    prometheus_or_reason: Programs | str, stack_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus | str]:
    """A server that asks the stack's Ray node, or why there is none."""
    if isinstance(prometheus_or_reason, str):
        yield prometheus_or_reason
        return
    port = json.loads((stack_settings.home / "stack.json").read_text())["ports"]["ray_metrics_export"]
    with running(prometheus_or_reason, tmp_path_factory.mktemp("server"), {"ray": port}) as server:
        yield server


def test_a_killed_worker_is_replaced_and_the_run_resumes(
    training: Any,
    stack_settings: Settings,
    store: S3Store,
    tmp_path: Path,
    prometheus: Prometheus | str,
    subtests: pytest.Subtests,
) -> None:
    """With its address in a setting, the embedded cluster counts as a foreign one: pulling is a job there."""
    log, known, began = tmp_path / "log", checkpoints(store), time.time()
    # A time, whatever the machine's speed: Ray's processes report their metrics every ten seconds only.
    timed = {"budget.total_kimg": 10_000, "budget.max_seconds": 25}
    own = {
        "GANLIB_RAY_ADDRESS": stack_settings.require("ray"),
        **credential_variables(stack_settings, ["ray"]),
    }
    process = training(log, seed=13, changes=timed, **own)
    await_checkpoint(store, process, log, known)
    train_workers(stack_settings)[0].kill()
    assert process.wait(600) == 0, log.read_text()
    resumed = re.search(
        r"resumed runs/(\S+)/checkpoints/\S+ at (\d+) images, (\d+) were lost", log.read_text()
    )
    assert resumed
    assert re.search(r"node \S+ has the \d+ shards of dataset digits", log.read_text())
    with subtests.test("Prometheus has the live numbers of the run"):
        if isinstance(prometheus, str):
            pytest.skip(prometheus)
        run, images, lost = resumed[1], int(resumed[2]), int(resumed[3])
        live = {metric: largest(prometheus, metric, run) for metric in METRICS}
        assert live[IMAGES_LOST] == lost
        assert live[IMAGES_SEEN] > images
        assert live[IMAGES_PER_SECOND] > 0
        assert live[FRECHET_DISTANCE] > 0
        assert 0 <= live[DATA_WAIT_RATIO] <= 1
        assert began < live[CHECKPOINT_TIME] < time.time()
        graphs = dashboard_queries(DASHBOARD)
        empty = {
            title
            for title, queries in graphs.items()
            if not all(prometheus.graph(query, began, time.time()) for query in queries)
        }
        assert empty <= {"GPU", "GPU memory"}, "which a machine without a GPU leaves empty"


def largest(prometheus: Prometheus, metric: Metric, run: str) -> float:
    """Return the largest value that a run's metric had, over all of its workers."""
    [series] = prometheus.query(f'max by (run, model) (max_over_time({metric.exported}{{run="{run}"}}[1h]))')
    assert series["metric"] == {"run": run, "model": MODEL}
    return float(series["value"][1])


@pytest.fixture
def extra_node(stack_settings: Settings, stack_environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A second node with one CPU; the embedded head has two."""
    ports = json.loads((stack_settings.home / "stack.json").read_text())["ports"]
    node = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("extra_node.py")), str(ports["ray_gcs"])],
        env={
            **stack_environ,
            **library_variables(stack_settings, "ray"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert node.stdout is not None
    assert node.stdout.readline(), "the node did not join"
    yield node
    node.terminate()
    node.wait(300)
    node.stdout.close()


def test_an_elastic_run_uses_all_workers_and_survives_the_loss_of_a_node(
    training: Any, extra_node: subprocess.Popen[str], store: S3Store, tmp_path: Path
) -> None:
    log, known = tmp_path / "log", checkpoints(store)
    elastic = {
        "batch_size": 12,
        "compute.workers": 1,
        "compute.max_workers": 3,
        "budget.total_kimg": 12,
        # Often enough that the node is lost before the run ends.
        "checkpoint.every_kimg": 0.5,
    }
    process = training(log, seed=14, changes=elastic)
    await_checkpoint(store, process, log, known)
    [raylet] = [
        child for child in psutil.Process(extra_node.pid).children(recursive=True) if child.name() == "raylet"
    ]
    raylet.kill()
    assert process.wait(900) == 0, log.read_text()
    before, resumed, after = log.read_text().partition("resumed runs/")
    assert "training on 3 × cpu" in before, before
    assert "training on 2 × cpu" in before, f"the new workers print this before they resume: {before}"
    assert resumed
    assert re.match(r"\S+ at \d+ images, \d+ were lost", after)


def test_a_deployment_run_started_by_hand_trains_the_same(
    stack_settings: Settings, champion: dict[str, Any], mlflow: MlflowClient
) -> None:
    """The requests are those of the Run button on Prefect's page."""
    api = stack_settings.require("prefect")
    client = requests.Session()
    client.headers.update(login_headers(stack_settings, "prefect"))
    deployment = client.get(f"{api}/deployments/name/retrain/nightly", timeout=10).json()
    run = client.post(
        f"{api}/deployments/{deployment['id']}/create_flow_run",
        json={"parameters": {"recipe": MODEL, "overrides": {**TINY, "seed": 21}}},
        timeout=10,
    ).json()
    deadline = time.monotonic() + 600
    while (state := client.get(f"{api}/flow_runs/{run['id']}", timeout=10).json()["state"])["type"] not in (
        "COMPLETED", "FAILED", "CRASHED", "CANCELLED",
    ):  # fmt: skip
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert state["type"] == "COMPLETED", state
    # Which of two generators trained for seconds is better is luck, so either decision is right.
    version = mlflow.get_model_version_by_alias(MODEL, "challenger")
    assert mlflow.get_run(version.run_id).data.params["seed"] == "21"
    assert version.tags["ganlib.gate.decision"] in ("promoted", "kept out")
