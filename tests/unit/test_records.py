"""What is read from the store stays within its bounds, however it was altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ganlib.config.run import load_config, name_of
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError, DataError
from ganlib.fakes.stores import MemoryStore
from ganlib.names import NAME
from ganlib.records import (
    CheckpointRef,
    CurvePoint,
    DatasetVersion,
    Evaluation,
    Record,
    Shard,
    TrainResult,
    digest_of,
)
from ganlib.sweep.ledger import SweepState, TrialState
from ganlib.sweep.load import load_sweep
from ganlib.sweep.records import SweepResult, Trial
from ganlib.sweep.spec import SweepSpec
from ganlib.training.checkpoints import CheckpointRecord
from ganlib.training.spec import RunSpec, read_spec

SHA = "a" * 64
RUN = "digits-wgan-aaaaaaaa-bbbbbbbb-manual"
CONFIG = load_config("digits-wgan")
POINT = CurvePoint(images_seen=64, distance=1.0, seconds=1.0)
REF = CheckpointRef(
    run=RUN, key=f"runs/{RUN}/checkpoints/000000000064", images_seen=64, generator_steps=1, sha256=SHA
)
MANIFEST = DatasetVersion(
    name="digits",
    digest=SHA,
    image_shape=(1, 28, 28),
    classes=("0", "T-shirt/top"),
    shards=(
        Shard(path="shards/train-00000.safetensors", split="train", images=9, bytes=9, sha256=SHA),
        Shard(path="shards/held-out-00000.safetensors", split="held_out", images=1, bytes=9, sha256=SHA),
    ),
)
RESULT = TrainResult(run=RUN, tracking_run_id="f" * 32, status="finished", best=REF, last=REF)
SWEEP = SweepResult(
    sweep=RUN,
    recipe="digits-wgan",
    tracking_run_id="f" * 32,
    dataset_name="digits",
    dataset_digest=SHA,
    metric="fd_efficientnet_lite0_curve",
    status="running",
    trials=(
        Trial(number=0, run=f"{RUN}-trial-000", values={"cadence.n_critic": 5}, curve=(POINT,), best=REF),
    ),
    best=0,
)
RECORDS: tuple[Record, ...] = (
    MANIFEST,
    RESULT,
    SWEEP,
    SweepState(result=SWEEP, standings=(TrialState(values={"seed": 1}, adopted=REF),)),
    RunSpec(run=RUN, config=CONFIG, dataset_name="digits", dataset_digest=SHA, code_version="1.0", adopt=REF),
    SweepSpec(
        sweep=RUN,
        config=load_sweep("digits-wgan"),
        dataset_name="digits",
        dataset_digest=SHA,
        code_version=version("ganlib"),
    ),
    CheckpointRecord(
        run=RUN,
        config_digest=SHA,
        config={"seed": "0"},
        sha256=SHA,
        counters={"images_seen": 64, "critic_steps": 1, "generator_steps": 1, "seconds": 1.0},
        origin=REF.key,
        code_version="1.0",
        torch_version="2.14.1+cpu",
        workers=1,
    ),
    Evaluation(
        run=RUN,
        checkpoint=REF,
        dataset_digest=SHA,
        metric="fid",
        samples=64,
        value=1.0,
        value_untrained=2.0,
        seconds=1.0,
    ),
)

HOSTILE = st.sampled_from(
    [
        "../x",
        "/tmp/x",
        "..",
        ".",
        "",
        "shards/../x",
        "shards/x.safetensors\n",
        "shards/a/b.safetensors",
        "runs/../../x",
        "a/./b",
        "a//b",
        "digits\n",
        "flowers-",
        "A",
        "a" * 300,
        "\x00",
        "é",
        -1,
        0,
        2**63,
        10**30,
        1e300,
        float("nan"),
        float("-inf"),
        True,
        None,
        [],
        {},
        [[]],
        {"x": 1},
    ]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON document."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, part in below for found in places(part, (*path, key)))]


def texts(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Every text in a value of records, with the field that it stands in."""
    if isinstance(value, BaseModel):
        return [found for field, part in value for found in texts(part, field)]
    if isinstance(value, dict):
        return [found for part in value.values() for found in texts(part, name)]
    if isinstance(value, tuple):
        return [found for part in value for found in texts(part, name)]
    return [(name, value)] if isinstance(value, str) else []


@given(
    record=st.sampled_from(RECORDS), data=st.data(), hostile=HOSTILE | st.text(max_size=20) | st.integers()
)
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_altered_object_is_refused_or_within_its_bounds(
    record: Record, data: st.DataObject, hostile: Any
) -> None:
    document = json.loads(record.to_json())
    *parents, last = data.draw(st.sampled_from(places(document)[1:]))
    part = document
    for key in parents:
        part = part[key]
    if data.draw(st.booleans()):
        part[last] = hostile
    else:
        del part[last]
    try:
        read = type(record).from_json(json.dumps(document), source="it")
    except (DataError, ConfigError):
        return
    for field, text in texts(read):
        assert "\x00" not in text or field in {"source", "reason", "changes", "config", "resizing", "values"}
        if field in {"path", "key", "origin", "run", "sweep", "dataset_name"} or (
            field == "name" and isinstance(read, DatasetVersion)
        ):
            assert ".." not in text.split("/")
            assert not text.startswith("/")
            assert text == text.strip()
            assert len(text) <= 1024


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    for record in RECORDS:
        with pytest.raises(DataError):
            type(record).from_json(content, source="it")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_sound_object_is_read_as_it_was_written(record: Record) -> None:
    assert type(record).from_json(record.to_json()).to_json() == record.to_json()


def manifest(change: Callable[[dict[str, Any]], None]) -> tuple[MemoryStore, str]:
    """A store with a manifest that was altered, and whose digest is right all the same."""
    document = json.loads(MANIFEST.to_json())
    change(document)
    body = {
        "format": 1,
        "image_shape": document["image_shape"],
        "classes": document["classes"],
        "shards": [[s["path"], s["split"], s["images"], s["sha256"]] for s in document["shards"]],
    }
    document["digest"] = digest_of(body)
    store = MemoryStore()
    store.put(f"datasets/digits/{document['digest']}/manifest.json", json.dumps(document).encode())
    return store, document["digest"]


@pytest.mark.parametrize(
    "path",
    ["/tmp/x", "../x.safetensors", "shards/../../x.safetensors", "x.safetensors", "shards/x.safetensors\n"],
)
def test_a_manifest_whose_shard_leaves_its_folder_is_refused(path: str) -> None:
    store, digest = manifest(lambda document: document["shards"][0].update(path=path))
    with pytest.raises(DataError, match=r"shards\.0\.path.*must be shards/NAME.safetensors"):
        load_version(store, "digits", digest)


def test_a_manifest_that_names_a_shard_twice_is_refused() -> None:
    store, digest = manifest(lambda document: document["shards"].append(document["shards"][0]))
    with pytest.raises(DataError, match="two shards have one path"):
        load_version(store, "digits", digest)


@pytest.mark.parametrize(
    ("field", "value"), [("images", 10**12), ("bytes", 2**60), ("image_shape", [1, 10**6, 10**6])]
)
def test_a_manifest_that_asks_for_all_memory_is_refused(field: str, value: Any) -> None:
    def change(document: dict[str, Any]) -> None:
        (document if field in document else document["shards"][0])[field] = value

    store, digest = manifest(change)
    with pytest.raises(DataError, match=field):
        load_version(store, "digits", digest)


@pytest.mark.parametrize(
    ("field", "value"), [("run", "../../x"), ("dataset_name", "../x"), ("run", f"{RUN}\n")]
)
def test_a_run_whose_names_leave_their_folder_is_refused(field: str, value: str) -> None:
    [spec] = [record for record in RECORDS if isinstance(record, RunSpec)]
    store = MemoryStore()
    store.put(f"runs/{RUN}/spec.json", json.dumps({**json.loads(spec.to_json()), field: value}).encode())
    with pytest.raises(DataError, match=field):
        read_spec(store, RUN)


def test_a_name_ends_where_it_ends() -> None:
    assert NAME.fullmatch("flowers")
    with pytest.raises(ConfigError, match="request"):
        name_of("digits-wgan", SHA, SHA, "manual\n")
    with pytest.raises(ConfigError):
        load_config("digits-wgan", {"dataset.name": "flowers\n"})
