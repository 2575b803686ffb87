"""The compose cluster from the outside: asked without credentials, trained, killed, swept, fetched from.

``make compose-test`` runs it; it needs a Docker engine, or root to install one. The tests share one cluster
and stand in the order in which they run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from compose_cluster import ComposeCluster, await_true
from conftest import IMAGE
from engine import run

from ganlib.storage import open_store

MODEL = "digits-wgan"
SMALL = {
    "evaluation.samples": 100,
    "evaluation.curve_samples": 50,
    "evaluation.reference_images": 100,
    "evaluation.every_kimg": 500,
    "checkpoint.every_kimg": 1,
    "network.generator_width": 4,
    "network.critic_width": 4,
    "gate.better_than_untrained": False,
}
OURS = ("mlflow", "prefect", "prefect-worker", "ray-head", "ray-worker")


def train_workers(cluster: ComposeCluster) -> list[int]:
    """Number of Ray Train's workers in each container of Ray workers."""
    return [cluster.processes(one).count("ray::RayTrainWorker") for one in cluster.containers("ray-worker")]


def test_only_the_front_ports_are_published_and_on_loopback(cluster: ComposeCluster) -> None:
    published = {}
    for container in cluster.containers():
        described = json.loads(run("docker", "inspect", container))[0]
        service = described["Config"]["Labels"]["com.docker.compose.service"]
        for port, places in (described["NetworkSettings"]["Ports"] or {}).items():
            for place in places or ():
                published[service, port] = place["HostIp"]
    assert published == {
        ("s3", "8333/tcp"): "127.0.0.1",
        ("mlflow", "5000/tcp"): "127.0.0.1",
        ("prefect", "4200/tcp"): "127.0.0.1",
        ("ray-head", "8265/tcp"): "127.0.0.1",
    }


@pytest.mark.parametrize("service", OURS)
def test_containers_have_no_rights_and_cannot_write_the_code(cluster: ComposeCluster, service: str) -> None:
    container = cluster.containers(service)[0]
    described = json.loads(run("docker", "inspect", container))[0]
    host = described["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert not [mount for mount in described["Mounts"] if "docker.sock" in mount["Source"]]
    script = "import ganlib, os, sys; sys.exit(os.getuid() == 0 or os.access(ganlib.__path__[0], os.W_OK))"
    run("docker", "exec", container, "python", "-c", script)


@pytest.mark.parametrize(
    ("service", "path"),
    [
        ("s3", "/ganlib?list-type=2"),
        ("mlflow", "/api/2.0/mlflow/experiments/search?max_results=1"),
        ("prefect", "/work_pools/ganlib"),
        ("ray", "/api/jobs/"),
    ],
)
def test_every_port_demands_its_credential(cluster: ComposeCluster, service: str, path: str) -> None:
    answer = requests.get(f"{cluster.settings.require(service)}{path}", timeout=30)
    print(f"{service} without a credential: HTTP {answer.status_code} {answer.text[:120]!r}")
    assert answer.status_code in (401, 403)
    wrong = requests.get(
        f"{cluster.settings.require(service)}{path}", headers={"Authorization": "Bearer x"}, timeout=30
    )
    assert wrong.status_code in (400, 401, 403)
    if service != "s3":
        assert cluster.ask(service, path).status_code == 200


def test_inside_the_network_ray_and_the_object_stores_files_demand_one_too(cluster: ComposeCluster) -> None:
    script = """
import os, subprocess, sys, urllib.error, urllib.request
def status(url):
    try:
        return urllib.request.urlopen(url, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
print(status("http://s3:8888/buckets/ganlib/?limit=1"), status("http://ray-head:8265/api/jobs/"))
environ = {**os.environ, "RAY_AUTH_TOKEN": "wrong"}
joined = subprocess.run([sys.executable, "-c", "import ray; ray.init('ray-head:6379', log_to_driver=False)"],
                        env=environ, capture_output=True, text=True, timeout=120)
print(joined.returncode != 0 and "uthentic" in joined.stderr)
"""
    said = run("docker", "exec", cluster.containers("ray-worker")[0], "python", "-c", script)
    assert said.split() == ["401", "401", "True"], said


def test_doctor_finds_nothing_broken(cluster: ComposeCluster) -> None:
    said = cluster.ganlib("doctor").stdout
    print(said)
    findings = json.loads(cluster.ganlib("doctor", "--json").stdout)
    assert not [finding for finding in findings if finding["state"] == "broken"]


def test_a_deployment_trains_in_both_containers_and_survives_the_death_of_one(
    cluster: ComposeCluster,
) -> None:
    cluster.ganlib("dataset", "add", "digits")
    overrides = {**SMALL, "compute.workers": 2, "budget.total_kimg": 100_000, "budget.max_seconds": 60}
    store = open_store(cluster.settings)

    def retrain() -> None:
        run_id = cluster.flow_run("retrain/nightly", {"recipe": MODEL, "overrides": overrides})
        await_true("a checkpoint is stored", lambda: any("checkpoints" in o.key for o in store.list("runs/")))
        assert train_workers(cluster) == [1, 1], "one training worker in each container"
        cluster.kill_by_force(cluster.containers("ray-worker")[0])
        cluster.await_flow(run_id)

    cluster.timed("retrain by a deployment, one container killed", retrain)
    jobs = cluster.ask("ray", "/api/jobs/").json()
    trained = [job for job in jobs if "ganlib.jobs.train" in job["entrypoint"]]
    log = cluster.ask("ray", f"/api/jobs/{trained[-1]['submission_id']}/logs").json()["logs"]
    assert "resumed runs/" in log, log[-3000:]
    shown = json.loads(cluster.ganlib("model", "list", "--json").stdout)
    assert [model["model"] for model in shown] == [MODEL]


@contextmanager
def watched(cluster: ComposeCluster) -> Iterator[set[str]]:
    """Containers in which a trial of a sweep was seen at work while the body ran."""
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(1.0):
            for container in cluster.containers("ray-worker"):
                if "ray::ResourceTrainable" in cluster.processes(container):
                    seen.add(container)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def test_a_sweep_of_four_trials_uses_both_containers(cluster: ComposeCluster) -> None:
    await_true("the killed container is back", lambda: cluster.is_healthy(8), 300)
    words = ["sweep", MODEL, "--trials", "4", "--algorithm", "random", "--scheduler", "none"]
    words += [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    words += ["--set", "budget.total_kimg=20", "--set", "evaluation.every_kimg=10"]
    with watched(cluster) as containers:
        cluster.timed("sweep of four trials", lambda: print(cluster.ganlib(*words).stdout[-2500:]))
    assert len(containers) == 2


def test_the_champion_is_fetched_with_mlflow_and_torch_alone(
    cluster: ComposeCluster, fetching_script: str
) -> None:
    login = {
        "MLFLOW_TRACKING_URI": cluster.user["GANLIB_MLFLOW_URI"],
        "MLFLOW_TRACKING_USERNAME": cluster.user["GANLIB_MLFLOW_USERNAME"],
        "MLFLOW_TRACKING_PASSWORD": cluster.user["GANLIB_MLFLOW_PASSWORD"],
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", fetching_script, MODEL],
        env={**os.environ, **login},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.split(") ")[0].startswith("(4, 1, 28, 28"), done.stderr[-2000:]
    assert done.stdout.strip().endswith("True")


def test_no_secret_is_in_a_log_parameter_specification_process_list_or_image(cluster: ComposeCluster) -> None:
    told = {
        "logs": cluster.compose("logs", "--no-color"),
        "image": run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", IMAGE)
        + run("docker", "inspect", IMAGE),
        "processes": "".join(cluster.processes(one) for one in cluster.containers()),
        "Prefect's runs": cluster.ask("prefect", "/flow_runs/filter", {}).text,
        "Prefect's deployments": cluster.ask("prefect", "/deployments/filter", {}).text,
        "Prefect's logs": cluster.ask("prefect", "/logs/filter", {"limit": 200}).text,
        "MLflow's runs": cluster.ask(
            "mlflow",
            "/api/2.0/mlflow/runs/search",
            {"experiment_ids": _experiments(cluster), "max_results": 100},
        ).text,
        "Ray's jobs": cluster.ask("ray", "/api/jobs/").text,
    }
    for job in cluster.ask("ray", "/api/jobs/").json():
        path = f"/api/jobs/{job['submission_id']}/logs"
        told[f"log of {job['submission_id']}"] = cluster.ask("ray", path).text if job["submission_id"] else ""
    store = open_store(cluster.settings)
    for found in store.list(""):
        if found.key.endswith(".json") and found.size < 2**24:
            told[found.key] = store.get(found.key).decode()
    assert len(told) > 15
    leaks = [place for place, text in told.items() if any(secret in text for secret in cluster.secrets)]
    assert not leaks


def _experiments(cluster: ComposeCluster) -> list[str]:
    found = cluster.ask("mlflow", "/api/2.0/mlflow/experiments/search", {"max_results": 100}).json()
    return [one["experiment_id"] for one in found["experiments"]]


@pytest.mark.parametrize(
    ("wrong", "service"),
    [
        ({"GANLIB_RAY_TOKEN": "0" * 64}, "ray"),
        ({"GANLIB_S3_SECRET_ACCESS_KEY": "0" * 48}, "s3"),
        ({"GANLIB_MLFLOW_PASSWORD": "wrong"}, "mlflow"),
        ({"GANLIB_PREFECT_AUTH": "ganlib:wrong"}, "prefect"),
    ],
)
def test_doctor_names_a_credential_that_is_refused(
    cluster: ComposeCluster, wrong: dict[str, str], service: str
) -> None:
    said = json.loads(cluster.ganlib("doctor", "--json", code=1, more=wrong).stdout)
    broken = [finding for finding in said if finding["state"] == "broken"]
    print(json.dumps(broken, indent=2))
    assert {finding["service"] for finding in broken} == {service}
    assert any(next(iter(wrong)) in finding["remedy"] for finding in broken)


def test_doctor_names_a_service_that_is_down(cluster: ComposeCluster) -> None:
    cluster.compose("stop", "mlflow", "prefect-worker")
    said = json.loads(cluster.ganlib("doctor", "--json", code=1).stdout)
    broken = [finding for finding in said if finding["state"] == "broken"]
    print(json.dumps(broken, indent=2))
    assert "mlflow" in {finding["service"] for finding in broken}
    cluster.compose("start", "mlflow", "prefect-worker")
    await_true("all is healthy again", lambda: cluster.is_healthy(8), 300)
