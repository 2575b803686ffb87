"""A run that begins from another run's checkpoint: a changed member of a population, a winner trained on."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from ganlib.config.run import RunConfig, load_config
from ganlib.core.checkpoint import dump_state
from ganlib.core.networks import Critic, Generator
from ganlib.core.state import TrainState
from ganlib.errors import CheckpointRefused, ConfigError
from ganlib.fakes.stores import MemoryStore
from ganlib.records import CheckpointRef, DatasetVersion, TrainResult
from ganlib.sweep.load import load_sweep
from ganlib.sweep.records import SweepResult, Trial, trial_run_name
from ganlib.sweep.space import Choice
from ganlib.sweep.spec import SweepSpec, as_best, train_on
from ganlib.training.checkpoints import Checkpoints, clone, newest, retire
from ganlib.training.spec import RunSpec, result_key, write_spec

DONOR, CLONE = load_config("digits-wgan"), load_config("digits-wgan", {"objective.clip": 0.2})


def make_state(seed: int, images_seen: int = 0, width: int = 4) -> TrainState:
    torch.manual_seed(seed)
    optimizer = partial(torch.optim.RMSprop, lr=1e-3)
    generator = Generator(size=28, channels=1, latent_dim=3, width=width)
    state = TrainState.fresh(generator, Critic(size=28, channels=1, width=4), optimizer, optimizer)
    state.images_seen = images_seen
    return state


def opened(
    store: MemoryStore, run: str, config: RunConfig, adopt: CheckpointRef | None = None
) -> Checkpoints:
    return Checkpoints(store, run, config, ("0", "0"), adopt)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def donated(store: MemoryStore) -> CheckpointRef:
    """A donor with two checkpoints, the newer of them copied into the clone's folder."""
    with opened(store, "donor", DONOR) as saved:
        saved.save(make_state(1, 100), 1, 5.0)
        saved.save(make_state(2, 200), 1, 9.0)
    ref = newest(store, "donor", None)
    assert ref is not None
    assert ref.images_seen == 200
    return clone(store, ref, "clone")


def test_a_clone_goes_on_with_the_donors_state_and_a_configuration_of_its_own(
    store: MemoryStore, donated: CheckpointRef
) -> None:
    for info in list(store.list("runs/donor/")):
        store.delete(info.key)
    state = make_state(0)
    with opened(store, "clone", CLONE, donated) as found:
        resumed = found.resume(state)
    assert resumed is not None
    assert resumed.distance is None, "the donor's distance is not the clone's"
    assert dump_state(state)[0] == dump_state(make_state(2))[0]
    assert state.images_seen == 200


def test_what_a_clone_had_before_counts_no_more_even_if_it_was_newer(
    store: MemoryStore, donated: CheckpointRef
) -> None:
    with opened(store, "clone", DONOR) as before:
        before.save(make_state(3, 500), 1, 1.0)
    with opened(store, "clone", CLONE, donated) as after:
        state = make_state(0)
        resumed = after.resume(state)
        assert resumed is not None
        assert resumed.ref == donated
        assert after.best() is None
        after.save(make_state(4, 300), 1, 7.0)
    with opened(store, "clone", CLONE, donated) as again:
        taken = again.resume(make_state(0))
        assert taken is not None
        assert taken.ref.images_seen == 300, "its own since then, not the donor's"
        assert taken.distance == 7.0
    last = newest(store, "clone", donated)
    assert last is not None
    assert last.images_seen == 300


def test_a_checkpoint_of_other_networks_cannot_be_adopted(store: MemoryStore, donated: CheckpointRef) -> None:
    with (
        opened(store, "clone", CLONE, donated) as found,
        pytest.raises(CheckpointRefused, match="of another generator"),
    ):
        found.resume(make_state(0, width=8))


def test_a_checkpoint_that_is_gone_cannot_be_adopted(store: MemoryStore, donated: CheckpointRef) -> None:
    store.delete(f"{donated.key}/state.safetensors")
    with (
        opened(store, "clone", CLONE, donated) as found,
        pytest.raises(CheckpointRefused, match="no tensors"),
    ):
        found.resume(make_state(0))


def test_what_nothing_goes_on_from_is_deleted(store: MemoryStore, donated: CheckpointRef) -> None:
    with opened(store, "clone", DONOR) as before:
        best = before.save(make_state(3, 500), 1, 1.0)
        before.save(make_state(4, 600), 1, 2.0)
    retire(store, "clone", {donated.key, best.key})
    left = {info.key.rpartition("/")[0] for info in store.list("runs/clone/")}
    assert left == {donated.key, best.key}
    retire(store, "clone", {best.key})
    assert {info.key.rpartition("/")[0] for info in store.list("runs/clone/")} == {best.key}
    assert list(store.list("runs/donor/")), "another run's are left alone"


def test_a_run_without_checkpoints_has_no_newest_one(store: MemoryStore) -> None:
    assert newest(store, "nobody", None) is None


def sweep_with_a_winner(store: MemoryStore, donated: CheckpointRef) -> tuple[SweepSpec, SweepResult]:
    search = {"objective.clip": Choice(values=(0.1, 0.2))}
    common: dict[str, Any] = {"dataset_name": "digits", "dataset_digest": "0" * 64, "code_version": "0"}
    spec = SweepSpec(sweep="s", config=load_sweep("digits-wgan", search=search, total_kimg=40), **common)
    run = trial_run_name("s", 1)
    # In mid-run population-based training moved it from 0.2 to 0.15.
    changed = spec.config.trial_config({"objective.clip": 0.15})
    write_spec(store, RunSpec(run=run, config=changed, adopt=donated, **common))
    done = TrainResult(run=run, tracking_run_id="t", status="finished", last=donated)
    store.put(result_key(run), done.to_json().encode())
    trials = (
        Trial(number=0, run=trial_run_name("s", 0), values={"objective.clip": 0.1}),
        Trial(number=1, run=run, values={"objective.clip": 0.2}),
    )
    result = SweepResult(
        sweep="s",
        recipe="digits-wgan",
        tracking_run_id="parent",
        dataset_name="digits",
        dataset_digest="0" * 64,
        metric="m",
        status="finished",
        trials=trials,
        best=1,
    )
    return spec, result


def test_the_winner_is_trained_on_to_the_recipes_budget_as_it_was_last(
    store: MemoryStore, donated: CheckpointRef
) -> None:
    spec, result = sweep_with_a_winner(store, donated)
    dataset = DatasetVersion(name="digits", digest="0" * 64, image_shape=(1, 28, 28), classes=(), shards=())
    run = train_on(store, spec, result, dataset, "tonight")
    assert run.adopt == donated
    assert run.config.objective == load_config("digits-wgan", {"objective.clip": 0.15}).objective
    assert run.config.budget == load_config("digits-wgan").budget
    assert run.run == f"digits-wgan-00000000-{run.config.digest[:8]}-tonight"
    with pytest.raises(ConfigError, match="no winner yet"):
        train_on(store, spec, result.model_copy(update={"best": None}), dataset, "tonight")


def test_the_winner_is_published_as_it_was_at_its_best(store: MemoryStore, donated: CheckpointRef) -> None:
    spec, result = sweep_with_a_winner(store, donated)
    recipe, winner = result.trials
    for best_values, clip in (({}, 0.2), ({"objective.clip": 0.15}, 0.15)):
        trials = (recipe, winner.model_copy(update={"best_values": best_values}))
        run = as_best(spec, result.model_copy(update={"trials": trials}))
        assert run.run == winner.run
        assert run.config == spec.config.trial_config({"objective.clip": clip})
    with pytest.raises(ConfigError, match="no winner yet"):
        as_best(spec, result.model_copy(update={"best": None}))
