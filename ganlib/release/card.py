"""What a registered generator says of itself, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ganlib.config.run import RunConfig
from ganlib.records import DatasetVersion, Evaluation

LONGEST_CLASSES = 12
"""Class names in the card at the most."""


def model_card(
    config: RunConfig, dataset: DatasetVersion, evaluation: Evaluation, *, run: str, code_version: str
) -> str:
    """The card of a generator, Markdown of less than 5,000 characters.

    Args:
        config: What it was trained with.
        dataset: What it was trained on.
        evaluation: How good it is; numbers that were not measured are left out.
        run: Name of the run.
        code_version: ganlib's version.
    """
    parts = (
        f"# {config.model_name}",
        _introduction(config, dataset),
        "## Use",
        _use(config, dataset),
        "## Training data",
        _table(_data_rows(config, dataset)),
        "## Training",
        _table(_training_rows(config, evaluation, run, code_version)),
        "## Evaluation",
        _table(_evaluation_rows(evaluation)),
        _reading(evaluation),
        "## Samples",
        "![64 samples, none picked](grid.png)",
        "## Limits",
        _limits(config, dataset, evaluation),
    )
    return "\n\n".join(parts) + "\n"


def number(value: float) -> str:
    """A measured value for people: four significant digits, no exponent where it can be helped."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def evaluation_numbers(evaluation: Evaluation) -> dict[str, float]:
    """Everything that was measured, by the name of its tag less ``ganlib.``; nothing that was not."""
    copying = evaluation.copying.ratio if evaluation.copying is not None else math.nan
    numbers = {
        "value": evaluation.value,
        "value_untrained": evaluation.value_untrained,
        "kernel_distance": evaluation.kernel_distance,
        "kernel_distance_error": evaluation.kernel_distance_error,
        "precision": evaluation.precision,
        "recall": evaluation.recall,
        "copying_ratio": copying,
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _pictures(dataset: DatasetVersion) -> str:
    channels, height, width = dataset.image_shape
    return f"{width}×{height} {'grey' if channels == 1 else 'colour'}"


def _introduction(config: RunConfig, dataset: DatasetVersion) -> str:
    by_class = ""
    if config.network.conditional:
        names = ", ".join(dataset.classes[:LONGEST_CLASSES])
        more = "" if len(dataset.classes) <= LONGEST_CLASSES else ", …"
        by_class = f", of {len(dataset.classes)} classes on request ({names[:400]}{more})"
    return (
        f"Makes {_pictures(dataset)} pictures like those of `{dataset.name}`{by_class}, from random "
        f"numbers. A generative adversarial network, trained with ganlib."
    )


def _use(config: RunConfig, dataset: DatasetVersion) -> str:
    channels, height, width = dataset.image_shape
    return (
        "```python\n"
        "import ganlib\n"
        f'generator = ganlib.load_generator("{config.model_name}@champion")  # or NAME/VERSION\n'
        f"pictures = generator.sample(64, seed=0)  # uint8 [64, {channels}, {height}, {width}]\n"
        "```"
    )


def _data_rows(config: RunConfig, dataset: DatasetVersion) -> Iterator[tuple[str, str]]:
    yield "dataset", f"`{dataset.name}`"
    yield "digest", f"`{dataset.digest}`"
    yield "licence", config.dataset.licence
    yield "pictures", f"{dataset.count('train'):,} to train on, {dataset.count('held_out'):,} held out"
    yield "prepared as", f"{_pictures(dataset)}, {config.dataset.fit}"


def _training_rows(
    config: RunConfig, evaluation: Evaluation, run: str, code_version: str
) -> Iterator[tuple[str, str]]:
    flat = config.flat()
    yield "recipe", f"`{config.recipe}`"
    yield "run", f"`{run}`"
    yield "configuration", f"`{config.digest}`, whole in `config.json`"
    yield "code", f"ganlib {code_version}"
    seen, steps = evaluation.checkpoint.images_seen, evaluation.checkpoint.generator_steps
    yield "trained for", f"{seen:,} pictures seen by the critic, {steps:,} generator steps"
    kept = (
        "network.",
        "objective.",
        "cadence.",
        "optimizer.",
        "averaging.half_life_kimg",
        "batch_size",
        "seed",
    )
    for name, value in flat.items():
        if name.startswith(kept):
            yield f"`{name}`", value


def _evaluation_rows(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    numbers = evaluation_numbers(evaluation)
    yield evaluation.metric, number(evaluation.value)
    yield f"{evaluation.metric}, untrained", number(evaluation.value_untrained)
    if "kernel_distance" in numbers:
        error = numbers.get("kernel_distance_error")
        around = "" if error is None else f" ± {number(error)}"
        yield "kernel distance", number(numbers["kernel_distance"]) + around
    for name in ("precision", "recall"):
        if name in numbers:
            yield name, number(numbers[name])
    if "copying_ratio" in numbers:
        yield "copying ratio", number(numbers["copying_ratio"])
    yield "pictures", f"{evaluation.samples:,}"
    if evaluation.resizing:
        yield "resizing", evaluation.resizing


def _reading(evaluation: Evaluation) -> str:
    notes = ["Against held-out pictures of the same dataset version. Distances: smaller is better."]
    if "copying_ratio" in evaluation_numbers(evaluation):
        notes.append(
            "Copying ratio: about 1 when pictures are its own, near 0 when it repeats training pictures."
        )
    if evaluation.metric.startswith("fd_"):
        notes.append(f"`{evaluation.metric}` compares within ganlib and is no FID.")
    return " ".join(notes)


def _limits(config: RunConfig, dataset: DatasetVersion, evaluation: Evaluation) -> str:
    lines = [
        f"It knows nothing beyond `{dataset.name}`, whose gaps and biases it has.",
        f"The numbers hold for {evaluation.samples:,} pictures; fewer give larger distances.",
        "It makes pictures at one size, and has no notion of text or instruction.",
    ]
    if config.dataset.licence == "unknown":
        lines.append("The training data's licence is not recorded: find it out before passing pictures on.")
    if evaluation.copying is None:
        lines.append("Whether it repeats training pictures was not measured.")
    return "\n".join(f"- {line}" for line in lines)


def _table(rows: Iterator[tuple[str, str]]) -> str:
    lines = [f"| {name} | {value.replace('|', '/')} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])
