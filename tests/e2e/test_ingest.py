"""Pictures of a bucket become a version: by the flow, and by a job of the cluster whose processes die."""

from __future__ import annotations

import io
import json
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from e2e_commands import Run, command, processes
from PIL import Image

from ganlib.data.preparation import Preparation
from ganlib.data.prepare import begin_work, prepare
from ganlib.data.versions import find_report, versions
from ganlib.fakes.stores import MemoryStore
from ganlib.logins import login_headers
from ganlib.settings import Settings
from ganlib.storage import S3Store

# The limits are generous for busy machines: they only end a test that hangs.
pytestmark = [pytest.mark.services, pytest.mark.timeout(1200)]

JOBS = 1
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""

WAIT_SECONDS = 300.0
MANY = 2600
"""Pictures for the cluster: units enough that some are left when a process is killed."""


def png(seed: int, side: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


def zipped(first: int, count: int, side: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(first, first + count):
            archive.writestr(f"{'even' if number % 2 == 0 else 'odd'}/{number}.png", png(number, side))
    return out.getvalue()


def test_a_messy_bucket_is_ingested_by_its_deployment(
    ganlib: Run, store: S3Store, stack_settings: Settings
) -> None:
    messy = {f"even/{number}.png": png(number, 40) for number in range(0, 200, 2)}
    messy |= {
        "more.zip": zipped(1000, 100, 40),
        "even/cut.png": png(7, 40)[:200],
        "even/copy-of-2.png": messy["even/2.png"],
        "even/._2.png": b"attributes",
        ".DS_Store": b"x",
        "notes.txt": b"hello",
    }
    for name, data in messy.items():
        store.put(f"incoming/{name}", data)
    api = stack_settings.prefect_api_url
    client = requests.Session()
    client.headers.update(login_headers(stack_settings, "prefect"))
    deployment = client.get(f"{api}/deployments/name/ingest/pictures", timeout=10).json()
    source = f"s3://{stack_settings.s3_bucket}/incoming"
    given = {"parameters": {"name": "messy", "source": source, "size": 28}}
    url = f"{api}/deployments/{deployment['id']}/create_flow_run"
    run = client.post(url, json=given, timeout=10).json()
    deadline = time.monotonic() + WAIT_SECONDS
    while (state := run["state"])["type"] not in ("COMPLETED", "FAILED", "CRASHED"):
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
        run = client.get(f"{api}/flow_runs/{run['id']}", timeout=10).json()
    assert state["type"] == "COMPLETED", state
    shown = json.loads(ganlib("dataset", "show", "messy", "--json").stdout)
    [version] = shown["versions"]
    assert version["pictures"] == 200, "one of the copies and the cut one are left out"
    report = find_report(store, "messy", begin_work(store, "messy", Preparation(size=28))[0].key)
    assert report is not None
    assert (report.pictures, report.copies, report.refused_by_reason) == (202, 1, {"truncated": 1})
    assert report.passed_over == {"left by file managers": 2, ".txt": 1}
    assert "whole" in ganlib("dataset", "verify", "messy").stdout


def test_a_preparation_survives_the_death_of_its_processes(
    ganlib: Run, store: S3Store, stack_settings: Settings, stack_environ: dict[str, str], tmp_path: Path
) -> None:
    archive = tmp_path / "many.zip"
    archive.write_bytes(zipped(0, MANY, 64))
    ganlib("dataset", "add", "many", "--from", str(archive))
    words = ("dataset", "prepare", "many", "--size", "28", "--workers", "2")
    with subprocess.Popen(
        command(*words), env=stack_environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        killed = kill_one_decoder(store, stack_settings, running)
        said, _ = running.communicate(timeout=WAIT_SECONDS)
    assert running.returncode == 0, said
    assert killed
    [version] = versions(store, "many")
    report = find_report(store, "many", begin_work(store, "many", Preparation(size=28))[0].key)
    assert report is not None
    assert (report.pictures, report.decoded, report.refused_count) == (MANY, MANY, 0)
    alone = MemoryStore()
    for info in store.list("raw/many/"):
        alone.put(info.key, store.get(info.key))
    assert prepare(alone, "many", Preparation(size=28)).digest == version.digest
    assert not list(store.list("datasets/many/preparing/")), "what it left for itself is removed"


def kill_one_decoder(store: S3Store, settings: Settings, running: subprocess.Popen[str]) -> bool:
    """Kill a process that decodes as soon as some pictures are done."""
    deadline = time.monotonic() + WAIT_SECONDS
    while running.poll() is None and time.monotonic() < deadline:
        done = [info for info in store.list("datasets/many/preparing/") if info.key.endswith(".parquet")]
        found: list[psutil.Process] = processes(settings, "ray::", "UnitDecoder") if done else []
        if found:
            found[0].kill()
            return True
        time.sleep(0.1)
    return False
