"""Any JSON in the object store is read as a record within all bounds, or refused by one of our errors."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ganlib.config.run import load_config, name_of
from ganlib.data.cache import pull
from ganlib.data.layout import RawDataset
from ganlib.data.versions import load_version
from ganlib.errors import ConfigError, DataError
from ganlib.fakes.stores import MemoryStore
from ganlib.names import (
    CheckpointKey,
    ClassName,
    DatasetName,
    RegisteredName,
    RunName,
    Sha256,
    ShardPath,
    TrackingRunId,
    check_alias,
    check_dataset_name,
    parse_reference,
)
from ganlib.records import (
    AliasMove,
    CheckpointRef,
    DatasetVersion,
    Record,
    RegisteredGenerator,
    Shard,
    TrainResult,
    digest_of,
)
from ganlib.sweep.ledger import SweepState
from ganlib.sweep.load import load_sweep
from ganlib.sweep.records import SweepResult, Trial
from ganlib.sweep.spec import SweepSpec, read_sweep_result, sweep_result_key
from ganlib.training.checkpoints import CheckpointRecord, Reached
from ganlib.training.spec import RunSpec, read_spec

DIGEST = "a" * 64
RUN = "digits-wgan-aaaaaaaa-bbbbbbbb-manual"
SHARDS = tuple(
    Shard(path=f"shards/{name}-00000.safetensors", split=split, images=4, bytes=4000, sha256=DIGEST)  # type: ignore[arg-type]
    for name, split in (("train", "train"), ("held-out", "held_out"))
)
SHAPE, CLASSES = (1, 28, 28), ("T-shirt/top", "trouser")
VERSION = DatasetVersion(
    name="clothes",
    digest=DatasetVersion.digest_for(SHAPE, CLASSES, SHARDS),
    image_shape=SHAPE,
    classes=CLASSES,
    shards=SHARDS,
)
REF = CheckpointRef(
    run=RUN, key=f"runs/{RUN}/checkpoints/000000001000", images_seen=1000, generator_steps=9, sha256=DIGEST
)
SPEC = RunSpec(
    run=RUN,
    config=load_config("digits-wgan"),
    dataset_name="digits",
    dataset_digest=DIGEST,
    code_version="1.0",
    adopt=REF,
)
SWEEP = SweepResult(
    sweep="s",
    recipe="digits-wgan",
    tracking_run_id="t",
    dataset_name="digits",
    dataset_digest=DIGEST,
    metric="fd_x_curve",
    status="running",
    trials=(Trial(number=0, run="s-trial-000", values={"objective.clip": 0.1}, best=REF),),
    best=0,
)
EXAMPLES: list[Record] = [
    VERSION,
    SPEC,
    REF,
    CheckpointRecord(
        run=RUN,
        config_digest=DIGEST,
        config={"seed": "0"},
        sha256=DIGEST,
        counters={"images_seen": 1000, "generator_steps": 9, "critic_steps": 20, "seconds": 1.5},
        origin=REF.key,
        code_version="1.0",
        torch_version="2.0",
        workers=2,
    ),
    Reached(images_seen=5, images_lost=1),
    TrainResult(run=RUN, tracking_run_id="t", status="finished", best=REF, last=REF),
    SWEEP,
    SweepState.model_validate(
        {
            "result": SWEEP,
            "standings": [{"values": {"objective.clip": 0.1}, "adopted": REF}],
            "judged": [{"number": 0, "images_seen": 5, "distance": 1.0, "verdict": "stop"}],
        }
    ),
    SweepSpec(
        sweep="s",
        config=load_sweep("digits-wgan", {}, {}),
        dataset_name="digits",
        dataset_digest=DIGEST,
        code_version="1.0",
    ),
    RawDataset(format="pictures", sources=("x",), classes=CLASSES),
    RegisteredGenerator(model="m", version=1, alias="champion", tracking_run_id="t", aliases=("champion",)),
    AliasMove(number=1, model="m", alias="champion", version=2, previous=1, who="a", when="b", why="c"),
]
HOSTILE = st.sampled_from(
    [
        "../../x",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a\n",
        "a\x00b",
        "\u202e",
        "shards/../../x.safetensors",
        "x" * 5000,
        "/".join(["shards"] * 9),
        f"runs/../{RUN}",
        "2024",
        "a b",
        "A",
        "é",
        DIGEST + "\n",
    ]
)
VALUES = st.one_of(
    HOSTILE,
    st.text(max_size=20),
    st.integers(-5, 5),
    st.integers(2**50, 2**70),
    st.floats(),
    st.none(),
    st.booleans(),
    st.just([]),
    st.just({}),
    st.lists(HOSTILE, max_size=3),
    st.dictionaries(HOSTILE, st.integers(-(2**70), 2**70), max_size=2),
)


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON value with one part somewhere in it removed, repeated, or replaced."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 9)):
            return {name: part for name, part in value.items() if name != key}
        return {**value, key: mutated(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value) - 1))
        if not draw(st.integers(0, 4)):
            return [*value, copy.deepcopy(value[at])]
        return [*value[:at], mutated(draw, value[at]), *value[at + 1 :]]
    return draw(VALUES)


@st.composite
def hostile(draw: st.DrawFn) -> tuple[Record, str]:
    """An example of a record with the JSON of another that is a little, or entirely, different."""
    example = draw(st.sampled_from(EXAMPLES))
    changed = json.loads(example.to_json())
    for _ in range(draw(st.integers(1, 3))):
        changed = mutated(draw, changed)
    text = json.dumps(changed)
    if not draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=5)) + text[at + draw(st.integers(0, 5)) :]
    return example, text


def check_bounds(value: Any, field: str = "") -> None:
    """Every name, count and size in a dumped record lies within its bounds."""
    if isinstance(value, dict):
        for name, part in value.items():
            check_bounds(part, name)
    elif isinstance(value, list):
        for part in value:
            check_bounds(part, field)
    elif field in ("run", "sweep", "name", "dataset_name", "recipe", "model", "key", "path", "origin"):
        if field == "name" and value is None:  # a configuration that leaves the model's name to the recipe
            return
        assert isinstance(value, str)
        assert len(value) < 500
        assert not value.startswith("/")
        assert ".." not in value.split("/")
        assert "\n" not in value
        assert "\0" not in value
    elif field in ("classes", "alias", "aliases", "tracking_run_id"):
        assert len(value) <= 255
        assert not any(ord(character) < 32 for character in value)
    elif field in (
        "images_seen",
        "generator_steps",
        "images",
        "bytes",
        "images_lost",
        "since",
        "image_shape",
    ):
        assert 0 <= value <= 2**53
    elif "digest" in field or "sha256" in field:
        assert len(value) == 64
        assert int(value, 16) >= 0


@given(hostile())
@settings(max_examples=150, deadline=None)
def test_any_json_is_a_record_within_bounds_or_one_of_our_errors(case: tuple[Record, str]) -> None:
    example, text = case
    try:
        record = type(example).from_json(text.encode(errors="replace"), source="the store")
    except (DataError, ConfigError):
        return
    check_bounds(record.model_dump(mode="json"))
    if isinstance(record, DatasetVersion):
        assert all(side <= 1024 for side in record.image_shape)
        assert all(shard.bytes <= 2**30 for shard in record.shards)
    if isinstance(record, CheckpointRecord):
        ref = record.ref(REF.key)
        assert 0 <= ref.images_seen <= 2**53


@given(st.one_of(st.text(max_size=40), st.text("[{", max_size=3000), st.just('{"a":' * 3000)))
@settings(max_examples=60, deadline=None)
def test_any_text_is_refused(text: str) -> None:
    for example in EXAMPLES:
        if not isinstance(example, Reached):  # which has a default for each field
            with pytest.raises(DataError, match=f"the store is not a {type(example).__name__}"):
                type(example).from_json(text.encode(errors="replace"), source="the store")


def test_examples_are_read_as_they_were_written() -> None:
    for example in EXAMPLES:
        assert type(example).from_json(example.to_json()) == example


def stored(version: DatasetVersion, **changes: Any) -> tuple[MemoryStore, str]:
    """A store with a manifest that was changed by hand, under the digest of what it then says."""
    values = json.loads(version.to_json())
    values["shards"][0] |= changes
    shards = [[shard[name] for name in ("path", "split", "images", "sha256")] for shard in values["shards"]]

    values["digest"] = digest_of(
        {"format": 1, "image_shape": values["image_shape"], "classes": values["classes"], "shards": shards}
    )
    store = MemoryStore()
    key = f"datasets/{version.name}/{values['digest']}/manifest.json"
    store.put(key, json.dumps(values).encode())
    return store, values["digest"]


@pytest.mark.parametrize(
    ("path", "outside"),
    [
        ("{folder}/victim", "absolute"),
        ("../../../victim", "above"),
        ("shards/../../../../victim.safetensors", "through the folder"),
        ("shards/train-00000.safetensors\n", "a trailing newline"),
        ("manifest.json", "the version's own manifest"),
    ],
)
def test_a_manifest_with_another_path_is_refused(tmp_path: Path, path: str, outside: str) -> None:
    """Although digest and manifest agree, nothing is written or deleted."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    store, digest = stored(VERSION, path=path.format(folder=tmp_path))
    with pytest.raises(DataError, match=r"manifest\.json is not a DatasetVersion: shards\.0\.path"):
        pull(store, load_version(store, "clothes", digest), tmp_path / "a" / "b" / "cache")
    assert victim.read_bytes() == b"precious", outside
    assert list(tmp_path.iterdir()) == [victim]


@pytest.mark.parametrize(
    "changes",
    [
        {"path": SHARDS[1].path},
        {"images": 2**40},
        {"images": 0},
        {"bytes": 2**40},
        {"sha256": "A" * 64},
        {"sha256": DIGEST + "\n"},
        {"split": "test"},
    ],
)
def test_a_manifest_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    store, digest = stored(VERSION, **changes)
    with pytest.raises(DataError, match="is not a DatasetVersion"):
        load_version(store, "clothes", digest)


def test_a_manifest_as_earlier_versions_wrote_it_is_read() -> None:
    store, digest = stored(VERSION)
    assert digest == VERSION.digest
    assert load_version(store, "clothes", digest) == VERSION
    text = VERSION.to_json().replace('"clothes"', '"clothes-"')
    store.put(f"datasets/clothes-/{digest}/manifest.json", text.encode())
    assert load_version(store, "clothes-", digest).name == "clothes-"


def test_a_record_is_not_taken_from_anothers_place() -> None:
    store = MemoryStore()
    store.put("runs/other/spec.json", SPEC.to_json().encode())
    with pytest.raises(DataError, match=rf"runs/other/spec\.json is the specification of run '{RUN}'"):
        read_spec(store, "other")
    store.put(sweep_result_key("other"), SWEEP.to_json().encode())
    with pytest.raises(DataError, match="does not belong to sweep 'other'"):
        read_sweep_result(store, "other")
    foreign = SWEEP.model_copy(update={"trials": (SWEEP.trials[0].model_copy(update={"run": RUN}),)})
    store.put(sweep_result_key("s"), foreign.to_json().encode())
    with pytest.raises(DataError, match="does not belong to sweep 's'"):
        read_sweep_result(store, "s")


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (DatasetName, "fashion-mnist"),
        (RunName, RUN),
        (ShardPath, SHARDS[0].path),
        (CheckpointKey, REF.key),
        (TrackingRunId, "0123abc"),
        (RegisteredName, "my model"),
        (ClassName, "T-shirt/top"),
        (Sha256, DIGEST),
    ],
)
def test_no_name_takes_a_trailing_newline(kind: Any, good: str) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(good) == good
    for bad in (f"{good}\n", f"\n{good}", f"{good}\0"):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)


@pytest.mark.parametrize(
    "check",
    [
        lambda end: parse_reference(f"model@champion{end}"),
        lambda end: check_alias(f"champion{end}"),
        lambda end: check_dataset_name(f"flowers{end}"),
        lambda end: name_of("recipe", DIGEST, DIGEST, f"request{end}"),
    ],
)
def test_no_check_takes_a_trailing_newline(check: Callable[[str], object]) -> None:
    check("")
    with pytest.raises(ConfigError):
        check("\n")


@pytest.mark.parametrize("name", ["flowers-", "-flowers", "Flowers", "a_b", "", "a" * 64])
def test_a_name_that_no_configuration_accepts_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a dataset"):
        check_dataset_name(name)


@pytest.mark.parametrize("name", ["flowers", "3d-shapes", "a", "2024", "010", "no", "null"])
def test_a_name_that_a_configuration_accepts_is_taken(name: str) -> None:
    check_dataset_name(name)
    assert load_config("digits-wgan", {"dataset.name": name}).dataset.name == name
