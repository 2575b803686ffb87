"""The gate: compare the candidate, record the decision, move the champion's alias.

:mod:`ganlib.release.decision` has the rules. Two publishers at once must not leave a champion that was
compared with none of the others: the alias moves only if it still points to the version that the candidate
was compared with; otherwise the candidate is compared again, with the new champion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ganlib.config.parts import GateConfig
from ganlib.errors import AliasMoved, RegistryError, UnknownName
from ganlib.ports import ModelRegistry
from ganlib.records import Comparison, Decision, Evaluation, RegisteredGenerator
from ganlib.registry.aliases import whoami
from ganlib.registry.inputs import makes_by_label
from ganlib.release.decision import decide
from ganlib.release.tags import CHAMPION

_ROUNDS = 5
_DECISION, _PROMOTED = "ganlib.gate.decision", "promoted"

Compare = Callable[[RegisteredGenerator, RegisteredGenerator], Comparison]
"""Candidate and champion, compared in one session."""


def pass_gate(
    registry: ModelRegistry,
    candidate: RegisteredGenerator,
    evaluation: Evaluation,
    bounds: GateConfig,
    compare: Compare,
) -> Decision:
    """Make the candidate the champion if the gate's rules allow it. Repeating the call changes nothing.

    The decision is written to the tags of both versions before the alias moves. When the process dies in
    between, the repeated call decides again.

    Raises:
        RegistryError: Each time that the candidate had been compared, the champion had been moved by others.
    """
    for _ in range(_ROUNDS):
        champion = champion_of(registry, candidate.model)
        if champion is not None and champion.version == candidate.version:
            reason = champion.tags.get("ganlib.gate.reason", "it was made the champion by hand")
            return Decision(promoted=True, reason=reason)
        decision = _decide(candidate, champion, evaluation, bounds, compare)
        _tag(registry, candidate, champion, decision)
        if not decision.promoted:
            return decision
        try:
            registry.move(
                candidate.model,
                CHAMPION,
                candidate.version,
                expected=None if champion is None else champion.version,
                who=whoami(),
                why=f"gate: {decision.reason}",
            )
        except AliasMoved:
            continue
        return decision
    raise RegistryError(
        f"the champion of {candidate.model} was moved by others {_ROUNDS} times while version "
        f"{candidate.version} was compared with it; run the same command again"
    )


def has_passed(catalog: ModelRegistry, generator: RegisteredGenerator) -> bool:
    """Whether the gate is done with a version: it was kept out, or promoted and the alias moved.

    Not done when the decision to promote was recorded and the process died before the alias moved. A former
    champion that was rolled back is done.
    """
    decision = generator.tags.get(_DECISION)
    if decision != _PROMOTED:
        return decision is not None
    moves = catalog.history(generator.model)
    return any(
        move.effective and move.alias == CHAMPION and move.version == generator.version for move in moves
    )


def champion_of(registry: ModelRegistry, model: str) -> RegisteredGenerator | None:
    """The present champion of a model, if it has one."""
    try:
        return registry.resolve(model, CHAMPION)
    except UnknownName:
        return None


def _decide(
    candidate: RegisteredGenerator,
    champion: RegisteredGenerator | None,
    evaluation: Evaluation,
    bounds: GateConfig,
    compare: Compare,
) -> Decision:
    if champion is not None and (difference := incomparable(candidate.tags, champion.tags)):
        return Decision(
            promoted=False,
            reason=f"version {champion.version} stays: {difference}, so the two cannot be compared. Give the "
            "new kind a model of its own, with --name, or make this version the champion all the same: "
            f'`ganlib model promote {candidate.model}/{candidate.version} --why "another kind of pictures"`',
        )
    # A comparison takes half a minute and cannot save a candidate that fails by itself.
    alone = decide(evaluation, None, bounds)
    if champion is None or not alone.promoted:
        return alone
    return decide(evaluation, compare(candidate, champion), bounds)


def incomparable(candidate: Mapping[str, str], champion: Mapping[str, str]) -> str:
    """Say from two versions' tags why they cannot be compared; empty when they can.

    Versions of one dataset name are comparable whatever their digests are: both are measured against the
    candidate's held-out pictures.
    """
    for tag, name in (("ganlib.dataset", "dataset"), ("ganlib.image_shape", "picture shape")):
        new, old = candidate.get(tag), champion.get(tag)
        if None not in (new, old) and new != old:
            return f"its {name} is {old} and the new one's {new}"
    if makes_by_label(candidate) != makes_by_label(champion):
        return "one of them makes pictures by label and the other does not"
    return ""


def _tag(
    catalog: ModelRegistry,
    candidate: RegisteredGenerator,
    champion: RegisteredGenerator | None,
    decision: Decision,
) -> None:
    outcome = _PROMOTED if decision.promoted else "kept out"
    tags = {_DECISION: outcome, "ganlib.gate.reason": decision.reason}
    comparison = decision.comparison
    if comparison is not None:
        tags |= {
            "ganlib.gate.champion": str(comparison.champion_version),
            "ganlib.gate.difference": repr(comparison.difference),
            "ganlib.gate.interval": f"{comparison.low!r} {comparison.high!r}",
        }
    catalog.tag(candidate.model, candidate.version, tags)
    if champion is not None:
        met = {
            "ganlib.challenged.by": str(candidate.version),
            "ganlib.challenged.decision": outcome,
            "ganlib.challenged.reason": decision.reason,
        }
        catalog.tag(champion.model, champion.version, met)
