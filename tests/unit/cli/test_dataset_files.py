"""`ganlib dataset export`, `verify` and `remove`, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_versions import made_version
from typer.testing import CliRunner

from ganlib.cli.main import app
from ganlib.errors import DataError
from ganlib.fakes.stores import MemoryRegistry, MemoryStore
from ganlib.ports import Publication
from ganlib.records import DatasetVersion


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr("ganlib.storage.open_store", lambda _: made)
    return made


@pytest.fixture
def version(store: MemoryStore) -> DatasetVersion:
    return made_version(store, (1, 8, 8), "ab", {"train": [0, 1, 0], "held_out": [1]})


def say(*words: str) -> str:
    answer = CliRunner().invoke(app, ["dataset", *words], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_the_ending_says_what_is_exported_unless_an_option_does(
    version: DatasetVersion, tmp_path: Path
) -> None:
    shown = version.digest[:12]
    one, two, three = tmp_path / "one.NPZ", tmp_path / "two", tmp_path / "three.npz"
    assert say("export", "made", str(one)) == f"4 pictures of dataset made version {shown} in {one}\n"
    say("export", "made", str(two), "--version", shown, "--split", "held_out")
    say("export", "made", str(three), "--format", "png", "--split", "train")
    with np.load(one, allow_pickle=False) as arrays:
        assert arrays["images"].shape == (4, 8, 8)
    assert [path.relative_to(two).as_posix() for path in two.rglob("*.png")] == ["held_out/b/000000.png"]
    assert len(list(three.rglob("*.png"))) == 3


def test_versions_that_are_whole_are_told(store: MemoryStore, version: DatasetVersion) -> None:
    other = made_version(store, (1, 12, 12), "ab", {"train": [0]})
    assert {line.split(":")[0] for line in say("verify", "made").splitlines()} == {
        f"dataset made version {each.digest[:12]} is whole" for each in (version, other)
    }
    assert len(say("verify", "made", "--version", other.digest[:9]).splitlines()) == 1


def test_faults_are_listed_and_discarded(store: MemoryStore, version: DatasetVersion) -> None:
    key, report = f"{version.prefix}/{version.shards[0].path}", "datasets/made/prepared/\x1b[2J.json"
    store.put(key, bytes(version.shards[0].bytes))
    runner = CliRunner()
    answer = runner.invoke(app, ["dataset", "verify", "made"])
    assert isinstance(answer.exception, DataError)
    assert "1 of 1 versions of dataset made cannot be trusted; `ganlib dataset verify made --discard`" in str(
        answer.exception
    )
    assert str(answer.exception).count("prepare it as it was, with ganlib dataset prepare made --size 8") == 1
    assert "has 2 faults:" in answer.stdout
    assert f"{key} is damaged or altered" in answer.stdout.replace("\n", " ")
    answer = runner.invoke(app, ["dataset", "verify", "made", "--discard"])
    assert "removed 2 objects" in answer.stdout
    assert key not in store.objects
    made_version(store, (1, 8, 8), "ab", {"train": [0, 1, 0], "held_out": [1]})
    say("verify", "made")
    # Keys of the store do nothing to a terminal.
    store.put(report, b"{")
    answer = runner.invoke(app, ["dataset", "verify", "made"])
    assert "\x1b[2J" not in answer.stdout
    assert "\\x1b[2J.json" in answer.stdout


def test_a_dataset_that_a_model_was_trained_on_goes_only_by_force(
    store: MemoryStore, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MemoryRegistry()
    monkeypatch.setattr("ganlib.registry.mlflow.MlflowRegistry", lambda _: registry)
    tags = {"ganlib.dataset": "made", "ganlib.dataset_digest": version.digest}
    registry.publish(Publication("digits", "run-a", "", torch.nn.Unflatten(1, (1, 2, 2)), 4, tags))
    before = dict(store.objects)
    words = ["dataset", "remove", "made", "--versions", "--yes"]
    answer = CliRunner().invoke(app, words)
    assert isinstance(answer.exception, DataError)
    assert "models were trained on dataset made: digits/1; " in str(answer.exception)
    assert store.objects == before
    monkeypatch.setattr(registry, "models", None)  # not asked
    assert "and 1 versions of dataset made" in say(*words[1:], "--force")
    assert store.objects == {}
