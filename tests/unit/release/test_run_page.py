"""The pages of a run and of its version: files, pictures, and the gate's decision."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL.GifImagePlugin import GifImageFile
from test_publish import MEASURED, Published, make

from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.quality.grids import png
from ganlib.records import Decision, Evaluation
from ganlib.release.run_page import complete_run_page, describe_decision
from ganlib.training.frames import find_frames, frame_key

AT = 64_000
"""Images at the checkpoint that is evaluated."""


@pytest.fixture(scope="module")
def made() -> Published:
    return make({}, MEASURED)


@pytest.fixture
def store(made: Published) -> MemoryStore:
    store = MemoryStore()
    store.put(f"{made.dataset.prefix}/manifest.json", made.dataset.to_json().encode())
    for step in (0, AT, 100_000):
        store.put(frame_key("run-a", step), png(np.full((30, 30), step // 1000, np.uint8)))
    store.put("runs/run-a/frames/notes.txt", b"somebody's")
    return store


def begun(made: Published) -> tuple[MemoryTracker, str]:
    tracker = MemoryTracker()
    return tracker, tracker.start(made.spec.tracking("bucket"))


def test_a_run_has_few_parameters_and_its_whole_configuration_from_the_start(made: Published) -> None:
    tracker, run_id = begun(made)
    run = tracker.runs[run_id]
    assert run.params["dataset.digest"] == made.dataset.digest[:12]
    assert len(run.params) < 20
    assert made.spec.config.model_validate_json(run.artifacts["config.json"]) == made.spec.config


def test_an_evaluated_run_shows_its_samples_film_and_numbers(made: Published, store: MemoryStore) -> None:
    tracker, run_id = begun(made)
    complete_run_page(store, tracker, run_id, made.evaluation)
    run = tracker.runs[run_id]
    assert set(run.artifacts) == {"config.json", "evaluation.json", "samples.png", "training.gif"}
    assert Evaluation.from_json(run.artifacts["evaluation.json"]) == made.evaluation
    assert run.artifacts["samples.png"] == store.get(frame_key("run-a", AT)), "of what was evaluated"
    [((key, step), picture)] = run.images.items()
    assert (key, step) == ("samples", AT)
    assert picture.tolist() == np.full((30, 30), 64).tolist()
    with GifImageFile(io.BytesIO(run.artifacts["training.gif"])) as film:
        assert film.n_frames == 3
    for file in ("samples.png", "training.gif"):
        assert f"](get-artifact?path={file}&run_uuid={run_id})" in run.description
    assert "198.5 after 64,000 images, 851.2 before training" in run.description
    before = dict(run.artifacts), run.description
    complete_run_page(store, tracker, run_id, made.evaluation)
    assert (run.artifacts, run.description) == before, "repeating it changes nothing"


def test_a_run_without_pictures_is_described_without(made: Published) -> None:
    tracker, run_id = begun(made)
    complete_run_page(MemoryStore(), tracker, run_id, made.evaluation)
    run = tracker.runs[run_id]
    assert set(run.artifacts) == {"config.json", "evaluation.json"}
    assert "![" not in run.description
    assert "samples.png" not in run.description


@pytest.mark.parametrize("promoted", [True, False])
def test_the_decision_is_told_on_both_pages(promoted: bool, store: MemoryStore) -> None:
    made = make({}, MEASURED)
    tracker, run_id = begun(made)
    complete_run_page(store, tracker, run_id, made.evaluation)
    generator = made.generator.model_copy(update={"tracking_run_id": run_id})
    decision = Decision(promoted=promoted, reason="it is luck")
    describe_decision(store, tracker, made.registry, made.spec, made.evaluation, generator, decision)
    outcome = "became" if promoted else "did not become"
    told = f"**digits-wgan version 1 {outcome} the champion**: it is luck."
    version = made.registry.ledgers["digits-wgan"].versions[1]
    assert tracker.runs[run_id].description.startswith(told)
    assert told in version.description
    assert (
        f"![64 samples, none picked](get-artifact?path=samples.png&run_uuid={run_id})" in version.description
    )
    assert len(version.description) < 5000


def test_frames_are_found_in_the_order_of_their_images(store: MemoryStore) -> None:
    store.put(frame_key("run-a", 10**12), b"")  # one digit more than the others
    assert list(find_frames(store, "run-a")) == [0, AT, 100_000, 10**12]
    assert find_frames(store, "run") == {}
