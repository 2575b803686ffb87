from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ganlib.bench.comparisons import BENCHMARKS, loop_rows
from ganlib.bench.parts import Measured, TimedPart
from ganlib.bench.run import choose, run
from ganlib.errors import ConfigError, UnknownName
from ganlib.settings import Settings
from ganlib.stack import ServiceState, ServiceStatus, StackStatus

VALUES: dict[tuple[str, ...], Measured] = {
    ("benchmark_data", "pictures"): Measured(value=1),
    ("benchmark_data", "fashion-mnist"): Measured(value=1),
    ("loop", "ganlib"): Measured(value=500, precision="bf16", waiting_share=0.004, peak_bytes=2**30),
    ("loop", "plain"): Measured(value=200, precision="fp32", flop_per_image=1.4e9, peak_bytes=2**29),
    ("loop", "peak"): Measured(value=1e12, precision="bf16"),
    ("data_parallel", "one"): Measured(value=100),
    ("data_parallel", "two"): Measured(value=180),
    ("data_parallel", "apart"): Measured(value=190),
    ("batches", "ganlib"): Measured(value=3000),
    ("batches", "plain"): Measured(value=250),
    ("decoding", "decode"): Measured(value=1050, beside=300, note="PSNR 51 dB"),
    ("preparing", "make"): Measured(value=20_000),
    ("preparing", "prepare"): Measured(value=900, note="20,000 pictures"),
    ("preparing", "remove"): Measured(value=1),
    ("fixed_cost", "ganlib"): Measured(value=8.8),
    ("fixed_cost", "bare"): Measured(value=8.0),
    ("generation", "sample"): Measured(value=2000, beside=2200),
    ("evaluation",): Measured(value=4.5),
    ("trial_cost",): Measured(value=1.5),
    ("pulling", "make"): Measured(value=16),
    ("pulling", "ganlib"): Measured(value=6e8),
    ("pulling", "plain"): Measured(value=5e8),
    ("pulling", "remove"): Measured(value=17),
    ("whole_commands", "retrain"): Measured(value=50, beside=120, note="evaluation and champion 20.0"),
    ("whole_commands", "list"): Measured(value=1.9),
    ("whole_commands", "generate"): Measured(value=5.5),
    ("quality", "recipe"): Measured(value=130),
    ("quality", "reference"): Measured(value=900),
}


class Fake:
    """Knows what every part measures."""

    def __init__(self, **changes: Measured) -> None:
        self.parts: list[TimedPart] = []
        self.changes = changes

    def __call__(self, part: TimedPart) -> Measured:
        self.parts.append(part)
        which = part.arguments[:1]
        return self.changes.get("".join(which)) or VALUES[part.module, *which]


def answering(state: ServiceState) -> Any:
    names = ("s3", "mlflow", "prefect", "ray", "worker")
    services = tuple(ServiceStatus(name=name, state=state) for name in names)
    return lambda settings: StackStatus(home=str(settings.home), services=services)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_all_benchmarks_give_their_rows_in_order(settings: Settings) -> None:
    lines: list[str] = []
    rows = run(settings, [], say=lines.append, measure=Fake(), ask=answering("up"))
    assert [row.name for row in rows] == [name for b in BENCHMARKS.values() for name in b.rows]
    assert {row.name: (pytest.approx(row.value), row.met) for row in rows} == {
        "loop": (2.5, True),
        "loop-peak-share": (0.7, True),
        "ddp": (0.9, False),
        "ddp-apart": (0.95, None),
        "input": (12, True),
        "input-wait": (0.4, True),
        "prepare": (3.5, True),
        "prepare-workers": (1.0, False),
        "fixed-cost": (1.1, True),
        "fixed-cost-seconds": (8.8, True),
        "retrain-overhead": (50, False),
        "command-list": (1.9, True),
        "command-generate": (5.5, False),
        "trial": (1.5, True),
        "pull": (1.2, True),
        "memory": (1024, None),
        "generate": (1.1, True),
        "evaluate": (4.5, True),
        "quality": (130, True),
        "quality-reference": (900, None),
    }
    written = json.loads((settings.home / "bench.json").read_text())
    assert [entry.get("name") for entry in written] == [*(row.name for row in rows), None]
    assert "machine" in written[-1]
    assert "quality-reference" in lines[-1]


@pytest.mark.parametrize(("precision", "met"), [("bf16", False), ("fp32", True)])
def test_what_the_loop_must_reach_depends_on_the_format(precision: str, met: bool) -> None:
    ganlib, plain = Measured(value=150, precision=precision), Measured(value=100, flop_per_image=1e9)
    loop, share = loop_rows([ganlib], [plain], [Measured(value=2e11, precision=precision)])
    assert loop.met is met
    assert share.value == pytest.approx(0.75)
    assert ("not being native" in share.compared_to) is (precision == "fp32")


def test_a_dataset_that_cannot_be_had_is_said_instead_of_a_number(settings: Settings) -> None:
    fake = Fake(**{"fashion-mnist": Measured(value=0, missing="fashion-mnist could not be found: offline")})
    rows = run(settings, ["quality"], say=lambda _: None, measure=fake)
    assert [(row.name, row.value, row.met) for row in rows] == [
        ("quality", "fashion-mnist could not be found: offline", None),
        ("quality-reference", "fashion-mnist could not be found: offline", None),
    ]
    assert len(fake.parts) == 1, "nothing is trained"


def test_seconds_and_folder_reach_the_parts(settings: Settings, tmp_path: Path) -> None:
    fake = Fake()
    run(settings, ["quality", "ddp"], say=lambda _: None, measure=fake, seconds=0.5, fashion_mnist=tmp_path)
    timed = {part.arguments for part in fake.parts if part.module != "benchmark_data"}
    assert {words[1] for words in timed} == {"0.5"}
    assert ("fashion-mnist", str(tmp_path)) in {part.arguments for part in fake.parts}
    assert {part.threads for part in fake.parts if part.module == "data_parallel"} == {1}


@pytest.mark.parametrize(("seconds", "size"), [(None, 2**30), (0.5, 2**25), (1000, 2**30)])
def test_a_pull_of_so_much_leaves_nothing_in_the_store(
    settings: Settings, seconds: float | None, size: int
) -> None:
    fake = Fake()
    run(settings, ["pull"], say=lambda _: None, measure=fake, ask=answering("own"), seconds=seconds)
    assert fake.parts[0].arguments == ("make", str(size))
    assert fake.parts[-1].arguments == ("remove",)


@pytest.mark.parametrize("state", ["down", "starting or not answering"])
def test_without_services_nothing_is_measured(settings: Settings, state: ServiceState) -> None:
    fake = Fake()
    with pytest.raises(ConfigError, match=r"fixed-cost needs s3, mlflow, ray: .*`ganlib up`") as refused:
        run(settings, ["loop", "fixed-cost"], say=lambda _: None, measure=fake, ask=answering(state))
    assert "\n" not in str(refused.value)
    assert fake.parts == []
    assert not settings.home.exists()


def test_services_of_ones_own_will_do(settings: Settings) -> None:
    assert run(settings, ["fixed-cost"], say=lambda _: None, measure=Fake(), ask=answering("own"))


def test_the_others_do_without_services(settings: Settings) -> None:
    assert run(settings, ["loop"], say=lambda _: None, measure=Fake(), ask=answering("down"))


def test_what_was_measured_before_a_failure_is_kept(settings: Settings) -> None:
    def failing(part: TimedPart) -> Measured:
        if part.module == "batches":
            raise KeyboardInterrupt
        return Fake()(part)

    with pytest.raises(KeyboardInterrupt):
        run(settings, ["memory", "input", "ddp"], say=lambda _: None, measure=failing)
    written = json.loads((settings.home / "bench.json").read_text())
    assert [entry["name"] for entry in written[:-1]] == ["ddp", "ddp-apart"]


def test_benchmarks_are_chosen_by_name_or_row_each_once() -> None:
    assert choose([]) == list(BENCHMARKS)
    assert choose(["input-wait", "loop", "input"]) == ["loop", "input"]
    with pytest.raises(UnknownName, match=r"there is no benchmark 'lop'; close to it: loop"):
        choose(["loop", "lop"])


def test_the_command_measures_without_importing_what_would_count_as_memory() -> None:
    """A process begins with its parent's memory peak."""
    code = (
        "import sys, ganlib.cli.main, ganlib.bench.run; "
        "print([name for name in ('torch', 'ray', 'mlflow', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
