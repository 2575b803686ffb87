from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from watched_store import WatchedStore

from ganlib.data.layout import datasets
from ganlib.data.preparation import Preparation
from ganlib.data.prepare import prepare
from ganlib.data.raw.add import add_dataset
from ganlib.data.raw.remove import plan_removal, remove_dataset, require_unused
from ganlib.data.versions import versions
from ganlib.errors import DataError, ServiceError, UnknownName
from ganlib.ports import ObjectStore
from ganlib.records import DatasetVersion


@pytest.fixture
def two(
    store: WatchedStore, no_store: Callable[[str], ObjectStore], make_idx: Callable[..., Path], tmp_path: Path
) -> tuple[DatasetVersion, DatasetVersion]:
    """Two versions of one dataset, beside another dataset with a name that begins alike."""
    for name in ("mine", "mine-too"):
        source = str(make_idx(folder=name))
        add_dataset(store, name, source, open_store=no_store, scratch=tmp_path / "scratch")
    prepare(store, "mine-too", Preparation(size=8))
    return prepare(store, "mine", Preparation(size=8)), prepare(store, "mine", Preparation(size=12))


Two = tuple[DatasetVersion, DatasetVersion]


def keys_below(store: WatchedStore, prefix: str) -> list[str]:
    return [key for key in store.objects if key.startswith(prefix)]


def test_raw_objects_go_and_versions_stay(store: WatchedStore, two: Two) -> None:
    others = {key: data for key, data in store.objects.items() if "mine-too" in key}
    removal = plan_removal(store, "mine")
    assert (len(removal.raw), removal.versions) == (5, ())
    assert set(removal.kept) == {version.digest for version in two}
    assert datasets(store) == ["mine", "mine-too"], "a plan removes nothing"
    remove_dataset(store, removal)
    assert datasets(store) == ["mine-too"]
    assert keys_below(store, "raw/mine/") == []
    assert {version.digest for version in versions(store, "mine")} == set(removal.kept)
    assert {key: store.objects[key] for key in others} == others


@pytest.mark.parametrize("key", ["runs/r/spec.json", "sweeps/s/spec.json"])
def test_versions_that_a_run_refers_to_stay_unless_told_otherwise(
    store: WatchedStore, two: Two, key: str
) -> None:
    used, unused = two
    store.put(key, f'{{"another version of the record": "{used.digest}"}}'.encode())
    removal = plan_removal(store, "mine", versions=True)
    assert (removal.versions, removal.kept) == ((unused.digest,), (used.digest,))
    remove_dataset(store, removal)
    assert versions(store, "mine") == [used]
    assert keys_below(store, unused.prefix) == []
    assert len(keys_below(store, "datasets/mine/prepared/")) == 1
    # Without raw objects the versions that are left can still be removed.
    remove_dataset(store, plan_removal(store, "mine", versions=True, used=True))
    assert keys_below(store, "datasets/mine/") == keys_below(store, "raw/mine/") == []
    assert len(versions(store, "mine-too")) == 1


@pytest.mark.parametrize("name", ["min", "", "mine/train-images-idx3-ubyte.gz", "..", "mine\n"])
def test_an_unknown_name_removes_nothing(store: WatchedStore, two: Two, name: str) -> None:
    before = dict(store.objects)
    with pytest.raises(UnknownName, match="known: mine, mine-too"):
        plan_removal(store, name, versions=True, used=True)
    assert store.objects == before


def test_an_interrupted_add_can_be_removed(store: WatchedStore) -> None:
    store.put("raw/half/1.png", b"x")
    remove_dataset(store, plan_removal(store, "half"))
    assert store.objects == {}


def test_a_dataset_that_models_were_trained_on_is_not_removed(store: WatchedStore, two: Two) -> None:
    removal = plan_removal(store, "mine", versions=True)
    asked: list[tuple[str, set[str]]] = []

    def trained(name: str, digests: Collection[str]) -> list[str]:
        asked.append((name, set(digests)))
        return ["digits/3 (champion)", "digits/1"]

    with pytest.raises(
        DataError, match=r"nothing was removed: .* mine: digits/3 \(champion\), digits/1; .*--force"
    ):
        require_unused(removal, trained)
    assert asked == [("mine", {version.digest for version in two})]
    require_unused(removal, lambda name, digests: [])


def test_a_registry_that_is_down_is_told(store: WatchedStore, two: Two) -> None:
    def down(name: str, digests: Collection[str]) -> list[str]:
        raise ServiceError("mlflow", "memory", "GANLIB_MLFLOW_URI", "went away")

    with pytest.raises(DataError, match="cannot be asked .*went away.* give --force"):
        require_unused(plan_removal(store, "mine"), down)
