"""The end of a training job: what its workers record, and what they leave to the flow."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from shades import spec

from ganlib.cluster.lines import StageProgress
from ganlib.core.steps import WorkerPlace
from ganlib.data.cache import LocalDataset
from ganlib.data.layout import RawDataset
from ganlib.errors import RegistryError, ServiceError
from ganlib.fakes.stores import MemoryRegistry, MemoryStore, MemoryTracker
from ganlib.generators.fetch import load
from ganlib.ports import Publication, RunStart
from ganlib.quality.extractors import open_extractor
from ganlib.quality.features import Extractor
from ganlib.records import CheckpointRef, Evaluation, RegisteredGenerator, TrainResult
from ganlib.release.comparison_task import ComparisonTask, find_comparison
from ganlib.release.conclusion import Services, conclude_run
from ganlib.release.registered import find_registered, registered_key
from ganlib.release.tags import CHALLENGER, CHAMPION
from ganlib.settings import Settings
from ganlib.training.spec import RunSpec, evaluation_key, run_draw, write_spec

pytestmark = pytest.mark.filterwarnings("ignore::ganlib.quality.distances.TooFewSamples")


@dataclass
class Trained:
    """The parts of a host that are used after training."""

    run: str
    tracking_run_id: str
    dataset: LocalDataset
    extractor: Extractor
    tracker: MemoryTracker
    place: WorkerPlace = field(default_factory=WorkerPlace)
    said: list[str] = field(default_factory=list)

    def emit(self, said: str | StageProgress) -> None:
        self.said.append(str(said))


@dataclass
class Case:
    """A trained run among services in memory."""

    services: Services
    registry: MemoryRegistry
    host: Trained
    spec: RunSpec
    checkpoint: CheckpointRef

    def result(self, status: str = "finished") -> TrainResult:
        fields = {"run": self.spec.run, "tracking_run_id": self.host.tracking_run_id, "status": status}
        return TrainResult.model_validate({**fields, "best": self.checkpoint, "last": self.checkpoint})

    def conclude(self, status: str = "finished", publishing: bool = True) -> None:
        conclude_run(self.services, self.host, self.result(status), publishing=publishing)  # type: ignore[arg-type]

    def evaluation(self) -> Evaluation:
        key = evaluation_key(self.spec.run)
        return Evaluation.from_json(self.services.store.get(key), source=key)

    def registered(self) -> RegisteredGenerator:
        found = find_registered(self.services.store, self.registry, self.spec)
        assert found is not None
        return found


@pytest.fixture
def case(settings: Settings, store: MemoryStore, dataset: LocalDataset, checkpoint: CheckpointRef) -> Case:
    own = MemoryStore()
    for found in store.list(""):
        own.put(found.key, store.get(found.key))
    wanted = spec(dataset, 1)
    write_spec(own, wanted)
    extractor = open_extractor(own, dataset, wanted.config.evaluation, settings.cache)
    tracker, registry = MemoryTracker(), MemoryRegistry()
    run_id = tracker.start(RunStart("shades", wanted.run, {}, {}, "shades", dataset.version.digest, "s3://b"))
    services = Services(own, registry, partial(load, registry=registry))
    return Case(
        services, registry, Trained(wanted.run, run_id, dataset, extractor, tracker), wanted, checkpoint
    )


def crown_another(case: Case) -> RegisteredGenerator:
    """Publish the same run under another name, and make it the champion."""
    case.conclude()
    champion = case.registered()
    case.registry.move(champion.model, CHAMPION, champion.version, expected=None, who="test", why="test")
    store = case.services.store
    for key in (evaluation_key(case.spec.run), registered_key(case.spec.run)):
        store.delete(key)
    case.spec = case.spec.model_copy(update={"run": "run-b"})
    case.host.run = "run-b"
    write_spec(store, case.spec)
    return champion


def test_the_first_run_is_evaluated_and_published(case: Case) -> None:
    case.conclude()
    found = case.evaluation()
    assert (found.checkpoint, found.measures.samples) == (case.checkpoint, 50)
    assert found.draw == run_draw(case.spec.run)
    registered = case.registered()
    assert case.registry.resolve(registered.model, CHALLENGER).version == registered.version == 1
    assert registered.alias == CHALLENGER
    assert not [line for line in case.host.said if "warning" in line]
    assert not [found.key for found in case.services.store.list(f"runs/{case.spec.run}/comparisons")]


def test_a_published_version_has_the_licence_of_its_dataset(case: Case) -> None:
    store, key = case.services.store, "raw/shades/dataset.json"
    described = RawDataset.from_json(store.get(key), source=key).model_copy(update={"licence": "CC-BY-4.0"})
    store.put(key, described.to_json().encode())
    case.conclude()
    registered = case.registered()
    assert registered.tags["ganlib.licence"] == "CC-BY-4.0"


def test_a_later_run_is_compared_with_the_champion_on_its_own_latents(case: Case) -> None:
    champion = crown_another(case)
    case.conclude()
    registered = case.registered()
    assert registered.version == 2
    comparison = find_comparison(case.services.store, ComparisonTask.of(case.spec, registered, champion))
    assert comparison is not None
    assert (comparison.candidate_version, comparison.champion_version) == (2, 1)
    assert comparison.candidate == case.evaluation().measures
    # Both versions hold the same checkpoint, so on the same latents they make the same pictures.
    assert comparison.champion.value == pytest.approx(comparison.candidate.value, rel=1e-2)
    assert comparison.low <= comparison.difference <= comparison.high
    assert comparison.difference == pytest.approx(0, abs=1e-2)
    [run] = case.host.tracker.runs.values()
    assert ("champion and candidate", 1) in run.images


def test_each_run_has_latents_of_its_own() -> None:
    draws = {run_draw(f"run-{number}") for number in range(100)}
    assert len(draws) == 100
    assert min(draws) >= 2**16
    assert run_draw("run-1") == run_draw("run-1")


def test_a_run_is_concluded_once(case: Case) -> None:
    case.conclude()
    said = list(case.host.said)
    case.conclude()
    assert case.host.said == said
    assert len(case.registry.versions(case.registered().model)) == 1


def test_a_run_that_failed_is_left_alone(case: Case) -> None:
    case.conclude("failed")
    assert case.host.said == []
    assert case.registry.models() == []


class DownRegistry(MemoryRegistry):
    """A registry that does not answer."""

    def resolve(self, model: str, alias_or_version: str) -> RegisteredGenerator:
        raise ServiceError("mlflow", "http://127.0.0.1:9", "GANLIB_MLFLOW_URI", "nothing answers there")

    def publish(self, publication: Publication) -> RegisteredGenerator:
        raise ServiceError("mlflow", "http://127.0.0.1:9", "GANLIB_MLFLOW_URI", "nothing answers there")


def test_what_a_silent_registry_prevents_is_left_to_the_flow(case: Case) -> None:
    case.services = replace(case.services, registry=DownRegistry())
    case.conclude()
    assert case.evaluation().measures.samples == 50
    assert find_registered(case.services.store, case.registry, case.spec) is None
    assert [line for line in case.host.said if "published later" in line]


def test_a_run_that_is_not_to_be_published_is_evaluated_only(case: Case) -> None:
    crown_another(case)
    case.conclude(publishing=False)
    assert case.evaluation().measures.samples == 50
    assert find_registered(case.services.store, case.registry, case.spec) is None
    assert len(case.registry.versions(case.spec.config.model_name)) == 1


@pytest.mark.parametrize("error", [RegistryError("it is damaged"), OSError("the cache was removed")])
def test_a_champion_that_cannot_be_loaded_is_compared_with_later(case: Case, error: Exception) -> None:
    champion = crown_another(case)

    def damaged(reference: str) -> None:
        raise error

    case.services = replace(case.services, load=damaged)  # type: ignore[arg-type]
    case.conclude()
    assert [line for line in case.host.said if f"{champion.model}/1 is compared with later" in line]
    task = ComparisonTask.of(case.spec, case.registered(), champion)
    assert find_comparison(case.services.store, task) is None


def test_a_record_of_a_version_that_is_gone_or_another_run_s_counts_as_absent(case: Case) -> None:
    assert find_registered(case.services.store, case.registry, case.spec) is None
    case.conclude()
    assert find_registered(case.services.store, MemoryRegistry(), case.spec) is None
    case.registry.tag(case.registered().model, 1, {"ganlib.run": "run-b"})
    assert find_registered(case.services.store, case.registry, case.spec) is None
