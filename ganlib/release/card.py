"""The model card of a registered generator, in Markdown: ``card.md.jinja`` and the values in it."""

from __future__ import annotations

import math

import jinja2

from ganlib.config.run import RunConfig
from ganlib.records import DatasetVersion, Evaluation

LONGEST_CLASSES = 12
"""Most class names in the card."""

_SETTINGS = (
    "network.",
    "objective.",
    "cadence.",
    "optimizer.",
    "averaging.half_life_kimg",
    "batch_size",
    "seed",
)
"""Beginnings of the configuration fields in the card."""
_SETTINGS_IF_CHANGED = ("r1.", "augmentation.")
"""Beginnings of those that it has only where they differ from their defaults, which do nothing."""


def model_card(
    config: RunConfig,
    dataset: DatasetVersion,
    evaluation: Evaluation,
    *,
    run: str,
    code_version: str,
    samples: str = "grid.png",
    decision: str = "",
) -> str:
    """The card of a generator, Markdown of less than 5,000 characters.

    Its values are in lists, since MLflow draws tables without space between the columns.

    Args:
        config: The configuration that it was trained with.
        dataset: The dataset version that it was trained on.
        evaluation: Its evaluation; numbers that were not measured are left out.
        run: Name of the run.
        code_version: ganlib's version.
        samples: Address of the picture of samples, relative to where the card is shown; empty: none.
        decision: What the gate decided on the generator, in Markdown; empty: nothing yet.
    """
    # Markdown, not HTML: names are checked where they come in, and escapes would show.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ganlib.release", "."),
        autoescape=False,  # noqa: S701
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    channels, height, width = dataset.image_shape
    names = ", ".join(dataset.classes[:LONGEST_CLASSES])[:400]
    return environment.get_template("card.md.jinja").render(
        config=config,
        dataset=dataset,
        evaluation=evaluation,
        run=run,
        code_version=code_version,
        samples=samples,
        decision=decision,
        pictures=f"{width}×{height} {'grey' if channels == 1 else 'colour'}",
        class_names=names + ("" if len(dataset.classes) <= LONGEST_CLASSES else ", …"),
        settings=_settings(config),
        numbers=evaluation_numbers(evaluation),
    )


def _settings(config: RunConfig) -> dict[str, str]:
    changed = config.flat(exclude_defaults=True)
    return {
        name: value
        for name, value in config.flat().items()
        if name.startswith(_SETTINGS) or (name.startswith(_SETTINGS_IF_CHANGED) and name in changed)
    }


def number(value: float) -> str:
    """A measured value for people: four significant digits, no exponent where it can be helped."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def evaluation_numbers(evaluation: Evaluation) -> dict[str, float]:
    """Everything that was measured, by the name of its tag less ``ganlib.``; the rest is left out."""
    numbers = {
        **evaluation.measures.model_dump(exclude={"metric", "samples"}),
        "value_untrained": evaluation.value_untrained,
        "copying_ratio": math.nan if evaluation.copying is None else evaluation.copying.ratio,
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
