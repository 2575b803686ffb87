"""Runs on a version that is larger than the cache: the same to the bit, resumed as they began, evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from numbered_version import NotingStore, bytes_in, make_version
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from ganlib.config.run import RunConfig, load_config
from ganlib.core.steps import WorkerPlace
from ganlib.data.streaming import StreamedDataset
from ganlib.data.windows import size_of, way_in_words
from ganlib.errors import ConfigError
from ganlib.fakes.stores import MemoryTracker
from ganlib.jobs import pull as pull_job
from ganlib.jobs.pull import pull_here
from ganlib.quality.reference import reference_over_workers
from ganlib.records import DatasetVersion, TrainResult
from ganlib.release.evaluation import Task, judge, share_of_task
from ganlib.release.evaluation_log import summary
from ganlib.settings import Settings
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.dataset import open_dataset, with_window
from ganlib.training.host import Host
from ganlib.training.spec import WINDOW_TAG, RunSpec, read_spec, write_spec

pytestmark = pytest.mark.filterwarnings("ignore::ganlib.quality.distances.TooFewSamples")

LIMIT = 130_000
ALONE = WorkerPlace()
TINY: dict[str, Any] = {
    "dataset.name": "numbered",
    "network.generator_width": 4,
    "network.critic_width": 4,
    "network.latent_dim": 4,
    "batch_size": 8,
    "cadence.n_critic": 3,
    "budget.total_kimg": 0.3,
    "budget.max_seconds": None,
    "evaluation.every_kimg": 0.15,
    "evaluation.curve_samples": 16,
    "evaluation.reference_images": 16,
    "evaluation.samples": 16,
    "evaluation.extractor": "classifier",
    "checkpoint.every_kimg": 0.1,
}


class Projection:
    """Features of eight numbers, in no time."""

    name = "projection"
    metric = "fd_projection"
    dimensions = 8
    weights_sha256 = "0" * 64
    resizing = "none"

    def __call__(self, images: Tensor) -> Tensor:
        weights = torch.randn(28 * 28, self.dimensions, generator=torch.Generator().manual_seed(0)) / 28
        return images.flatten(1).float() @ weights / 255


@pytest.fixture
def store(tmp_path: Path) -> NotingStore:
    return NotingStore(tmp_path / "log")


@pytest.fixture
def version(store: NotingStore, tmp_path: Path) -> DatasetVersion:
    return make_version(store, tmp_path / "made", train=200, held_out=20, shape=(1, 28, 28))


def settings(home: Path, limit: int | None = LIMIT) -> Settings:
    return Settings(home=home, cache_bytes=limit)


def config(workers: int = 1) -> RunConfig:
    return load_config("digits-wgan", {**TINY, "compute.workers": workers})


def spec_of(version: DatasetVersion, run: str = "run", workers: int = 1) -> RunSpec:
    return RunSpec(
        run=run,
        config=config(workers),
        dataset_name=version.name,
        dataset_digest=version.digest,
        code_version="0",
    )


def train(
    store: NotingStore, spec: RunSpec, here: Settings, place: WorkerPlace = ALONE, stop_at: int = 0
) -> TrainResult:
    dataset, extractor = open_dataset(here, store, spec), Projection()

    def emit(said: object) -> None:
        if stop_at and str(said).startswith(f"evaluated at {stop_at} images"):
            raise KeyboardInterrupt

    with Checkpoints(store, spec.run, spec.config, ("0", "0")) as checkpoints:
        host = Host(
            run=spec.run,
            tracking_run_id=(tracker := MemoryTracker()).start(spec.tracking("bucket")),
            config=spec.config,
            dataset=dataset,
            reference=reference_over_workers(store, dataset, extractor, 16, place).statistics,
            extractor=extractor,
            checkpoints=checkpoints,
            tracker=tracker,
            place=place,
            emit=emit,
        )
        return host.train()


def test_a_streamed_run_is_that_of_an_unbounded_cache_to_the_bit_also_after_an_interruption(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    small, large = settings(tmp_path / "small"), settings(tmp_path / "large", None)
    results = []
    for run, here in (("whole", large), ("streamed", small), ("broken", small)):
        spec = with_window(store, spec_of(version, run), version, small)
        assert spec.window_shards is not None
        assert isinstance(open_dataset(here, store, spec), StreamedDataset) == (here is small)
        write_spec(store, spec)
        if run == "broken":
            with pytest.raises(KeyboardInterrupt):
                train(store, spec, here, stop_at=168)
        results.append(train(store, spec, here))
    assert bytes_in(small.cache) <= LIMIT
    whole, streamed, broken = (result.last for result in results)
    assert whole is not None
    assert streamed is not None
    assert broken is not None
    assert whole.images_seen >= 300, "more than an epoch"
    assert whole.sha256 == streamed.sha256 == broken.sha256


def _worker(rank: int, folder: Path, objects: dict[str, bytes], spec: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    store = NotingStore(folder / "log-of-both")
    store.objects.update(objects)
    here = settings(folder / "node")

    def look(key: str) -> None:
        assert bytes_in(here.cache) <= LIMIT

    store.before_piece = look
    result = train(store, RunSpec.model_validate(spec), here, WorkerPlace(rank, 2))
    assert result.images_seen >= 300
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_workers_of_a_node_train_on_the_same_files(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    spec = with_window(store, spec_of(version, workers=2), version, settings(tmp_path))
    spawn(_worker, (tmp_path, store.objects, spec.model_dump(mode="json")), nprocs=2)
    fetched = (tmp_path / "log-of-both").read_text().split()
    shards = {key: fetched.count(key) for key in fetched if "train" in key}
    assert len(shards) == 20
    assert max(shards.values()) <= 2, "once in each epoch that was begun"


def test_an_evaluation_looks_for_copies_in_a_sample_and_says_so(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    here = settings(tmp_path / "home")
    spec = with_window(store, spec_of(version), version, here)
    checkpoint = train(store, spec, here).last
    assert checkpoint is not None
    task = Task(spec=spec, checkpoint=checkpoint, samples=16, draw=1, untrained=False)
    found = judge(here, store, task, [share_of_task(here, store, task, 0)]).evaluation
    assert found.copying is not None
    assert 0 < found.copying.training_sample < 200
    assert f"among a sample of {found.copying.training_sample} training pictures" in summary(found)
    assert bytes_in(here.cache) <= LIMIT
    whole = settings(tmp_path / "large", None)
    found = judge(whole, store, task, [share_of_task(whole, store, task, 0)]).evaluation
    assert found.copying is not None
    assert found.copying.training_sample == 0
    assert "sample" not in summary(found)


def test_a_run_keeps_the_window_that_it_began_with(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    size, spec = size_of(version.shards), spec_of(version)
    windows = {
        limit: with_window(store, spec, version, settings(tmp_path, limit)).window_shards
        for limit in (None, size, LIMIT, 100_000)
    }
    assert windows[None] is windows[size] is None
    assert windows[LIMIT] is not None
    assert windows[100_000] is not None
    assert windows[100_000] < windows[LIMIT]
    with pytest.raises(ConfigError, match="GANLIB_CACHE_BYTES is 20,000"):
        with_window(store, spec, version, settings(tmp_path, 20_000))
    began = with_window(store, spec, version, settings(tmp_path, LIMIT))
    write_spec(store, began)
    assert with_window(store, spec, version, settings(tmp_path, 100_000)).window_shards == windows[100_000]
    store.put(f"runs/{spec.run}/checkpoints/000000000100/checkpoint.json", b"{}")
    assert with_window(store, spec, version, settings(tmp_path, 100_000)) == began
    assert with_window(store, spec, version, settings(tmp_path, None)) == began


def test_a_run_tells_which_way_it_takes_and_old_ones_read_the_whole(
    store: NotingStore, version: DatasetVersion, tmp_path: Path
) -> None:
    spec = spec_of(version)
    assert spec.tracking("bucket").tags[WINDOW_TAG] == "whole"
    streamed = with_window(store, spec, version, settings(tmp_path))
    assert streamed.tracking("bucket").tags[WINDOW_TAG] == f"{streamed.window_shards} shards"
    line = way_in_words(version, LIMIT, streamed.window_shards)
    assert line.endswith(f"streamed, {streamed.window_shards} of 20 training shards at a time")
    old = spec.to_json().replace(',\n  "window_shards": null', "")
    assert "window_shards" not in old
    store.put("runs/run/spec.json", old.encode())
    assert read_spec(store, "run").window_shards is None


def test_pulling_brings_the_first_windows_and_the_held_out_shards(
    store: NotingStore, version: DatasetVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = settings(tmp_path / "home")
    monkeypatch.setattr(pull_job, "load_settings", lambda: here)
    monkeypatch.setattr(pull_job, "open_store", lambda settings: store)
    spec = with_window(store, spec_of(version), version, here)
    assert spec.window_shards is not None
    write_spec(store, spec)
    count = 2 * spec.window_shards
    brought = f"the 2 held-out shards and the first {count} training shards of dataset numbered"
    assert pull_here("run") == brought
    pulled = store.noted()
    assert len(pulled) == 2 + count
    train(store, spec, here)
    rest_of_epoch = store.noted()[: 20 - count]
    assert len({*pulled, *rest_of_epoch}) == 2 + 20, "nothing is fetched twice"
    assert pull_here("run") == "the 2 held-out shards of dataset numbered"
    assert store.noted() == []
