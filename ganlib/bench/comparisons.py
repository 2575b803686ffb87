"""The benchmarks: which parts each one times, and the rows that come of what they measured.

Each is a function of a :class:`Session` that returns its rows, named as :data:`BENCHMARKS` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ganlib.bench.parts import Measure, Measured, TimedPart, in_turn, median
from ganlib.bench.rows import Row, Target

SECONDS = 15.0
"""Seconds of measuring in each timed part, after its warm-up."""

QUALITY_SECONDS = 120.0
"""Seconds of training before a generator is evaluated."""

PULL_BYTES = 2**30
"""Size of the version that is brought from object storage; with ``--seconds``, 64 MiB for each of them."""

PREPARED = 20_000
"""Photographs that are prepared; with ``--seconds``, 1,000 for each of them."""

MEMORY_SECONDS = 1.0
"""Memory has its peak in the first steps already."""


@dataclass(frozen=True)
class Session:
    """How to measure."""

    measure: Measure
    """Runs a part."""
    seconds: float | None = None
    """Seconds of measuring in each timed part; ``None``: the constants above."""
    fashion_mnist: Path | None = None
    """A folder that holds it; ``None``: it is looked for."""

    def timed(self, label: str, module: str, which: str, *, threads: int | None = None) -> TimedPart:
        """A part that takes the usual seconds."""
        return TimedPart(label, module, (which, f"{self.seconds or SECONDS:g}"), threads)


def loop(session: Session) -> list[Row]:
    """ganlib's loop against the plain one and against the machine's peak."""
    session.measure(TimedPart("making pictures", "benchmark_data", ("pictures",)))
    ganlib, plain, peak = in_turn(
        session.measure,
        [
            session.timed("ganlib's loop", "loop", "ganlib"),
            session.timed("the plain loop", "loop", "plain"),
            session.timed("matrix products", "loop", "peak"),
        ],
    )
    return loop_rows(ganlib, plain, peak)


def loop_rows(ganlib: Sequence[Measured], plain: Sequence[Measured], peak: Sequence[Measured]) -> list[Row]:
    """``loop`` and ``loop-peak-share``."""
    precision, used = ganlib[0].precision, median(ganlib) * plain[0].flop_per_image
    return [
        Row(
            "loop",
            median(ganlib) / median(plain),
            "×",
            f"plain loop in fp32, {median(plain):.0f} images/s; ganlib in {precision}, {median(ganlib):.0f}",
            # Where bf16 is native, half of the gain comes of it.
            Target("at least", 2.2 if precision == "bf16" else 1.3, aim=2.5),
        ),
        Row(
            "loop-peak-share",
            used / median(peak),
            "",
            f"{peak[0].precision} product of 2048³, {median(peak) / 1e9:.0f} GFLOP/s"
            + ("" if peak[0].precision == "bf16" else ", bf16 not being native here"),
            Target("at least", 0.65),
        ),
    ]


def ddp(session: Session) -> list[Row]:
    """Two workers of one thread against one."""
    session.measure(TimedPart("making pictures", "benchmark_data", ("pictures",)))
    two, one, apart = in_turn(
        session.measure,
        [
            session.timed("two workers", "data_parallel", "two", threads=1),
            session.timed("one worker", "data_parallel", "one", threads=1),
            session.timed("two workers apart", "data_parallel", "apart", threads=1),
        ],
    )
    alone = median(one)
    return [
        Row(
            "ddp",
            median(two) / (2 * alone),
            "",
            f"one worker of one thread, {alone:.0f} images/s; two together, {median(two):.0f}",
            Target("at least", 0.93),
        ),
        Row(
            "ddp-apart",
            median(apart) / (2 * alone),
            "",
            f"one worker of one thread, {alone:.0f} images/s; two that exchange nothing, {median(apart):.0f}",
        ),
    ]


def batches(session: Session) -> list[Row]:
    """Mapped shards against ``ImageFolder``, and how long the loop waits for pictures."""
    session.measure(TimedPart("making pictures", "benchmark_data", ("pictures",)))
    ganlib, plain, training = in_turn(
        session.measure,
        [
            # Nothing here is worth sharing between threads; the loader's two processes are beside.
            session.timed("batches from shards", "batches", "ganlib", threads=1),
            session.timed("batches from ImageFolder", "batches", "plain", threads=1),
            session.timed("ganlib's loop", "loop", "ganlib"),
        ],
    )
    waiting = sorted(one.waiting_share for one in training)
    return [
        Row(
            "input",
            median(ganlib) / median(plain),
            "×",
            f"ImageFolder and DataLoader with two processes, {median(plain):.0f} images/s; "
            f"from shards in one thread, {median(ganlib):.0f}",
            Target("at least", 10),
        ),
        Row(
            "input-wait",
            100 * waiting[len(waiting) // 2],
            "%",
            f"all of the loop's time, at {median(training):.0f} images/s",
            Target("at most", 1),
        ),
    ]


def prepare(session: Session) -> list[Row]:
    """Photographs decoded and scaled, against Pillow's ``open`` and ``resize``."""
    found = session.measure(session.timed("decoding photographs", "decoding", "decode", threads=1))
    return [
        Row(
            "prepare",
            found.value / found.beside,
            "×",
            f"PIL.Image.open().resize() of JPEGs of 640×480 to 64×64, {found.beside:.0f} pictures/s a core; "
            f"ganlib, {found.value:.0f}; {found.note}",
            Target("at least", 3),
        )
    ]


def prepare_workers(session: Session) -> list[Row]:
    """A dataset prepared by two processes of the cluster, against one."""
    count = PREPARED if session.seconds is None else max(64, min(PREPARED, int(session.seconds * 1000)))
    try:
        session.measure(TimedPart("making photographs", "preparing", ("make", str(count))))
        two, one = (
            session.measure(TimedPart(f"preparing with {workers}", "preparing", ("prepare", str(workers))))
            for workers in (2, 1)
        )
    finally:
        session.measure(TimedPart("removing photographs", "preparing", ("remove",)))
    beside = f"one process, {one.value:.0f} pictures/s; two, {two.value:.0f}; {two.note}"
    return [Row("prepare-workers", two.value / one.value, "×", beside, Target("at least", 1.8))]


def fixed_cost(session: Session) -> list[Row]:
    """A training job of zero pictures against a bare trainer."""
    ganlib, bare = in_turn(
        session.measure,
        [
            TimedPart("a job of zero pictures", "fixed_cost", ("ganlib",)),
            TimedPart("a bare TorchTrainer", "fixed_cost", ("bare",)),
        ],
    )
    beside = f"bare TorchTrainer with two workers, {median(bare):.1f} s; ganlib, {median(ganlib):.1f} s"
    return [
        Row("fixed-cost", median(ganlib) / median(bare), "×", beside, Target("at most", 1.2)),
        Row("fixed-cost-seconds", median(ganlib), "s", beside, Target("at most", 9)),
    ]


def retrain_overhead(session: Session) -> list[Row]:
    """Measure what a retrain costs beyond its training."""
    found = session.measure(TimedPart("a whole retrain", "whole_commands", ("retrain",)))
    beside = f"{found.beside:.0f} s in the loop; {found.note}"
    return [Row("retrain-overhead", found.value, "s", beside, Target("at most", 45))]


def command(session: Session) -> list[Row]:
    """Measure commands that a person waits for."""
    made, listed = in_turn(
        session.measure,
        [
            TimedPart("ganlib generate --count 64", "whole_commands", ("generate",)),
            TimedPart("ganlib model list", "whole_commands", ("list",)),
        ],
    )
    return [
        Row("command-list", median(listed), "s", "ganlib model list", Target("at most", 2)),
        Row("command-generate", median(made), "s", "ganlib generate --count 64", Target("at most", 5)),
    ]


def pull(session: Session) -> list[Row]:
    """Bring a version from object storage, against s3transfer."""
    size = PULL_BYTES if session.seconds is None else max(1, min(PULL_BYTES, int(session.seconds * 2**26)))
    try:
        session.measure(TimedPart("making shards", "pulling", ("make", str(size))))
        ganlib, plain = in_turn(
            session.measure,
            [
                TimedPart("pulling shards", "pulling", ("ganlib",)),
                TimedPart("s3transfer", "pulling", ("plain",)),
            ],
        )
    finally:
        session.measure(TimedPart("removing shards", "pulling", ("remove",)))
    ours, theirs = median(ganlib) / 1e6, median(plain) / 1e6
    beside = f"s3transfer, which checks nothing, {theirs:.0f} MB/s; ganlib with SHA-256, {ours:.0f} MB/s"
    return [Row("pull", ours / theirs, "×", beside, Target("at least", 1))]


def trial(session: Session) -> list[Row]:
    """Measure the cost of each trial of a sweep beyond its training, without the first trial."""
    measured = session.measure(TimedPart("a sweep of trials of one step", "trial_cost", threads=1))
    beside = "a trial of one step: its run, networks, evaluation of 16 samples, checkpoint and tracking"
    return [Row("trial", measured.value, "s", beside, Target("at most", 2))]


def memory(session: Session) -> list[Row]:
    """Peak of one worker's process."""
    session.measure(TimedPart("making pictures", "benchmark_data", ("pictures",)))
    ganlib, plain = in_turn(
        session.measure,
        [
            TimedPart("ganlib's loop", "loop", ("ganlib", f"{MEMORY_SECONDS:g}")),
            TimedPart("the plain loop", "loop", ("plain", f"{MEMORY_SECONDS:g}")),
        ],
        rounds=1,
    )
    worst, beside = (max(one.peak_bytes for one in measured) / 2**20 for measured in (ganlib, plain))
    return [Row("memory", worst, "MiB", f"plain loop without its two loaders, {beside:.0f} MiB")]


def generation(session: Session) -> list[Row]:
    """A fetched generator against the bare network."""
    found = session.measure(session.timed("a fetched generator", "generation", "sample"))
    return [
        Row(
            "generate",
            found.beside / found.value,
            "×",
            f"the bare network's forward pass, {found.beside:.0f} pictures/s of 32×32; fetched, with latents "
            f"and quantization, {found.value:.0f}",
            Target("at most", 1.2),
        )
    ]


def quality(session: Session) -> list[Row]:
    """The recipe against the reference settings, after the same time."""
    seconds = session.seconds or QUALITY_SECONDS
    source = () if session.fashion_mnist is None else (str(session.fashion_mnist.absolute()),)
    found = session.measure(
        TimedPart("looking for Fashion-MNIST", "benchmark_data", ("fashion-mnist", *source))
    )
    names, target = BENCHMARKS["quality"].rows, Target("at most", 190, aim=120)
    if found.missing:
        return [Row(name, found.missing, "", "") for name in names]
    recipe, reference = (
        session.measure(TimedPart(f"training, {which}", "quality", (which, f"{seconds:g}")))
        for which in ("recipe", "reference")
    )
    unit = "fd_efficientnet_lite0"
    return [
        Row(
            names[0],
            recipe.value,
            unit,
            f"reference settings after the same {seconds:g} s, {reference.value:.0f}",
            target,
        ),
        Row(names[1], reference.value, unit, f"recipe after the same {seconds:g} s, {recipe.value:.0f}"),
    ]


def evaluate(session: Session) -> list[Row]:
    """Evaluating 2,000 pictures with two processes, all of it but the start of the job."""
    seconds = session.measure(TimedPart("an evaluation", "evaluation")).value
    beside = "2,000 pictures of 32×32 against 5,000 real ones and 20,000 in training"
    return [Row("evaluate", seconds, "s", beside, Target("at most", 6))]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as it is asked for."""

    run: Callable[[Session], list[Row]]
    rows: tuple[str, ...]
    """Names of what it returns."""
    services: tuple[str, ...] = ()
    """Services that must be running."""


BENCHMARKS: dict[str, Benchmark] = {
    "loop": Benchmark(loop, ("loop", "loop-peak-share")),
    "ddp": Benchmark(ddp, ("ddp", "ddp-apart")),
    "input": Benchmark(batches, ("input", "input-wait")),
    "prepare": Benchmark(prepare, ("prepare",)),
    "prepare-workers": Benchmark(prepare_workers, ("prepare-workers",), ("s3", "ray")),
    "fixed-cost": Benchmark(fixed_cost, ("fixed-cost", "fixed-cost-seconds"), ("s3", "mlflow", "ray")),
    "retrain-overhead": Benchmark(
        retrain_overhead, ("retrain-overhead",), ("s3", "mlflow", "prefect", "ray")
    ),
    "command": Benchmark(command, ("command-list", "command-generate"), ("s3", "mlflow", "prefect", "ray")),
    "trial": Benchmark(trial, ("trial",), ("s3", "mlflow", "ray")),
    "pull": Benchmark(pull, ("pull",), ("s3",)),
    "memory": Benchmark(memory, ("memory",)),
    "generate": Benchmark(generation, ("generate",)),
    "evaluate": Benchmark(evaluate, ("evaluate",)),
    "quality": Benchmark(quality, ("quality", "quality-reference")),
}
"""By name, in the order in which they run."""
