"""From a checkpoint to a registered version, with what it brings along."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors

from ganlib.config.run import RunConfig, load_config
from ganlib.errors import ConfigError
from ganlib.fakes.stores import MemoryRegistry, MemoryStore
from ganlib.generators.fetch import load
from ganlib.quality.grids import grid
from ganlib.records import (
    Copying,
    DatasetVersion,
    Evaluation,
    Measures,
    RegisteredGenerator,
    Shard,
    TrainResult,
)
from ganlib.release.publish import challenge, publish
from ganlib.release.tags import require_publishable
from ganlib.training.build import build_generator, fresh_state
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.spec import RunSpec

SMALL: dict[str, Any] = {"network.generator_width": 4, "network.critic_width": 4, "network.latent_dim": 6}


@dataclass
class Published:
    registry: MemoryRegistry
    generator: RegisteredGenerator
    spec: RunSpec
    evaluation: Evaluation
    dataset: DatasetVersion


def dataset_version(classes: tuple[str, ...]) -> DatasetVersion:
    shards = tuple(
        Shard(
            path=f"shards/{split.replace('_', '-')}-00000.safetensors",
            split=split,
            images=images,
            bytes=1,
            sha256="a" * 64,
        )
        for split, images in (("train", 1000), ("held_out", 200))
    )
    digest = DatasetVersion.digest_for((1, 28, 28), classes, shards)
    return DatasetVersion(
        name="digits", digest=digest, image_shape=(1, 28, 28), classes=classes, shards=shards
    )


def make(
    more: dict[str, Any],
    measured: dict[str, Any],
    registry: MemoryRegistry | None = None,
    run: str = "run-a",
) -> Published:
    store, registry = MemoryStore(), registry or MemoryRegistry()
    config = load_config("digits-wgan", {**SMALL, **more})
    dataset = dataset_version(("zero", "one", "two") if config.network.conditional else ())
    store.put(f"{dataset.prefix}/manifest.json", dataset.to_json().encode())
    state = fresh_state(config, dataset, torch.device("cpu"))
    state.images_seen, state.generator_steps = 64_000, 1000
    with Checkpoints(store, run, config, ("0", "0")) as checkpoints:
        checkpoint = checkpoints.save(state, 1, 12.0)
        checkpoints.wait()
    spec = RunSpec(
        run=run, config=config, dataset_name="digits", dataset_digest=dataset.digest, code_version="1.2.3"
    )
    numbers = {name: value for name, value in measured.items() if name in Measures.model_fields}
    others = {name: value for name, value in measured.items() if name not in numbers}
    evaluation = Evaluation(
        run=run,
        checkpoint=checkpoint,
        dataset_digest=dataset.digest,
        measures=Measures(metric="fd_efficientnet_lite0", samples=2000, value=198.53217, **numbers),
        value_untrained=851.2,
        seconds=5.0,
        **others,
    )
    result = TrainResult(run=run, tracking_run_id="t-1", status="finished", best=checkpoint)
    return Published(registry, publish(store, registry, spec, result, evaluation), spec, evaluation, dataset)


MEASURED: dict[str, Any] = {
    "kernel_distance": 0.01234,
    "kernel_distance_error": 0.00056,
    "precision": 0.71,
    "recall": 0.42,
    "copying": Copying(samples=64, generated_distance=0.9, held_out_distance=1.0),
    "resizing": "bilinear, antialiased",
}


@pytest.fixture(scope="module")
def full() -> Published:
    return make({"dataset.licence": "CC-BY-4.0"}, MEASURED)


def test_a_version_brings_its_files_and_tags(full: Published) -> None:
    files = full.registry.files(full.generator)
    assert set(files) == {
        "config.json",
        "dataset.json",
        "evaluation.json",
        "generator.safetensors",
        "grid.png",
        "model_card.md",
    }
    assert Evaluation.from_json(files["evaluation.json"]) == full.evaluation
    tags = full.generator.tags
    assert tags["ganlib.image_shape"] == ",".join(map(str, full.dataset.image_shape))
    assert tags["ganlib.run"] == "run-a"
    assert tags["ganlib.config_digest"] == full.spec.config.digest
    assert tags["ganlib.dataset_digest"] == full.dataset.digest
    assert tags["ganlib.code_version"] == "1.2.3"
    assert tags["ganlib.licence"] == "CC-BY-4.0"
    assert float(tags["ganlib.kernel_distance"]) == 0.01234
    assert float(tags["ganlib.copying_ratio"]) == 0.9


def test_what_was_not_measured_is_no_tag_and_not_in_the_card(full: Published) -> None:
    bare = make({}, {})
    assert not {"ganlib.kernel_distance", "ganlib.precision", "ganlib.copying_ratio"} & set(
        bare.generator.tags
    )
    card = bare.registry.files(bare.generator)["model_card.md"].decode()
    assert "nan" not in card.lower()
    assert "kernel distance" not in card
    assert "precision" not in card
    assert "not measured" in card
    assert bare.generator.tags["ganlib.licence"] == "unknown"
    assert "- licence: unknown" in card
    assert "licence is not recorded" in card


def test_the_card_says_what_one_must_know(full: Published) -> None:
    card = full.registry.files(full.generator)["model_card.md"].decode()
    assert len(card) < 5000
    for words in (
        "28×28 grey",
        'ganlib.load_generator("digits-wgan@champion")',
        full.dataset.digest,
        "CC-BY-4.0",
        "1,000 to train on, 200 held out",
        full.spec.config.digest,
        "64,000 pictures",
        "- `objective.clip`: ",
        "- prepared as: 28×28 grey, crop",
        "- fd_efficientnet_lite0: 198.5",
        "- kernel distance: 0.01234 ± 0.00056",
        "- precision: 0.71",
        "- recall: 0.42",
        "- copying ratio: 0.9",
        "bilinear, antialiased",
        "![64 samples, none picked](grid.png)",
        "## Limits",
    ):
        assert words in card, words


@pytest.mark.parametrize("conditional", [False, True])
def test_weights_and_grid_are_the_programs(conditional: bool) -> None:
    made = make({"network.conditional": conditional}, {})
    files = made.registry.files(made.generator)
    network = build_generator(made.spec.config, made.dataset).eval()
    network.load_state_dict(load_safetensors(files["generator.safetensors"]))
    assert RunConfig.model_validate_json(files["config.json"]) == made.spec.config
    assert DatasetVersion.from_json(files["dataset.json"]) == made.dataset
    program = load("digits-wgan/1", made.registry)
    noise = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(16) % 3,) if conditional else ()
    with torch.no_grad():
        torch.testing.assert_close(network(noise, *labels), program(noise, *labels), rtol=0, atol=1e-5)
    with Image.open(io.BytesIO(files["grid.png"])) as stored:
        drawn = np.asarray(stored).astype(int)
    # The program has its batch norm folded, which moves a pixel by a grey level now and then.
    assert np.abs(drawn - grid(program.sample(64, seed=0), columns=8)).max() <= 1
    assert program.classes == made.dataset.classes


def test_the_registrys_limits_are_checked_before_a_run_is_trained(full: Published) -> None:
    require_publishable(full.spec, full.dataset)
    named = full.spec.model_copy(
        update={"config": full.spec.config.model_copy(update={"name": "a/b"})}  # past the field's own check
    )
    with pytest.raises(ConfigError, match="'a/b' cannot be a model's name"):
        require_publishable(named, full.dataset)
    with pytest.raises(ConfigError, match=r"tag 'ganlib\.dataset' with a value of 5001 characters"):
        require_publishable(full.spec.model_copy(update={"dataset_name": "d" * 5001}), full.dataset)


def test_an_equal_run_can_be_published_under_a_second_name(full: Published) -> None:
    second = make({"name": "numbers"}, {}, MemoryRegistry())
    assert second.generator.model == "numbers"
    assert second.spec.run == full.spec.run
    card = second.registry.files(second.generator)["model_card.md"].decode()
    assert card.startswith("# numbers\n")
    assert 'load_generator("numbers@champion")' in card


def test_no_copying_ratio_is_published_where_all_held_out_pictures_are_copies() -> None:
    copying = Copying(samples=64, generated_distance=0.9, held_out_distance=0.0, held_out_copies=64)
    made = make({}, {"copying": copying})
    assert "ganlib.copying_ratio" not in made.generator.tags
    assert "not measured" in made.registry.files(made.generator)["model_card.md"].decode()


def test_publishing_makes_the_challenger_and_publishing_again_changes_nothing() -> None:
    made = make({}, {})
    assert made.registry.resolve("digits-wgan", "1").aliases == ("challenger",), "the gate makes champions"
    assert made.generator.alias == "challenger"
    before = made.registry.history("digits-wgan")
    assert make({}, {}, made.registry).generator.version == 1
    assert made.registry.history("digits-wgan") == before


def test_an_older_version_does_not_become_the_challenger_again() -> None:
    first = make({}, {})
    second = make({}, {}, first.registry, run="run-b")
    registry = first.registry
    assert registry.resolve("digits-wgan", "challenger").version == second.generator.version == 2
    challenge(registry, first.generator, "run run-a")
    assert registry.resolve("digits-wgan", "challenger").version == 2


@pytest.mark.parametrize("licence", ["", "x" * 201, "a\nb", "a|b"])
def test_a_licence_is_a_short_line(licence: str) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.licence"):
        load_config("digits-wgan", {"dataset.licence": licence})


def test_a_licence_does_not_make_another_run() -> None:
    assert load_config("digits-wgan", {"dataset.licence": "MIT"}).digest == load_config("digits-wgan").digest
