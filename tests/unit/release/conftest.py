from __future__ import annotations

import pytest
import torch
from shades import add, spec

from ganlib.config.parts import EvaluationConfig
from ganlib.data.cache import LocalDataset
from ganlib.fakes.stores import MemoryStore
from ganlib.quality import classifier
from ganlib.quality.extractors import open_extractor
from ganlib.records import CheckpointRef
from ganlib.settings import Settings
from ganlib.training.build import fresh_state
from ganlib.training.checkpoints import Checkpoints


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("judge") / "home")


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="module")
def dataset(store: MemoryStore, settings: Settings) -> LocalDataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "MAX_EPOCHS", 4)
        found = add(store, "shades", ("upright", "lying"), settings.home.parent)
        open_extractor(store, found, EvaluationConfig(extractor="classifier"), settings.cache)
        return found


@pytest.fixture(scope="module")
def checkpoint(store: MemoryStore, dataset: LocalDataset) -> CheckpointRef:
    """Checkpoint of a run whose generator has changed since the beginning."""
    config = spec(dataset, 1).config
    state = fresh_state(config, dataset.version, torch.device("cpu"))
    with torch.no_grad():
        for parameter in state.average.parameters():
            parameter.mul_(1.5)
    state.images_seen = 640
    with Checkpoints(store, "run", config, ("0", "0")) as checkpoints:
        checkpoints.save(state, 1, 1.0, 1.0)
        checkpoints.wait()
        best = checkpoints.best()
    assert best is not None
    return best
