"""The gate's rules: whether a candidate takes the champion's place. Pure functions; no alias moves here.

The candidate must beat the champion on the same latents, held-out pictures and extractor, by more
than luck: its kernel distance must be smaller by a margin, and the bootstrap interval of the
difference must lie below zero. The kernel distance decides because it is unbiased at any number of
samples; the Fréchet distance is printed beside it. Then the candidate must not have bought its
distance by copying training pictures or by making fewer kinds of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ganlib.config.parts import GateConfig
from ganlib.records import Comparison, Decision, Evaluation

Array = npt.NDArray[np.float64]

_BLOCK = 250
"""Bootstrap samples computed at a time: 4 MB of weights for 2,000 pictures."""


class Interval(NamedTuple):
    """An estimate and its bootstrap interval."""

    value: float
    low: float
    high: float


def difference_interval(
    within: Array, across: Array, *, resamples: int, confidence: float, seed: int = 0
) -> Interval:
    """The difference of two generators' kernel distances to the same real pictures, with its interval.

    With kernel k, candidates x, champions y and real pictures z, the unbiased squared maximum mean
    discrepancies (A. Gretton et al., "A Kernel Two-Sample Test", 2012, lemma 6) differ by
    ``mean over i ≠ j of k(xᵢ, xⱼ) − k(yᵢ, yⱼ)``, less ``2 · mean of k(xᵢ, z) − k(yᵢ, z)``; the term of
    the real pictures alone cancels. Candidate i and champion i come from the same latent and are
    drawn together, and real pictures are resampled as well. A picture that is drawn twice is not compared
    with itself, which would make the resampled distances too large.

    Args:
        within: ``k(xᵢ, xⱼ) − k(yᵢ, yⱼ)``, float64 [n, n], n ≥ 2.
        across: ``k(xᵢ, zₗ) − k(yᵢ, zₗ)``, float64 [n, m], m ≥ 1.
        resamples: Bootstrap samples.
        confidence: Confidence level: the interval lies between the percentiles that it leaves out.
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        Candidate's distance less the champion's; below 0 the candidate is nearer.
    """
    count, real = across.shape
    if within.shape != (count, count) or count < 2 or real < 1:
        raise ValueError(f"[n, n] and [n, m] with n >= 2 expected, got {within.shape} and {across.shape}")
    value = float(_statistic(np.ones((1, count)), np.ones((1, real)), within, across)[0])
    random = np.random.default_rng(seed)
    found = []
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = random.multinomial(count, np.full(count, 1 / count), size=rows).astype(np.float64)
        drawn_real = random.multinomial(real, np.full(real, 1 / real), size=rows).astype(np.float64)
        found.append(_statistic(drawn, drawn_real, within, across))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found), [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _statistic(weights: Array, real_weights: Array, within: Array, across: Array) -> Array:
    """The difference for each row of weights (how often each picture was drawn): [rows]."""
    squares = weights**2
    pairs = weights.sum(axis=1) ** 2 - squares.sum(axis=1)
    inner = (((weights @ within) * weights).sum(axis=1) - squares @ np.diagonal(within)) / pairs
    outer = ((weights @ across) * real_weights).sum(axis=1)
    result: Array = inner - 2 * outer / (weights.sum(axis=1) * real_weights.sum(axis=1))
    return result


def decide(candidate: Evaluation, comparison: Comparison | None, bounds: GateConfig) -> Decision:
    """Whether the candidate becomes the champion. A number that is not finite never promotes.

    Args:
        candidate: Its own evaluation.
        comparison: The candidate beside the present champion. ``None`` when there is no champion: then a
            candidate that copies no pictures and is better than the untrained generator is taken.
        bounds: The limits.
    """
    refusal = _refused_alone(candidate, bounds, first=comparison is None)
    if not refusal and comparison is not None:
        refusal = _refused_beside(comparison, bounds)
    if refusal:
        return Decision(promoted=False, reason=refusal, comparison=comparison)
    if comparison is None:
        reason = (
            f"there was no champion, and {candidate.metric} is {candidate.value:.4g} "
            f"(untrained {candidate.value_untrained:.4g})"
        )
    else:
        reason = f"it beats version {comparison.champion_version}: {comparison_summary(comparison)}"
    return Decision(promoted=True, reason=reason, comparison=comparison)


Outcome = Literal["better", "worse", "undecided"]


def outcome(comparison: Comparison) -> Outcome:
    """``better`` or ``worse`` when the whole interval says so; else the difference may be luck."""
    if comparison.high < 0:
        return "better"
    return "worse" if comparison.low > 0 else "undecided"


def comparison_summary(comparison: Comparison) -> str:
    """The numbers of a comparison in one line, candidate's first."""
    candidate, champion = comparison.candidate, comparison.champion
    return (
        f"kernel distance {candidate.kernel_distance:.4g} against {champion.kernel_distance:.4g}, difference "
        f"{comparison.difference:.3g} ({comparison.confidence:.0%} interval {comparison.low:.3g} to "
        f"{comparison.high:.3g}); {candidate.metric} {candidate.value:.4g} against {champion.value:.4g}; "
        f"precision {candidate.precision:.2f} against {champion.precision:.2f}, recall "
        f"{candidate.recall:.2f} against {champion.recall:.2f}"
    )


def _refused_alone(candidate: Evaluation, bounds: GateConfig, *, first: bool) -> str:
    """Why a candidate is kept out whatever the champion is like; empty when it is not."""
    refusal = _copies(candidate, bounds)
    if refusal or not first:
        return refusal
    values = {candidate.metric: candidate.value}
    if bounds.better_than_untrained:
        values["untrained"] = candidate.value_untrained
    if wrong := _not_finite(values):
        return f"its evaluation is not finite: {wrong}"
    if bounds.better_than_untrained and candidate.value >= candidate.value_untrained:
        return (
            f"it is no better than an untrained generator: {candidate.metric} {candidate.value:.4g}, "
            f"untrained {candidate.value_untrained:.4g} (gate.better_than_untrained)"
        )
    return ""


def _copies(candidate: Evaluation, bounds: GateConfig) -> str:
    copying = candidate.copying
    # An evaluation from before copying was measured has none.
    if copying is None or bounds.min_copying_ratio == 0:
        return ""
    limit = f"gate.min_copying_ratio {bounds.min_copying_ratio:g}"
    if not math.isfinite(copying.ratio):
        return (
            "whether it repeats training pictures is not measurable: the distance to the nearest training "
            f"picture is {copying.generated_distance:.3g} for generated and {copying.held_out_distance:.3g} "
            f"for held-out pictures, of which {copying.held_out_copies} are training pictures themselves; "
            f"take copies out of the dataset ({limit}; 0 leaves this check out)"
        )
    if copying.ratio < bounds.min_copying_ratio:
        return (
            f"it repeats training pictures: their distance to the nearest one is {copying.ratio:.2f} of that "
            f"of held-out pictures ({limit}); look at the copying strip"
        )
    return ""


def _refused_beside(comparison: Comparison, bounds: GateConfig) -> str:
    """Why the champion stays; empty when the candidate is better by enough."""
    candidate, champion = comparison.candidate, comparison.champion
    summary, stays = comparison_summary(comparison), f"version {comparison.champion_version} stays"
    values = {
        "the difference": comparison.difference,
        "the interval's lower end": comparison.low,
        "the interval's upper end": comparison.high,
        "the candidate's kernel distance": candidate.kernel_distance,
        "the champion's kernel distance": champion.kernel_distance,
        "the candidate's recall": candidate.recall,
        "the champion's recall": champion.recall,
    }
    if wrong := _not_finite(values):
        return f"{stays}: the comparison is not finite, {wrong}; {summary}"
    found = outcome(comparison)
    if found == "worse":
        return f"{stays}: the candidate is worse; {summary}"
    if found == "undecided":
        return f"{stays}: the difference may be luck; {summary}"
    needed = bounds.margin * abs(champion.kernel_distance)
    if comparison.difference > -needed:
        return (
            f"{stays}: the candidate is better by less than {needed:.3g} (gate.margin {bounds.margin:g}); "
            f"{summary}"
        )
    least = bounds.min_recall_share * champion.recall
    if candidate.recall < least:
        return (
            f"{stays}: the candidate makes fewer kinds of pictures, its recall is below {least:.2f} "
            f"(gate.min_recall_share {bounds.min_recall_share:g}); {summary}"
        )
    return ""


def _not_finite(values: Mapping[str, float]) -> str:
    """Names and values of those that are NaN or infinite, for a message."""
    return ", ".join(f"{name} is {value}" for name, value in values.items() if not math.isfinite(value))
