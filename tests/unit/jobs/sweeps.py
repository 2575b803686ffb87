"""What the tests of sweeps share: sweeps by hand, without a cluster."""

from __future__ import annotations

from typing import Any

from ganlib.fakes import MemoryStore
from ganlib.jobs.sweep_ledger import Ledger
from ganlib.jobs.sweep_spec import SweepSpec
from ganlib.jobs.trial_report import TrialReport
from ganlib.records import CheckpointRef
from ganlib.sweep_load import load_sweep
from ganlib.sweep_records import CurvePoint
from ganlib.sweep_space import parse_search

SWEEP = "digits-wgan-00000000-11111111-test"


def spec(search: tuple[str, ...] = (), **options: Any) -> SweepSpec:
    usual = {"total_kimg": 9, "grace_kimg": 1, "trials": 6}
    return SweepSpec(
        sweep=SWEEP,
        config=load_sweep("digits-wgan", search=parse_search(search), **{**usual, **options}),
        dataset_name="digits",
        dataset_digest="0" * 64,
        code_version="0",
    )


class Clock:
    """A second for every look at it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def ledger(store: MemoryStore, of: SweepSpec) -> Ledger:
    return Ledger(store, of, "parent", "fd_projection_curve", Clock())


def report(run: str, images: int, distance: float) -> TrialReport:
    point = CurvePoint(images_seen=images, distance=distance, seconds=images / 1000)
    key = f"runs/{run}/checkpoints/{images:012d}"
    checkpoint = CheckpointRef(
        run=run, key=key, images_seen=images, generator_steps=images // 64, sha256="0" * 64
    )
    return TrialReport(point=point, checkpoint=checkpoint)
