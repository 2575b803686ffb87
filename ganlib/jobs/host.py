"""The host of a training loop: everything around :func:`ganlib.core.loop.train` on each worker.

It resumes, reports, evaluates, saves, and decides when to stop; the loop knows none of it. Every
worker runs the same :class:`Host`; rank 0 alone writes. Nothing here knows of Ray.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ganlib.build import build_plan, count_classes, fresh_state
from ganlib.config import RunConfig
from ganlib.core.loop import Progress, train
from ganlib.core.sampling import calibrate_batch_norm, generate, labels_in_turn, latents
from ganlib.core.state import TrainState
from ganlib.core.steps import Place
from ganlib.core.watch import spread
from ganlib.data.batches import TrainingBatches
from ganlib.data.cache import LocalDataset
from ganlib.errors import CheckpointRefused, DeadEnd, NonFiniteLoss
from ganlib.jobs.checkpoints import Checkpoints
from ganlib.jobs.collective import gather_rows, mean_over_workers, share_of
from ganlib.jobs.progress import Pace
from ganlib.jobs.watch import Watch
from ganlib.ports import RunTracker
from ganlib.quality.distances import Statistics, TooFewSamples, frechet_distance
from ganlib.quality.evaluate import generate_features, to_uint8
from ganlib.quality.features import Extractor, metric_name
from ganlib.quality.grids import grid
from ganlib.records import TrainResult

log = logging.getLogger(__name__)

REPORT_SECONDS = 2.0
"""A progress line and a point on the curves at most this often."""

GRID_SAMPLES = 64


@dataclass
class Host:
    """One worker's side of a run."""

    run: str
    tracking_run_id: str
    config: RunConfig
    dataset: LocalDataset
    reference: Statistics
    """Of the held-out split; used on rank 0."""
    extractor: Extractor
    checkpoints: Checkpoints
    tracker: RunTracker
    """Must not block: :class:`~ganlib.tracking.SpooledTracker` on rank 0, unused elsewhere."""
    place: Place
    emit: Callable[[str], None]
    """Takes rank 0's progress lines."""
    _pace: Pace = field(init=False)
    _distance: float = field(default=math.nan, init=False)
    """At the last evaluation, as is ``_spread``, which says how much the samples differ."""
    _spread: float = field(default=math.nan, init=False)
    _watch: Watch = field(init=False)
    _reported_at: float = field(default=-math.inf, init=False)
    """Seconds in the loop at the last progress line."""

    def __post_init__(self) -> None:
        budget = self.config.budget
        self._watch = Watch(self.config)
        self._pace = Pace(round(budget.total_kimg * 1000), budget.max_seconds)

    def train(self) -> TrainResult:
        """Train to the end of the budget, from the newest checkpoint when there is one.

        Raises:
            NonFiniteLoss: On every worker at once; nothing was saved after the last good checkpoint.
        """
        config, place = self.config, self.place
        state = fresh_state(config, self.dataset.version, place.device)
        resumed = self.checkpoints.resume(state)
        self._pace.restart(state.images_seen, state.seconds)
        self._require_same_start(state)
        if resumed is None:
            self._evaluate(state)
        else:
            self._watch.peak = resumed.estimate_peak
            if place.rank == 0:
                lost = resumed.images_lost
                self.emit(f"resumed {resumed.ref.key} at {state.images_seen} images, {lost} were lost")
                self.tracker.metrics(self.tracking_run_id, state.images_seen, {"images_lost": lost})
        start_images, start_seconds = state.images_seen, state.seconds
        self._loop(state)
        if state.images_seen > start_images:
            self._keep(state, evaluate=True)
        self.checkpoints.wait()
        seconds = state.seconds - start_seconds
        return TrainResult(
            run=self.run,
            tracking_run_id=self.tracking_run_id,
            status="finished",
            best=self.checkpoints.best(),
            last=self.checkpoints.last(),
            images_seen=state.images_seen,
            seconds=state.seconds,
            images_lost=self.checkpoints.images_lost,
            images_per_second=(state.images_seen - start_images) / seconds if seconds > 0 else 0.0,
        )

    def _loop(self, state: TrainState) -> None:
        config, place = self.config, self.place
        batches = TrainingBatches(
            self.dataset.load("train"),
            seed=config.seed,
            batch_size=config.batch_size,
            rank=place.rank,
            world_size=place.workers,
            device=place.device,
            flip=config.dataset.flip,
        )
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
                self._keep(state, evaluate=evaluation)

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
            line = self._pace.line(state.images_seen, state.seconds, values["wasserstein"], self._distance)
            self.emit(str(line))
            values |= {"images_per_second": line.rate, "generator_steps": state.generator_steps}
            self.tracker.metrics(self.tracking_run_id, state.images_seen, values)
            self.checkpoints.reached(state.images_seen)
        return bool(ended)

    def _require_same_start(self, state: TrainState) -> None:
        """Workers that took up different checkpoints would wait for each other for ever."""
        mine = torch.tensor([float(state.images_seen)], dtype=torch.float64, device=self.place.device)
        if float(mean_over_workers(mine)) != float(mine):
            raise CheckpointRefused(
                f"worker {self.place.rank} resumed at {state.images_seen} images and another one elsewhere; "
                "run the same command again"
            )

    def _out_of_time(self, state: TrainState) -> bool:
        limit = self.config.budget.max_seconds
        return limit is not None and state.seconds >= limit

    def _evaluate(self, state: TrainState) -> float:
        """Distance of the averaged generator, on every worker; rank 0 logs it with a sample grid."""
        config, place = self.config, self.place
        average = copy.deepcopy(state.average)
        calibrate_batch_norm(average, config.seed)
        count = config.evaluation.curve_samples
        here = share_of(count, place)
        noise = latents(config.seed, "evaluate", 0, count, config.network.latent_dim)[here]
        labels = self._labels(count)
        features = generate_features(
            partial(generate, average), self.extractor, noise, None if labels is None else labels[here]
        )
        features = gather_rows(features.to(place.device), count, place)
        value = torch.zeros(2, dtype=torch.float64)
        if place.rank == 0:
            samples = self._samples(average)
            value[1] = spread(samples)
            with warnings.catch_warnings():
                # The curve is drawn from few samples by intent, and named apart for it.
                warnings.simplefilter("ignore", TooFewSamples)
                value[0] = frechet_distance(Statistics.from_features(features.cpu()), self.reference)
        # The others' zeros leave rank 0's value, and every worker hears of one that is not finite.
        values = mean_over_workers(value.to(place.device)) * place.workers
        distance, self._spread = float(values[0]), float(values[1])
        if not math.isfinite(distance):
            raise NonFiniteLoss(metric_name(self.extractor), distance, state.images_seen)
        self._distance = distance
        if place.rank == 0:
            self._log_evaluation(state.images_seen, samples, distance)
        return distance

    def _samples(self, average: torch.nn.Module) -> Tensor:
        noise = latents(self.config.seed, "grid", 0, GRID_SAMPLES, self.config.network.latent_dim)
        return generate(average, noise, self._labels(GRID_SAMPLES))

    def _log_evaluation(self, images_seen: int, samples: Tensor, distance: float) -> None:
        picture = grid(to_uint8(samples), columns=8)
        metric = f"{metric_name(self.extractor)}_curve"
        self.tracker.image(self.tracking_run_id, "samples", images_seen, picture)
        self.tracker.metrics(self.tracking_run_id, images_seen, {metric: distance})
        self.emit(f"evaluated at {images_seen} images: {metric} = {distance:.1f}")

    def _labels(self, count: int) -> Tensor | None:
        """What to make: every class alike, or ``None`` for an unconditional generator."""
        return labels_in_turn(count_classes(self.config, self.dataset.version), count)

    def _keep(self, state: TrainState, *, evaluate: bool) -> None:
        """Save a checkpoint, evaluated or not, of weights that are numbers."""
        # The losses are those before the last update; the weights after it are what would be kept.
        for network in (state.generator, state.critic):
            for name, parameter in network.named_parameters():
                if not bool(torch.isfinite(parameter).all()):
                    raise NonFiniteLoss(name, math.nan, state.images_seen)
        distance = self._evaluate(state) if evaluate else None
        self._look(state, with_samples=evaluate)
        if self.place.rank == 0:
            self.checkpoints.save(state, self.place.workers, distance, self._watch.peak)

    def _look(self, state: TrainState, *, with_samples: bool) -> None:
        """Warn of a run that looks like a dead end, or stop it before its state is saved."""
        spread_now = self._spread if with_samples else None
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
        images_seen: Where the clock stands; multiples up to here are past.
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
