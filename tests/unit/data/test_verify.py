from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made_versions import made_version
from safetensors.numpy import save_file
from watched_store import WatchedStore

from ganlib.data.preparation import PreparationReport
from ganlib.data.shards import file_digest
from ganlib.data.verify import discard_faults, verify_version
from ganlib.data.version_choice import pick_version, version_digests
from ganlib.errors import ConfigError, ObjectMissing, UnknownName
from ganlib.records import DatasetVersion, Split

LABELS: dict[Split, list[int]] = {"train": [0, 1, 0, 1, 1], "held_out": [0, 1]}


@pytest.fixture
def version(store: WatchedStore) -> DatasetVersion:
    report = PreparationReport(
        digest="0" * 64, counts={"train": {"a": 2, "b": 3}, "held_out": {"a": 1, "b": 1}}
    )
    return made_version(store, (3, 8, 8), "ab", LABELS, capacity=2, report=report)


def problems(store: WatchedStore, version: DatasetVersion) -> list[str]:
    return [fault.problem for fault in verify_version(store, version.name, version.digest).faults]


def test_a_whole_version_has_no_faults(store: WatchedStore, version: DatasetVersion) -> None:
    seen: list[tuple[int, int]] = []
    found = verify_version(store, "made", version.digest, lambda *now: seen.append(now))
    assert found.faults == ()
    assert (found.shards, found.pictures, found.shape) == (4, 7, (3, 8, 8))
    assert found.bytes == sum(shard.bytes for shard in version.shards)
    assert len(seen) == 4


def test_every_fault_is_listed(store: WatchedStore, version: DatasetVersion) -> None:
    keys = [f"{version.prefix}/{shard.path}" for shard in version.shards]
    store.delete(keys[0])
    store.put(keys[1], store.objects[keys[1]][:-1])
    store.put(keys[2], store.objects[keys[2]][:-1] + b"\x07")
    store.put(keys[3], b"\xff" * len(store.objects[keys[3]]))
    found = verify_version(store, "made", version.digest)
    assert [fault.key for fault in found.faults] == [*keys, keys[3]]
    for problem, told in zip(
        [fault.problem for fault in found.faults],
        ("holds no", "its manifest says", "damaged or altered", "is no shard", "damaged or altered"),
        strict=True,
    ):
        assert told in problem


def test_a_manifest_that_was_altered_is_the_only_fault(store: WatchedStore, version: DatasetVersion) -> None:
    key = f"{version.prefix}/manifest.json"
    store.put(key, store.objects[key].replace(b'"images": 2', b'"images": 3'))
    (problem,) = problems(store, version)
    assert "manifest.json is damaged or altered" in problem
    store.put(key, b"{}")
    assert "is not a DatasetVersion" in problems(store, version)[0]
    store.delete(key)
    with pytest.raises(ObjectMissing):
        verify_version(store, "made", version.digest)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"images": np.zeros((2, 8, 8, 3), np.uint8), "labels": np.zeros(2, np.int64)}, "its manifest says"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.zeros(2, np.int32)}, "its manifest says"),
        ({"images": np.zeros((2, 3, 8, 8), np.uint8), "labels": np.array([0, 2])}, "labels from 0 to 2"),
    ],
)
def test_shards_that_have_their_digest_are_looked_into(
    store: WatchedStore, tmp_path: Path, version: DatasetVersion, tensors: dict[str, np.ndarray], told: str
) -> None:
    save_file(tensors, tmp_path / "shard")
    size, digest = (tmp_path / "shard").stat().st_size, file_digest(tmp_path / "shard")
    shard = version.shards[0].model_copy(update={"bytes": size, "sha256": digest})
    named = DatasetVersion.digest_for(version.image_shape, version.classes, (shard,))
    other = version.model_copy(update={"shards": (shard,), "digest": named})
    store.put(f"{other.prefix}/{shard.path}", tmp_path / "shard")
    store.put(f"{other.prefix}/manifest.json", other.to_json().encode())
    (problem,) = problems(store, other)
    assert told in problem


def test_a_report_that_says_otherwise_is_a_fault(store: WatchedStore, version: DatasetVersion) -> None:
    (key,) = [key for key in store.objects if "/prepared/" in key]
    good = store.objects[key]
    store.put(key, good.replace(b'"a": 2', b'"a": 3').replace(b'"b": 3', b'"b": 2'))
    assert problems(store, version) == [f"{key} has other pictures by class and split than the shards"]
    store.put(key, good.replace(b'"a": 2', b'"a": 4'))
    assert len(problems(store, version)) == 1
    store.put(key, b"{")
    assert "is not a PreparationReport" in problems(store, version)[0]
    # Versions of an older ganlib have a report that says nothing.
    store.put(key, PreparationReport(digest=version.digest).to_json().encode())
    assert problems(store, version) == []


def test_what_is_damaged_can_be_discarded_and_made_anew(store: WatchedStore, version: DatasetVersion) -> None:
    before = dict(store.objects)
    keys = [f"{version.prefix}/{shard.path}" for shard in version.shards]
    store.put(keys[1], bytes(version.shards[1].bytes))
    gone = discard_faults(store, verify_version(store, "made", version.digest))
    assert gone == [f"{version.prefix}/manifest.json", keys[1]]
    assert store.objects == {key: data for key, data in before.items() if key not in gone}
    store.puts.clear()
    made_version(store, (3, 8, 8), "ab", LABELS, capacity=2)
    assert set(gone) <= set(store.puts)
    assert keys[0] not in store.puts
    assert problems(store, version) == []


def test_a_damaged_report_is_discarded_alone(store: WatchedStore, version: DatasetVersion) -> None:
    (key,) = [key for key in store.objects if "/prepared/" in key]
    store.put(key, b"{")
    assert discard_faults(store, verify_version(store, "made", version.digest)) == [key]
    assert problems(store, version) == []


def test_a_version_is_meant_by_the_beginning_of_its_digest(store: WatchedStore) -> None:
    digests = sorted(made_version(store, (1, side, side), [], {"train": [0]}).digest for side in range(1, 24))
    assert version_digests(store, "made") == digests
    assert (
        pick_version(store, "made", digests[3]) == pick_version(store, "made", digests[3][:12]) == digests[3]
    )
    with pytest.raises(ConfigError, match=f"has 23 such versions: {digests[0][:12]}, .*say which"):
        pick_version(store, "made", None)
    first = next(d[0] for d, e in pairwise(digests) if d[0] == e[0])
    with pytest.raises(ConfigError, match=f"--version {first}: dataset made has"):
        pick_version(store, "made", first)
    with pytest.raises(UnknownName, match="no version of dataset made that begins with 'x'"):
        pick_version(store, "made", "x")
    with pytest.raises(UnknownName, match=re.escape("there is no dataset 'made/'")):
        pick_version(store, "made/", None)
    store.put("raw/bare/dataset.json", b"")
    with pytest.raises(UnknownName, match="`ganlib dataset prepare bare --size 32`"):
        pick_version(store, "bare", None)
