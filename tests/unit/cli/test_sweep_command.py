from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ganlib.cli import sweep_views
from ganlib.cli.main import app
from ganlib.cli.sweep_views import sweep_named, sweeps
from ganlib.config.run import load_config
from ganlib.errors import ConfigError, GanlibError, UnknownName
from ganlib.fakes.stores import MemoryStore
from ganlib.settings import Settings
from ganlib.sweep.config import SweepConfig
from ganlib.sweep.records import SweepResult
from ganlib.sweep.space import parse_search


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs the command line where there are no services and no home yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("S3_ENDPOINT_URL", "MLFLOW_URI", "PREFECT_API_URL", "RAY_ADDRESS"):
        monkeypatch.delenv(f"GANLIB_{name}", raising=False)
    monkeypatch.setenv("GANLIB_HOME", str(tmp_path / "home"))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, list(words))

    return run


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fashion-mnist"], "close to it: fashion-mnist-wgan"),
        (["digits-wgan", "--search", "objective.clop=1,2"], "close to it: objective.clip"),
        (["digits-wgan", "--search", "objective.clip"], "names no field"),
        (["digits-wgan", "--search", "objective.clip="], "a list has 1 to 1,000 values, not 0"),
        (["digits-wgan", "--search", "objective.clip=log:0.5:0.1"], "is empty"),
        (["digits-wgan", "--search", "objective.clip=log:0:0.1"], "begins above 0"),
        (["digits-wgan", "--search", "objective.clip=0.1,-1"], "objective.clip = -1"),
        (["digits-wgan", "--search", "budget.total_kimg=1,2"], "trials compare at equal budgets"),
        (
            ["digits-wgan", "--algorithm", "grid", "--search", "objective.clip=log:0.1:0.5"],
            "a grid needs lists",
        ),
        (["digits-wgan", "--budget-kimg", "5", "--grace-kimg", "9"], "below the first rung"),
        (["digits-wgan", "--scheduler", "pbt", "--algorithm", "tpe"], "cannot go with scheduler pbt"),
        (["digits-wgan", "--set", "seed"], "--set"),
        (["digits-wgan"], "GANLIB_PREFECT_API_URL"),
    ],
)
def test_bad_input_is_refused_with_its_reason_and_changes_nothing(
    invoke: Callable[..., Result], words: Sequence[str], says: str, tmp_path: Path
) -> None:
    done = invoke("sweep", *words)
    assert isinstance(done.exception, GanlibError), done.output
    assert says in str(done.exception)
    assert done.exception.exit_code == 2
    assert not (tmp_path / "home").exists()


def swept(name: str) -> SweepResult:
    return SweepResult(
        sweep=name,
        recipe="digits-wgan",
        tracking_run_id="r",
        dataset_name="digits",
        dataset_digest="0" * 64,
        metric="fd_efficientnet_lite0_curve",
        status="running",
        trials=(),
    )


def test_a_sweep_is_found_by_its_name_or_how_it_begins() -> None:
    store = MemoryStore()
    for name in ("a-1", "a-12", "b-1"):
        store.put(f"sweeps/{name}/state.json", b"{}")
        store.put(f"sweeps/{name}/result.json", swept(name).to_json().encode())
    store.put("sweeps/c-1/spec.json", b"{}")
    assert [found.sweep for found in sweeps(store)] == ["a-1", "a-12", "b-1"]
    assert sweep_named(store, "a-1").sweep == "a-1", "a whole name is no beginning of others"
    assert sweep_named(store, "b").sweep == "b-1"
    with pytest.raises(ConfigError, match="'a' begins the names of 2 sweeps: a-1, a-12"):
        sweep_named(store, "a")
    with pytest.raises(UnknownName, match="there is no sweep 'c-1'"):
        sweep_named(store, "c-1")


def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resources: dict[str, float] | None) -> str:
    """The last line of a dry run of six trials of two workers, on a cluster with these resources."""
    monkeypatch.setattr(sweep_views, "preflight", lambda *_: None)
    monkeypatch.setattr(sweep_views, "cluster_resources", lambda _: resources)
    said: list[str] = []
    search = parse_search(["objective.clip=0.01,0.02,0.03,0.04,0.05,0.06"])
    config = SweepConfig(
        base=load_config("digits-wgan"),
        search=search,
        algorithm="grid",
        workers=2,
        total_kimg=4,
        grace_kimg=1,
        final_samples=500,
    )
    sweep_views.show_plan(Settings(home=tmp_path), config, said.append)
    return said[-1]


def test_a_dry_run_counts_the_room_as_the_sweep_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = planned(monkeypatch, tmp_path, {"CPU": 5.0, "GPU": 0.0})
    assert line.endswith("has 5 CPUs and 0 GPUs: 2 trials at once, on CPUs")
    assert "does not say yet" in planned(monkeypatch, tmp_path, None)
    with pytest.raises(ConfigError, match="a trial needs 2 times 1 CPUs"):
        planned(monkeypatch, tmp_path, {"CPU": 1.0, "GPU": 0.0})
