from __future__ import annotations

import logging
from functools import partial
from typing import Any

import pytest
import torch

from ganlib.config.run import RunConfig, load_config
from ganlib.core.checkpoint import dump_state
from ganlib.core.networks import Critic, Generator
from ganlib.core.state import TrainState
from ganlib.errors import CheckpointRefused
from ganlib.fakes.stores import MemoryStore
from ganlib.training.checkpoints import Checkpoints

CONFIG = load_config("digits-wgan")


def make_state(seed: int, images_seen: int = 0) -> TrainState:
    torch.manual_seed(seed)
    optimizer = partial(torch.optim.RMSprop, lr=1e-3)
    state = TrainState.fresh(
        Generator(size=28, channels=1, latent_dim=3, width=4),
        Critic(size=28, channels=1, width=4),
        optimizer,
        optimizer,
    )
    state.images_seen = images_seen
    return state


def checkpoints(store: MemoryStore, config: RunConfig = CONFIG) -> Checkpoints:
    return Checkpoints(store, "run", config, ("0", "0"))


def kept(store: MemoryStore) -> list[int]:
    return [int(o.key.split("/")[3]) for o in store.list("runs/run/checkpoints/") if o.key.endswith(".json")]


def save(store: MemoryStore, *moments: tuple[int, float | None]) -> None:
    with checkpoints(store) as saved:
        for images, distance in moments:
            saved.save(make_state(images, images), 1, distance)


def test_the_newest_is_taken_up() -> None:
    store = MemoryStore()
    save(store, (100, None), (200, None))
    state = make_state(0)
    with checkpoints(store) as found:
        resumed = found.resume(state)
    assert resumed is not None
    assert resumed.ref.images_seen == state.images_seen == 200
    assert dump_state(state)[0] == dump_state(make_state(200))[0]


def test_it_is_known_when_the_last_one_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1600.0)
    with checkpoints(MemoryStore()) as saved:
        assert saved.stored_at is None
        saved.save(make_state(1, 100), 1)
        saved.wait()
        assert saved.stored_at == 1600.0


def test_the_last_two_and_the_best_are_kept() -> None:
    store = MemoryStore()
    save(store, (100, 9.0), (200, 3.0), (300, 5.0), (400, None), (500, None))
    assert kept(store) == [200, 400, 500]
    assert len(list(store.list(""))) == 6, "tensors of what was dropped are gone too"


def test_the_best_is_still_known_after_a_restart() -> None:
    store = MemoryStore()
    save(store, (100, 3.0), (200, None), (300, None))
    with checkpoints(store) as again:
        again.resume(make_state(0))
        again.save(make_state(1, 400), 1, 7.0)
        again.wait()
        best = again.best()
    assert best is not None
    assert best.images_seen == 100
    assert kept(store) == [100, 300, 400]


@pytest.mark.parametrize("damage", ["altered", "truncated", "no tensors", "no json", "json torn"])
def test_a_damaged_one_is_named_and_the_one_before_it_is_used(
    damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    save(store, (100, None), (200, None))
    key = "runs/run/checkpoints/000000000200"
    tensors = store.get(f"{key}/state.safetensors")
    if damage == "altered":
        store.put(f"{key}/state.safetensors", tensors[:-1] + bytes([tensors[-1] ^ 1]))
    elif damage == "truncated":
        store.put(f"{key}/state.safetensors", tensors[:-9])
    elif damage == "no tensors":
        store.delete(f"{key}/state.safetensors")
    elif damage == "no json":
        store.delete(f"{key}/checkpoint.json")
    else:
        store.put(f"{key}/checkpoint.json", store.get(f"{key}/checkpoint.json")[:40])
    state = make_state(0)
    with caplog.at_level(logging.WARNING), checkpoints(store) as found:
        resumed = found.resume(state)
    assert resumed is not None
    assert resumed.ref.images_seen == 100
    assert (key in caplog.text) == (damage != "no json"), "without its JSON it never existed"


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"objective.clip": 0.05}, r"objective\.clip is 0\.1 there and 0\.05 here; .*another request name"),
        ({"objective.kind": "non-saturating"}, r"objective\.real_label is absent there and 0\.9 here"),
    ],
)
def test_one_of_another_configuration_is_refused_with_the_differing_fields(
    changes: dict[str, Any], differing: str
) -> None:
    store = MemoryStore()
    save(store, (100, None))
    with (
        pytest.raises(CheckpointRefused, match=differing),
        checkpoints(store, load_config("digits-wgan", changes)) as found,
    ):
        found.resume(make_state(0))


def test_compute_may_change_between_attempts() -> None:
    store = MemoryStore()
    save(store, (100, None))
    with checkpoints(store, load_config("digits-wgan", {"compute.workers": 4})) as found:
        assert found.resume(make_state(0)) is not None


def test_images_lost_are_counted_over_all_attempts() -> None:
    store = MemoryStore()
    with checkpoints(store) as first:
        first.save(make_state(100, 100), 1, estimate_peak=0.5)
        first.reached(130)
    with checkpoints(store) as second:
        resumed = second.resume(make_state(0))
        assert resumed is not None
        assert (resumed.images_lost, resumed.estimate_peak, second.images_lost) == (30, 0.5, 30)
        second.save(make_state(150, 150), 1)
        second.reached(170)
    with checkpoints(store) as third:
        resumed = third.resume(make_state(0))
        assert resumed is not None
        assert (resumed.images_lost, third.images_lost) == (20, 50)


def test_a_failed_save_is_raised_not_lost() -> None:
    class Full(MemoryStore):
        def put(self, key: str, data: object) -> None:
            raise OSError(28, "No space left on device")

    saved = checkpoints(Full())
    saved.save(make_state(0), 1)
    with pytest.raises(OSError, match="No space left"):
        saved.wait()
