"""Registered generators load and serve in an environment with MLflow and torch but without ganlib."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import nn

from ganlib.core.networks import Generator
from ganlib.ports import Publication, RunStart
from ganlib.registry.mlflow import MlflowRegistry
from ganlib.settings import Settings
from ganlib.tracking.mlflow import MlflowTracker

# The limits are generous for busy machines: they only end a test that hangs.
pytestmark = [pytest.mark.services, pytest.mark.timeout(1800)]

JOBS = 1
"""Most jobs that this module starts on the cluster (``job_budget`` in ``tests/conftest.py``)."""

CLIENT = """
import importlib.util, sys
import mlflow
import numpy as np

for absent in ("ganlib", "torchvision"):
    assert importlib.util.find_spec(absent) is None, absent
program = mlflow.pyfunc.load_model(sys.argv[1])
with np.load(sys.argv[2], allow_pickle=False) as given:
    made = {name: program.predict(given[name]) for name in given}
np.savez(sys.argv[3], **made)
"""


def needed(*names: str) -> dict[str, Distribution]:
    """These packages and all that they require here, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # required on other platforms, or by an extra
        requirements = map(Requirement, found[name].requires or ())
        waiting += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the commands of a virtual environment with MLflow, torch and what they require, and no more.

    Its packages are links to those of this environment: installing them anew would take minutes.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    for found in needed("mlflow", "torch").values():
        for name in {
            file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")
        }:
            (site / name).unlink(missing_ok=True)  # namespaces have several packages
            (site / name).symlink_to(Path(str(found.locate_file(name))))
        for entry in found.entry_points.select(group="console_scripts"):
            call = f"from {entry.module} import {entry.attr.partition('.')[0]}\n\n{entry.attr}()\n"
            command = folder / "bin" / entry.name
            command.write_text(f"#!{folder / 'bin' / 'python'}\n{call}")
            command.chmod(0o755)
    return folder / "bin"


@pytest.fixture
def environ(elsewhere: Path, stack_settings: Settings) -> dict[str, str]:
    """Environment of a user who knows the registry's address and nothing else about ganlib."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GANLIB_", "MLFLOW_", "PYTHON"))}
    return {
        **kept,
        "PATH": f"{elsewhere}{os.pathsep}{kept['PATH']}",
        "MLFLOW_TRACKING_URI": stack_settings.require("mlflow"),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }


@pytest.fixture
def registry(stack_settings: Settings) -> MlflowRegistry:
    return MlflowRegistry(stack_settings)


@pytest.fixture
def labelled(registry: MlflowRegistry, stack_settings: Settings) -> tuple[str, nn.Module]:
    """A conditional generator of three classes: its model's name, and the network."""
    name = f"labelled-{uuid.uuid4().hex[:8]}"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Generator(size=32, channels=3, latent_dim=6, width=4, classes=3)
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 0.5, 0.2)
        network(torch.randn(32, 6), torch.arange(32) % 3)  # gives batch norm running statistics
    start = RunStart("serving", name, {}, {}, "none", "0" * 64, "")
    registry.publish(
        Publication(
            model=name,
            run=name,
            tracking_run_id=MlflowTracker(stack_settings).start(start),
            generator=network.eval(),
            latent_dim=6,
            classes=("a", "b", "c"),
            tags={"ganlib.latent_dim": "6"},
        )
    )
    return name, network


def predictions(
    elsewhere: Path, environ: dict[str, str], uri: str, batches: dict[str, np.ndarray], folder: Path
) -> dict[str, np.ndarray]:
    """Return the model's predictions for each batch, made in the other environment."""
    given, made = folder / "given.npz", folder / "made.npz"
    np.savez(given, **batches)
    done = subprocess.run(
        [str(elsewhere / "python"), "-c", CLIENT, uri, str(given), str(made)],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(made) as arrays:
        return dict(arrays)


def draw(count: int, latent_dim: int) -> torch.Tensor:
    return torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(count))


def test_predictions_without_ganlib_are_the_same_pictures(
    champion: dict[str, Any],
    registry: MlflowRegistry,
    elsewhere: Path,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    registered = registry.resolve("digits-wgan", "champion")
    program, latent_dim = registry.load(registered), int(registered.tags["ganlib.latent_dim"])
    batches = {str(count): draw(count, latent_dim).numpy() for count in (1, 2, 5, 16)}
    made = predictions(elsewhere, environ, "models:/digits-wgan@champion", batches, tmp_path)
    for count, pictures in made.items():
        expected = program(torch.from_numpy(batches[count])).numpy()
        assert pictures.shape == expected.shape
        assert pictures.dtype == np.float32
        np.testing.assert_allclose(pictures, expected, rtol=0, atol=1e-5)


def test_the_last_number_of_an_input_row_is_the_label(
    labelled: tuple[str, nn.Module],
    registry: MlflowRegistry,
    elsewhere: Path,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    name, network = labelled
    program = registry.load(registry.resolve(name, "1"))
    drawn = {count: (draw(count, 6), torch.arange(count).flip(0) % 3) for count in (1, 2, 5, 16)}
    rows = {str(n): np.column_stack([z, y]).astype(np.float32) for n, (z, y) in drawn.items()}
    made = predictions(elsewhere, environ, f"models:/{name}/1", rows, tmp_path)
    for count, (latents, labels) in drawn.items():
        with torch.no_grad():
            expected = network(latents, labels).numpy()
        assert float(expected.std()) > 0.1
        np.testing.assert_allclose(made[str(count)], expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(program(latents, labels).numpy(), expected, rtol=0, atol=1e-5)


@contextmanager
def served(elsewhere: Path, environ: dict[str, str], uri: str, log: Path) -> Iterator[str]:
    """Run ``mlflow models serve`` inside the block; yields its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    command = [str(elsewhere / "mlflow"), "models", "serve", "--model-uri", uri, "--env-manager", "local"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", port],
            env=environ,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        await_ping(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def await_ping(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{address}/ping", timeout=10).ok:
                return
        except requests.ConnectionError:
            pass  # the server does not listen yet
        try:
            process.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    pytest.fail(f"nothing is served at {address}:\n{log.read_text()}")


def test_a_served_generator_answers_with_pictures(
    champion: dict[str, Any],
    registry: MlflowRegistry,
    elsewhere: Path,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    registered = registry.resolve("digits-wgan", "champion")
    latents = draw(3, int(registered.tags["ganlib.latent_dim"]))
    with served(elsewhere, environ, "models:/digits-wgan@champion", tmp_path / "log") as address:
        answer = requests.post(f"{address}/invocations", json={"inputs": latents.tolist()}, timeout=60)
        assert answer.ok, answer.text
        pictures = np.asarray(answer.json()["predictions"], dtype=np.float32)
        np.testing.assert_allclose(pictures, registry.load(registered)(latents).numpy(), rtol=0, atol=1e-5)
        short = requests.post(f"{address}/invocations", json={"inputs": [[0.0, 1.0]]}, timeout=60)
        assert short.status_code == 400
        assert "shape" in short.text
