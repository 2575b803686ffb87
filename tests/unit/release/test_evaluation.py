"""An evaluation in one process: real networks and checkpoints, a store in memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from shades import add, spec
from torch.multiprocessing.spawn import spawn

from ganlib.config.parts import EvaluationConfig
from ganlib.config.run import load_config
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset, pull
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError, DataError, DigestMismatch
from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.generators.loaded import LoadedGenerator
from ganlib.ports import RunStart
from ganlib.quality import classifier
from ganlib.quality.classifier import Classifier
from ganlib.quality.copying import merge
from ganlib.quality.extractors import open_extractor, provide_weights
from ganlib.quality.inception_weights import weights_key
from ganlib.quality.reference import reference_over_workers
from ganlib.quality.requirements import require_classes
from ganlib.records import CheckpointRef, Evaluation, RegisteredGenerator
from ganlib.release.evaluation import (
    EvaluationOutcome,
    Task,
    evaluate_over_workers,
    judge,
    nearest_of_share,
    share_of_task,
)
from ganlib.release.evaluation_log import log_evaluation, metrics_of, summary
from ganlib.settings import Settings
from ganlib.training.generator import untrained_generator

pytestmark = pytest.mark.filterwarnings("ignore::ganlib.quality.distances.TooFewSamples")


def evaluate(settings: Settings, store: MemoryStore, task: Task) -> EvaluationOutcome:
    workers = range(task.spec.config.compute.workers)
    return judge(settings, store, task, [share_of_task(settings, store, task, rank) for rank in workers])


@pytest.fixture(scope="module")
def judged(
    settings: Settings, store: MemoryStore, dataset: LocalDataset, checkpoint: CheckpointRef
) -> EvaluationOutcome:
    return evaluate(settings, store, Task(spec=spec(dataset, 1), checkpoint=checkpoint, samples=50, draw=1))


def test_every_field_of_an_evaluation_is_filled(judged: EvaluationOutcome, checkpoint: CheckpointRef) -> None:
    found = judged.evaluation
    assert found.metric == "fd_classifier"
    assert (found.run, found.measures.samples, found.draw, found.checkpoint) == ("run", 50, 1, checkpoint)
    assert 0 < found.value != found.value_untrained > 0
    assert found.measures.kernel_distance > 0
    assert 0 < found.measures.kernel_distance_error < found.measures.kernel_distance
    assert 0 <= found.measures.precision <= 1
    assert 0 <= found.measures.recall <= 1
    assert "own size" in found.resizing
    assert found.copying is not None
    assert found.copying.samples == 15, "as many as are held out"
    assert found.copying.ratio > 0.8
    assert judged.strip.dtype == np.uint8


def test_a_runs_own_workers_evaluate_as_the_evaluation_job_does(
    settings: Settings,
    store: MemoryStore,
    dataset: LocalDataset,
    checkpoint: CheckpointRef,
    judged: EvaluationOutcome,
) -> None:
    task = Task(spec=spec(dataset, 1), checkpoint=checkpoint, samples=50, draw=1)
    extractor = open_extractor(store, dataset, task.spec.config.evaluation, settings.cache)
    own = evaluate_over_workers(store, task, dataset, extractor, WorkerPlace())
    assert own is not None
    assert own.evaluation.seconds > 0
    same = {"measures": judged.evaluation.measures, "seconds": 0.0}
    assert own.evaluation.model_copy(update=same) == judged.evaluation
    # Matrix products round by where their operands lie in memory.
    numbers, expected = (found.evaluation.measures.model_dump(exclude={"metric"}) for found in (own, judged))
    assert numbers == pytest.approx(expected, rel=1e-9)
    assert np.array_equal(own.strip, judged.strip)


def own_worker(rank: int, folder: Path, objects: dict[str, bytes], task: dict[str, Any]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    store, wanted = MemoryStore(), Task.model_validate(task)
    for key, value in objects.items():
        store.put(key, value)
    version = load_version(store, wanted.spec.dataset_name, wanted.spec.dataset_digest)
    dataset = pull(store, version, folder / "cache")
    extractor = open_extractor(store, dataset, wanted.spec.config.evaluation, folder / "cache")
    # The champion is the generator as it was before training, so its distance is known.
    champion = LoadedGenerator(
        RegisteredGenerator(model="shades", version=1, tracking_run_id="0" * 32),
        untrained_generator(wanted.spec, version),
        wanted.spec.config.network.latent_dim,
    )
    outcome = evaluate_over_workers(store, wanted, dataset, extractor, WorkerPlace(rank, 2), champion)
    if outcome is not None:
        assert outcome.rival is not None
        measures = outcome.rival.measures
        assert measures.champion.value == pytest.approx(outcome.evaluation.value_untrained, rel=1e-6)
        assert measures.low <= measures.difference <= measures.high
        (folder / f"evaluation-{rank}.json").write_text(outcome.evaluation.to_json())
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_workers_of_a_run_evaluate_it_together_and_rank_0_holds_the_evaluation(
    store: MemoryStore,
    dataset: LocalDataset,
    checkpoint: CheckpointRef,
    judged: EvaluationOutcome,
    tmp_path: Path,
) -> None:
    objects = {found.key: store.get(found.key) for found in store.list("")}
    task = Task(spec=spec(dataset, 2), checkpoint=checkpoint, samples=50, draw=1)
    spawn(own_worker, (tmp_path, objects, task.model_dump(mode="json")), nprocs=2)
    [path] = tmp_path.glob("evaluation-*.json")
    assert path.name == "evaluation-0.json"
    found = Evaluation.from_json(path.read_bytes(), source="test")
    assert found.value == pytest.approx(judged.evaluation.value, rel=1e-3)
    assert found.copying == judged.evaluation.copying


def test_workers_change_nothing_but_rounding(
    settings: Settings,
    store: MemoryStore,
    dataset: LocalDataset,
    checkpoint: CheckpointRef,
    judged: EvaluationOutcome,
) -> None:
    one = judged.evaluation
    three, strip, _ = evaluate(
        settings,
        store,
        Task(spec=spec(dataset, 3), checkpoint=checkpoint, samples=50, draw=1, untrained=False),
    )
    assert math.isnan(three.value_untrained)
    for name in ("value", "kernel_distance", "kernel_distance_error", "precision", "recall"):
        assert getattr(three.measures, name) == pytest.approx(getattr(one.measures, name), rel=1e-3), name
    assert three.copying == one.copying
    assert np.array_equal(strip, judged.strip)


def test_a_fresh_draw_is_another_sample_of_the_same(
    settings: Settings,
    store: MemoryStore,
    dataset: LocalDataset,
    checkpoint: CheckpointRef,
    judged: EvaluationOutcome,
) -> None:
    task = Task(spec=spec(dataset, 1), checkpoint=checkpoint, samples=80, draw=2, untrained=False)
    fresh = evaluate(settings, store, task).evaluation
    assert (fresh.draw, fresh.measures.samples) == (2, 80)
    assert fresh.measures.kernel_distance != judged.evaluation.measures.kernel_distance
    error = math.hypot(fresh.measures.kernel_distance_error, judged.evaluation.measures.kernel_distance_error)
    assert abs(fresh.measures.kernel_distance - judged.evaluation.measures.kernel_distance) < 5 * error


def test_it_is_logged_with_all_its_numbers_and_the_strip(judged: EvaluationOutcome) -> None:
    tracker, found = MemoryTracker(), judged.evaluation
    run_id = tracker.start(RunStart("shades", "run", {}, {}, "shades", "0" * 64, "s3://b/k"))
    log_evaluation(tracker, run_id, found, judged.strip)
    run = tracker.runs[run_id]
    assert run.metrics["fd_classifier"] == [(0, found.value_untrained), (640, found.value)]
    assert run.metrics["kd_classifier"] == [(640, found.measures.kernel_distance)]
    assert {"kd_classifier_error", "precision", "recall", "copying_ratio"} < set(run.metrics)
    assert list(run.images) == [("copying", 640)]
    assert summary(found).startswith(f"evaluated in full: fd_classifier = {found.value:.1f} (untrained ")
    assert "copying_ratio" in summary(found)


def test_evaluations_that_an_older_ganlib_stored_are_still_read(judged: EvaluationOutcome) -> None:
    found = judged.evaluation
    stored = json.loads(found.to_json())
    flat = {**stored, **stored["measures"]}
    del flat["measures"]
    assert Evaluation.from_json(json.dumps(flat)) == found
    for name in ("kernel_distance", "kernel_distance_error", "precision", "recall", "copying", "resizing"):
        del flat[name]
    del flat["draw"]
    read = Evaluation.from_json(json.dumps(flat))
    assert read.value == found.value
    assert metrics_of(read) == {"fd_classifier": read.value}
    with pytest.raises(DataError, match="measures.value"):
        Evaluation.from_json(json.dumps({name: value for name, value in flat.items() if name != "value"}))


def test_the_name_of_the_metric_is_known_before_the_extractor_is_there() -> None:
    names = {
        name: EvaluationConfig(extractor=name).metric  # type: ignore[arg-type]
        for name in ("efficientnet_lite0", "inception", "classifier")
    }
    assert names == {
        "efficientnet_lite0": "fd_efficientnet_lite0",
        "inception": "fid",
        "classifier": "fd_classifier",
    }


def test_the_nearest_training_pictures_are_found_by_any_number_of_workers(dataset: LocalDataset) -> None:
    train = dataset.load("train")
    pictures = train.gather(torch.tensor([5, 0, 70]))[0]
    found = merge(nearest_of_share(dataset, pictures, WorkerPlace(rank, 4)) for rank in range(4))
    assert found.indices.tolist() == [5, 0, 70]
    assert found.distances.tolist() == [0, 0, 0]


def test_the_reference_is_computed_once(
    store: MemoryStore, dataset: LocalDataset, settings: Settings
) -> None:
    extractor = open_extractor(store, dataset, EvaluationConfig(extractor="classifier"), settings.cache)
    first = reference_over_workers(store, dataset, extractor, 10, WorkerPlace())
    again = reference_over_workers(store, dataset, _Unused(extractor), 10, WorkerPlace())  # type: ignore[arg-type]
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.within.radii, again.within.radii)
    assert again.statistics.count == 10


class _Unused:
    """An extractor that is known but must not be called."""

    def __init__(self, extractor: Classifier) -> None:
        self.name, self.dimensions = extractor.name, extractor.dimensions
        self.weights_sha256, self.resizing = extractor.weights_sha256, extractor.resizing

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed again")


def test_the_classifier_is_trained_once_and_again_if_it_is_damaged(
    store: MemoryStore,
    dataset: LocalDataset,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(classifier, "MAX_EPOCHS", 4)
    config = EvaluationConfig(extractor="classifier")
    [key] = [key for key in store.objects if key.endswith("classifier/weights.safetensors")]
    before = store.get(key)
    first = open_extractor(store, dataset, config, settings.cache, say=said.append)
    assert store.get(key) == before
    assert not said
    store.put(key, before[:-4] + b"\x00" * 4)
    again = open_extractor(store, dataset, config, settings.cache, say=said.append)
    assert "training a classifier of" in said[0], "it takes a while"
    assert again.weights_sha256 == first.weights_sha256, "the same, from the same version"
    assert store.get(key) == before


def test_a_dataset_without_classes_trains_no_classifier(tmp_path: Path) -> None:
    store = MemoryStore()
    plain = add(store, "plain", ("",), tmp_path)
    assert plain.version.classes == ()
    config = EvaluationConfig(extractor="classifier")
    with pytest.raises(ConfigError, match=r"evaluation\.extractor = classifier.*plain has no classes"):
        require_classes(config, plain.version)
    require_classes(EvaluationConfig(), plain.version)
    with pytest.raises(ConfigError, match="plain has no classes"):
        open_extractor(store, plain, config, tmp_path)
    assert not any("classifier" in key for key in store.objects)


INCEPTION = EvaluationConfig(extractor="inception")


def test_weights_are_brought_to_the_store_before_a_run(tmp_path: Path) -> None:
    import hashlib

    data, store, bucket = b"weights", MemoryStore(), MemoryStore()
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "weights.pth").write_bytes(data)
    bucket.put("weights.pth", data)
    opened: list[str] = []

    def open_store(uri: str) -> MemoryStore:
        opened.append(uri)
        return bucket

    def provide(config: EvaluationConfig, cache: str, sha256: str = sha256) -> None:
        provide_weights(store, config, tmp_path / cache, open_store, sha256=sha256)

    with pytest.raises(ConfigError, match=r"set evaluation\.weights"):
        provide(INCEPTION, "a")
    for index, where in enumerate([str(tmp_path / "weights.pth"), "s3://bucket/folder/weights.pth"]):
        provide(INCEPTION.model_copy(update={"weights": where}), f"b{index}")
        assert store.objects == {weights_key(sha256): data}
        provide(INCEPTION, f"c{index}")
        assert (tmp_path / f"c{index}" / "weights" / sha256).read_bytes() == data
        store.delete(weights_key(sha256))
    assert opened == ["s3://bucket/folder"]
    provide(EvaluationConfig(), "d")


def test_weights_that_cannot_be_had_or_are_others_are_refused_before_a_run(tmp_path: Path) -> None:
    store, bucket = MemoryStore(), MemoryStore()
    (tmp_path / "others.pth").write_bytes(b"others")

    def provide(where: str) -> None:
        config = INCEPTION.model_copy(update={"weights": where})
        provide_weights(store, config, tmp_path / "cache", lambda _: bucket)

    with pytest.raises(DigestMismatch, match=r"others\.pth.*6726825d"):
        provide(str(tmp_path / "others.pth"))
    for missing in (str(tmp_path / "missing.pth"), "s3://bucket/missing.pth", str(tmp_path)):
        with pytest.raises(ConfigError, match=r"evaluation\.weights = .* cannot be read"):
            provide(missing)
    assert not store.objects
    assert not (tmp_path / "cache").exists()


def test_where_weights_lie_is_no_part_of_a_run_s_identity() -> None:
    inception = {"evaluation.extractor": "inception"}
    one = load_config("digits-wgan", inception)
    assert one.digest == load_config("digits-wgan", {**inception, "evaluation.weights": "/a/file"}).digest
    assert one.digest != load_config("digits-wgan").digest
    with pytest.raises(ConfigError, match="classifier, which has its own"):
        load_config("digits-wgan", {"evaluation.extractor": "classifier", "evaluation.weights": "/a/file"})
    with pytest.raises(ConfigError, match=r"evaluation\.extractor = 'vgg' cannot be used: .*inception"):
        load_config("digits-wgan", {"evaluation.extractor": "vgg"})
