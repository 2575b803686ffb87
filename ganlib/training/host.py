"""The host of a training loop: everything around :func:`ganlib.core.loop.train` on each worker.

It resumes, reports, evaluates, saves, and decides when to stop; the loop knows none of it. Like the
loop it is a generator: it hands control back after every evaluation, and whoever iterates may end the
run there. Every worker runs the same :class:`Host`; rank 0 alone writes. Nothing here knows of Ray.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ganlib.cluster.lines import Say
from ganlib.cluster.metrics import NoMetrics, RunMetrics
from ganlib.config.run import RunConfig
from ganlib.core.loop import Batches, Progress, train
from ganlib.core.state import TrainState
from ganlib.core.steps import WorkerPlace
from ganlib.core.workers import mean_over_workers
from ganlib.data.batches import TrainingBatches
from ganlib.data.cache import LocalDataset
from ganlib.errors import CheckpointRefused, DeadEnd, NonFiniteLoss
from ganlib.ports import RunTracker
from ganlib.quality.distances import Statistics
from ganlib.quality.features import Extractor
from ganlib.quality.generated import to_uint8
from ganlib.quality.grids import grid, png
from ganlib.records import CurvePoint, TrainResult
from ganlib.training.build import build_cadence, build_plan, fresh_state
from ganlib.training.checkpoints import Checkpoints
from ganlib.training.curve import Curve, Point
from ganlib.training.live import LiveNumbers
from ganlib.training.progress import Pace, Spent
from ganlib.training.watch import Watch

REPORT_SECONDS = 2.0
"""Least seconds in the loop between two reports of progress, and between two points on the curves."""

OVERSHOOT = 0.05
"""Share of the budget by which a run may exceed it without a warning."""


@dataclass
class Host:
    """One worker's side of a run."""

    run: str
    tracking_run_id: str
    config: RunConfig
    dataset: LocalDataset
    reference: Statistics
    """Statistics of the held-out split; used on rank 0."""
    extractor: Extractor
    checkpoints: Checkpoints
    tracker: RunTracker
    """Must not block: :class:`~ganlib.tracking.mlflow.SpooledTracker` on rank 0, unused elsewhere."""
    place: WorkerPlace
    emit: Say
    """Takes rank 0's lines and progress."""
    look_at_untrained: bool = True
    """Whether a new run begins with an evaluation; the trials of a sweep would all measure the same."""
    metrics: RunMetrics = field(default_factory=NoMetrics)
    """Takes rank 0's live numbers, for graphs and alerts."""
    _live: LiveNumbers = field(init=False)
    _pace: Pace = field(init=False)
    _curve: Curve = field(init=False)
    _point: Point = field(init=False, default=Point())
    """The last evaluation."""
    _watch: Watch = field(init=False)
    _spent: Spent = field(init=False, default_factory=Spent)
    _reported_at: float = field(default=-math.inf, init=False)
    """Seconds in the loop at the last report."""

    def __post_init__(self) -> None:
        budget = self.config.budget
        self._watch = Watch(self.config)
        self._curve = Curve(self.config, self.dataset.version, self.reference, self.extractor, self.place)
        self._pace = Pace(round(budget.total_kimg * 1000), budget.max_seconds)

    def train(self) -> TrainResult:
        """Train to the end of the budget. Raises as :meth:`rounds`."""
        rounds = self.rounds()
        while True:
            try:
                next(rounds)
            except StopIteration as end:
                result: TrainResult = end.value
                return result

    def rounds(self) -> Generator[CurvePoint, None, TrainResult]:
        """Train to the end of the budget, from the newest checkpoint when there is one.

        Yields:
            Each evaluation once its checkpoint is on its way to the store. A run that goes on begins with the
            evaluation of the checkpoint that it resumes from, if that has one: the earlier consumer may
            have died before receiving it.

        Raises:
            NonFiniteLoss: On every worker at once; nothing was saved after the last good checkpoint.
            DeadEnd: A rule of the watch that is to stop the run was broken; likewise.
        """
        config, place = self.config, self.place
        state = fresh_state(config, self.dataset.version, place.device)
        resumed = self.checkpoints.resume(state)
        self._pace.restart(state.images_seen, state.seconds)
        self._require_same_start(state)
        before = None if resumed is None else resumed.distance
        self._live = LiveNumbers(self.metrics, self.checkpoints, state, before)
        if resumed is not None:
            self._watch.peak = resumed.estimate_peak
            if place.rank == 0:
                lost = resumed.images_lost
                self.emit(f"resumed {resumed.ref.key} at {state.images_seen} images, {lost} were lost")
                self.tracker.metrics(self.tracking_run_id, state.images_seen, {"images_lost": lost})
            if resumed.distance is not None:
                yield CurvePoint(
                    images_seen=state.images_seen, distance=resumed.distance, seconds=state.seconds
                )
        elif self.look_at_untrained:
            yield self._evaluate(state)
        start_images, start_seconds = state.images_seen, state.seconds
        self._warn_of_overshoot(state)
        yield from self._loop(state)
        if state.images_seen > start_images:
            yield from self._keep(state, evaluate=True)
        with self._spent.timed("saving"):
            self.checkpoints.wait()
        return self._finished(state, state.images_seen - start_images, state.seconds - start_seconds)

    def _warn_of_overshoot(self, state: TrainState) -> None:
        """Say at the start when the run will see clearly more images than its budget names."""
        config, total = self.config, self._pace.total_images
        if self.place.rank != 0 or state.images_seen >= total:
            return
        cadence = build_cadence(config)
        end = cadence.images_at_end(total, config.batch_size, state.images_seen, state.generator_steps)
        if end <= total * (1 + OVERSHOOT):
            return
        remedy = "turn cadence.bursts off" if config.cadence.bursts else "lower cadence.n_critic"
        self.emit(
            f"warning: the run can see up to {end / 1000:g} kimg, {end / total - 1:.0%} above "
            f"budget.total_kimg = {total / 1000:g}: it ends at a generator step, and up to "
            f"{cadence.most_critic_steps} critic steps of {config.batch_size} pictures stand before one; "
            f"{remedy} or raise budget.total_kimg"
        )

    def _finished(self, state: TrainState, images: int, seconds: float) -> TrainResult:
        """The result of a run that reached its end, ``images`` and ``seconds`` of it in this attempt."""
        if self.place.rank == 0 and images:
            shares = self._spent.shares(seconds)
            self.tracker.metrics(self.tracking_run_id, state.images_seen, shares)
            evaluating, saving = (f"{100 * share:.1f} %" for share in shares.values())
            self.emit(
                f"saw {state.images_seen:,} of {self._pace.total_images:,} images; {seconds:.0f} s in the "
                f"loop, and of the whole time {evaluating} evaluating, {saving} saving"
            )
        return TrainResult(
            run=self.run,
            tracking_run_id=self.tracking_run_id,
            status="finished",
            best=self.checkpoints.best(),
            last=self.checkpoints.last(),
            images_seen=state.images_seen,
            images_asked=self._pace.total_images,
            seconds=state.seconds,
            images_lost=self.checkpoints.images_lost,
            images_per_second=images / seconds if seconds > 0 else 0.0,
            evaluating_seconds=self._spent.seconds["evaluating"],
            saving_seconds=self._spent.seconds["saving"],
        )

    def _loop(self, state: TrainState) -> Iterator[CurvePoint]:
        config, dataset = self.config, self.dataset
        with dataset.training(self.run, seed=config.seed, batch_size=config.batch_size) as pictures:
            batches = TrainingBatches(
                pictures,
                seed=config.seed,
                batch_size=config.batch_size,
                rank=self.place.rank,
                world_size=self.place.workers,
                device=self.place.device,
                flip=config.dataset.flip,
                order=dataset.order(config.seed),
            )
            yield from self._steps(state, self._live.timed(batches))

    def _steps(self, state: TrainState, batches: Batches) -> Iterator[CurvePoint]:
        config, place = self.config, self.place
        plan = build_plan(config, place.device)
        evaluations = Every(config.evaluation.every_kimg, state.images_seen)
        saves = Every(config.checkpoint.every_kimg, state.images_seen)
        if self._out_of_time(state):
            return
        for progress in train(state, batches, plan, place):
            if self._agree(state, progress):
                return
            save, evaluation = saves.due(state.images_seen), evaluations.due(state.images_seen)
            if save or evaluation:
                yield from self._keep(state, evaluate=evaluation)

    def _agree(self, state: TrainState, progress: Progress) -> bool:
        """Average the losses over the workers, report them, and decide together whether the run ends."""
        local = torch.stack([progress.critic_loss, progress.wasserstein, progress.generator_loss])
        over = torch.tensor([float(self._out_of_time(state))], device=local.device)
        means = mean_over_workers(torch.cat([local.float(), over])).tolist()
        values = dict(zip(("critic_loss", "wasserstein", "generator_loss"), means, strict=False))
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteLoss(name, value, state.images_seen)
        self._watch.add(values["wasserstein"])
        ended = means[3] > 0 or state.images_seen >= self._pace.total_images
        if self.place.rank == 0 and (ended or state.seconds - self._reported_at >= REPORT_SECONDS):
            self._reported_at = state.seconds
            distance = self._point.distance
            reached = self._pace.at(state.images_seen, state.seconds, distance)
            self.emit(reached)
            self._live.reached(state, reached.rate or 0.0, values["wasserstein"])
            values |= {"images_per_second": reached.rate or 0.0, "generator_steps": state.generator_steps}
            if state.augmentation_probability is not None:
                values["augmentation_probability"] = float(state.augmentation_probability)
            self.tracker.metrics(self.tracking_run_id, state.images_seen, values)
            self.checkpoints.reached(state.images_seen)
        return bool(ended)

    def _require_same_start(self, state: TrainState) -> None:
        """Refuse workers that resumed different checkpoints: they would wait for each other for ever."""
        mine = torch.tensor([float(state.images_seen)], dtype=torch.float64, device=self.place.device)
        if float(mean_over_workers(mine)) != float(mine):
            raise CheckpointRefused(
                f"worker {self.place.rank} resumed at {state.images_seen} images and another one elsewhere; "
                "run the same command again"
            )

    def _out_of_time(self, state: TrainState) -> bool:
        limit = self.config.budget.max_seconds
        return limit is not None and state.seconds >= limit

    def _evaluate(self, state: TrainState) -> CurvePoint:
        """Distance of the averaged generator, on every worker; rank 0 logs it with a sample grid."""
        with self._spent.timed("evaluating"):
            self._point = self._curve.point(state.average)
            if not math.isfinite(self._point.distance):
                raise NonFiniteLoss(self.extractor.metric, self._point.distance, state.images_seen)
            self._live.evaluated(self._point.distance)
            if self._point.samples is not None:
                self._log_evaluation(state.images_seen, self._point.samples)
        return CurvePoint(images_seen=state.images_seen, distance=self._point.distance, seconds=state.seconds)

    def _log_evaluation(self, images_seen: int, samples: Tensor) -> None:
        picture = grid(to_uint8(samples), columns=8)
        metric, distance = f"{self.extractor.metric}_curve", self._point.distance
        self.checkpoints.keep_frame(images_seen, png(picture))
        # From step 0, although it is noise: MLflow opens a row of pictures there, and would show nothing.
        self.tracker.image(self.tracking_run_id, "training", images_seen, picture)
        self.tracker.metrics(self.tracking_run_id, images_seen, {metric: distance})
        self.emit(f"evaluated at {images_seen} images: {metric} = {distance:.1f}")

    def _keep(self, state: TrainState, *, evaluate: bool) -> Iterator[CurvePoint]:
        """Save a checkpoint, evaluated or not, of weights that are numbers; yields the evaluation."""
        # The losses were computed before the last update, and the weights after it would be saved.
        for network in (state.generator, state.critic):
            for name, parameter in network.named_parameters():
                if not bool(torch.isfinite(parameter).all()):
                    raise NonFiniteLoss(name, math.nan, state.images_seen)
        point = self._evaluate(state) if evaluate else None
        self._look(state, with_samples=evaluate)
        if self.place.rank == 0:
            with self._spent.timed("saving"):
                distance = None if point is None else point.distance
                self.checkpoints.save(state, self.place.workers, distance, self._watch.peak)
        if point is not None:
            yield point

    def _look(self, state: TrainState, *, with_samples: bool) -> None:
        """Warn of a run that looks like a dead end, or stop it before its state is saved."""
        spread_now = self._point.spread if with_samples else None
        for alarm in self._watch.check(state.critic, spread_now):
            text = f"after {state.images_seen} images {alarm.text} ({alarm.rule})"
            if alarm.action == "stop":
                raise DeadEnd(text)
            if self.place.rank == 0:
                self.emit(f"warning: {text}")
                name = f"warnings/{state.images_seen:012d}-{alarm.rule}.txt"
                self.tracker.artifact(self.tracking_run_id, name, text.encode())


class Every:
    """Multiples of an interval on the training clock.

    Args:
        kimg: The interval, thousand images.
        images_seen: The clock now; multiples up to here are past.
    """

    def __init__(self, kimg: float, images_seen: int) -> None:
        self._interval = kimg * 1000
        self._past = images_seen // self._interval

    def due(self, images_seen: int) -> bool:
        """Whether a multiple was passed since this last answered yes."""
        multiple = images_seen // self._interval
        if multiple <= self._past:
            return False
        self._past = multiple
        return True
