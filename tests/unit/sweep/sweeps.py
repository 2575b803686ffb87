"""What the tests of sweeps share: sweeps by hand, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganlib.cluster.lines import StageProgress
from ganlib.fakes.stores import MemoryStore, MemoryTracker
from ganlib.records import CheckpointRef, CurvePoint, Evaluation, Measures
from ganlib.settings import Settings
from ganlib.sweep.course import SweepRun
from ganlib.sweep.ledger import Ledger
from ganlib.sweep.load import load_sweep
from ganlib.sweep.space import parse_search
from ganlib.sweep.spec import SweepSpec
from ganlib.sweep.trial_report import TrialReport

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


def evaluation(checkpoint: CheckpointRef, value: float) -> Evaluation:
    return Evaluation(
        run=checkpoint.run,
        checkpoint=checkpoint,
        dataset_digest="0" * 64,
        measures=Measures(metric="fd_projection", samples=2000, value=value),
        draw=2,
        value_untrained=900.0,
        seconds=1.0,
    )


class Killed(BaseException):
    """The job's process is gone."""


class MortalStore(MemoryStore):
    """The job that writes to it is killed at a certain write."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def put(self, key: str, data: bytes | Path) -> None:
        self._live()
        super().put(key, data)

    def delete(self, key: str) -> None:
        self._live()
        super().delete(key)

    def _live(self) -> None:
        if self.left == 0:
            raise Killed
        if self.left is not None:
            self.left -= 1


class Rig:
    """A sweep's job without Ray: it can be killed by being dropped."""

    def __init__(
        self, store: MemoryStore, of: SweepSpec, home: Path, tracker: MemoryTracker | None = None
    ) -> None:
        self.lines: list[str] = []
        self.told: list[StageProgress] = []
        self.tracker = tracker or MemoryTracker()
        self.ledger = ledger(store, of)
        settings = Settings(home=home)
        self.sweep_run = SweepRun(settings, store, of, self.ledger, self.tracker, self.say, Clock())

    def say(self, said: str | StageProgress) -> None:
        if isinstance(said, StageProgress):
            self.told.append(said)
        else:
            self.lines.append(said)

    def start(self) -> int | None:
        trial = self.sweep_run.next_trial()
        if trial is None:
            return None
        self.sweep_run.member(trial)
        self.sweep_run.started(trial.number)
        return trial.number

    def on_report(self, number: int, images: int, distance: float) -> bool:
        return self.sweep_run.on_report(number, report(self.ledger.trials[number].run, images, distance))

    def die(self, number: int) -> None:
        """As often as it takes."""
        for _ in range(1 + self.sweep_run.spec.config.base.compute.max_failures):
            self.sweep_run.on_death(number, "its process died")

    def finish(self, number: int) -> bool:
        return self.sweep_run.on_report(number, TrialReport(status="finished"))
