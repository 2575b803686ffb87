"""Every protocol's fake and real one, for the same cases; the real ones are marked ``services``."""

from __future__ import annotations

import hashlib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from s3_servers import moto, seaweedfs

from ganlib.fakes.stores import MemoryRegistry, MemoryStore, MemoryTracker
from ganlib.ports import ModelRegistry, ObjectStore, RunStart, RunTracker
from ganlib.settings import Settings

if TYPE_CHECKING:
    import torch

SERVICES = pytest.mark.services
TIMEOUT_SECONDS = 10.0


@pytest.fixture(scope="session")
def settings(stack_settings: Settings) -> Settings:
    """Points at running services that only the tests use."""
    return stack_settings


@pytest.fixture(scope="session", autouse=True)
def exports() -> Iterator[None]:
    """Equal networks are exported once: the tests publish the same few again and again."""
    import torch

    export, known = torch.export.export, {}

    def export_once(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...], **options: object) -> object:
        digest = hashlib.sha256(repr((network, options)).encode())
        for name, tensor in network.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        key = _types(network), shapes, digest.digest()
        if key not in known:
            known[key] = export(network, inputs, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "export", export_once)
        yield


def _types(network: torch.nn.Module) -> tuple[type, ...]:
    """The classes of all parts: two of one name may compute different things."""
    return tuple(type(part) for part in network.modules())


@pytest.fixture
def name() -> str:
    """A name that nothing else has."""
    return f"contract-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def closed_port() -> str:
    """A URL at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def frozen_port() -> Iterator[str]:
    """A URL that takes connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


@pytest.fixture
def in_time() -> Callable[[], object]:
    """A context that fails when its body takes ten seconds or more."""

    @contextmanager
    def limit() -> Iterator[None]:
        began = time.monotonic()
        yield
        assert time.monotonic() - began < TIMEOUT_SECONDS

    return limit


@pytest.fixture(scope="session")
def seaweedfs_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Points at a SeaweedFS that only these tests use."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as settings:
        yield settings


@pytest.fixture(scope="session")
def moto_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Points at a moto server that only these tests use."""
    with moto(tmp_path_factory.mktemp("moto")) as settings:
        yield settings


S3_SERVERS = {"s3": "settings", "seaweedfs": "seaweedfs_settings", "moto": "moto_settings"}
"""Fixtures with the settings of each S3 server."""


@pytest.fixture(params=["memory", *(pytest.param(one, marks=SERVICES) for one in (*S3_SERVERS, "s3-prefix"))])
def store(request: pytest.FixtureRequest, name: str) -> Iterator[ObjectStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    from ganlib.storage import S3Store, open_prefix, open_store

    settings: Settings = request.getfixturevalue(S3_SERVERS.get(request.param, "settings"))
    real: S3Store
    if request.param in S3_SERVERS:  # a bucket of its own, which opening creates
        real = open_store(settings.model_copy(update={"s3_bucket": name}))
    else:
        open_store(settings)
        real = open_prefix(settings, f"s3://{settings.s3_bucket}/{name}")
    yield real
    for found in list(real.list("")):
        real.delete(found.key)


@dataclass
class Seen:
    """What a tracker's backend holds of a run."""

    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[tuple[int, float]]]
    images: dict[tuple[str, int], tuple[int, ...]]
    """Shapes by key and step."""
    artifacts: dict[str, bytes]
    description: str


class TrackerCase:
    """A tracker and a way to look behind it."""

    def __init__(
        self, tracker: RunTracker, look: Callable[[str], Seen], settle: Callable[[], RunTracker]
    ) -> None:
        self.tracker = tracker
        self._look = look
        self._settle = settle

    def seen(self, run_id: str) -> Seen:
        self.tracker = self._settle()
        return self._look(run_id)

    def again(self) -> RunTracker:
        """The tracker of a process that comes after this one."""
        self.tracker = self._settle()
        return self.tracker


def look_in_memory(tracker: MemoryTracker, run_id: str) -> Seen:
    run = tracker.runs[run_id]
    images = {at: image.shape for at, image in run.images.items()}
    status = run.status or "running"
    return Seen(status, run.params, run.tags, run.metrics, images, run.artifacts, run.description)


def look_in_mlflow(settings: Settings, run_id: str, folder: Path) -> Seen:
    from mlflow import MlflowClient
    from PIL import Image

    client = MlflowClient(tracking_uri=settings.require("mlflow"))
    run = client.get_run(run_id)
    metrics = {
        key: [(point.step, point.value) for point in client.get_metric_history(run_id, key)]
        for key in run.data.metrics
    }
    images, artifacts = {}, {}
    local = Path(client.download_artifacts(run_id, "", str(folder)))
    for file in sorted(path for path in local.rglob("*") if path.is_file()):
        path = file.relative_to(local).as_posix()
        if not path.startswith("images/"):
            artifacts[path] = file.read_bytes()
        elif path.endswith(".png"):
            key, _, rest = file.name.partition("+step+")
            at = (key.replace("~", "/"), int(rest.partition("+")[0]))
            assert at not in images, f"{at} was logged twice"
            with Image.open(file) as image:
                images[at] = np.asarray(image).shape
    status, tags = run.info.status.lower(), run.data.tags
    described = tags.get("mlflow.note.content", "")
    return Seen(status, run.data.params, tags, metrics, images, artifacts, described)


@pytest.fixture(
    params=[
        "memory",
        "spooled-memory",
        pytest.param("mlflow", marks=SERVICES),
        pytest.param("spooled-mlflow", marks=SERVICES),
    ]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TrackerCase]:
    from ganlib.tracking.spool import SpooledTracker

    inner: Callable[[], RunTracker]
    if request.param.endswith("memory"):
        memory = MemoryTracker()
        inner, look = (lambda: memory), (lambda run_id: look_in_memory(memory, run_id))
    else:
        from ganlib.tracking.mlflow import MlflowTracker

        settings: Settings = request.getfixturevalue("settings")
        inner = lambda: MlflowTracker(settings)  # noqa: E731
        looks = iter(range(100))

        def look(run_id: str) -> Seen:
            folder = tmp_path / f"look-{next(looks)}"
            folder.mkdir()
            return look_in_mlflow(settings, run_id, folder)

    if not request.param.startswith("spooled"):
        first = inner()
        yield TrackerCase(first, look, inner)
        return
    open_ones: list[SpooledTracker] = []

    def settle() -> RunTracker:
        for spooled in open_ones:
            assert spooled.close(30) == 0
        open_ones[:] = [SpooledTracker(inner(), tmp_path / "spool")]
        return open_ones[0]

    yield TrackerCase(settle(), look, settle)
    settle()


@pytest.fixture
def run_start(name: str) -> RunStart:
    return RunStart(
        experiment="contracts",
        name=name,
        params={"objective.clip": "0.05", "seed": "0"},
        tags={"ganlib.config_digest": "c" * 64},
        dataset_name="digits",
        dataset_digest="d" * 64,
        dataset_source="s3://ganlib/datasets/digits/" + "d" * 64,
    )


@dataclass
class RegistryCase:
    """A registry and a run for the publications to hang on."""

    registry: ModelRegistry
    tracking_run_id: str
    settings: Settings | None = None
    """Where the real one is."""


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=SERVICES)])
def registered(request: pytest.FixtureRequest, run_start: RunStart) -> RegistryCase:
    if request.param == "memory":
        return RegistryCase(MemoryRegistry(), MemoryTracker().start(run_start))
    from ganlib.registry.mlflow import MlflowRegistry
    from ganlib.tracking.mlflow import MlflowTracker

    settings: Settings = request.getfixturevalue("settings")
    return RegistryCase(MlflowRegistry(settings), MlflowTracker(settings).start(run_start), settings)


@pytest.fixture
def registered_mlflow(run_start: RunStart, settings: Settings) -> RegistryCase:
    from ganlib.registry.mlflow import MlflowRegistry
    from ganlib.tracking.mlflow import MlflowTracker

    return RegistryCase(MlflowRegistry(settings), MlflowTracker(settings).start(run_start), settings)
