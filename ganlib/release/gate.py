"""The gate in a run's way: the candidate is compared, the decision recorded, the champion's alias moved.

:mod:`ganlib.release.decision` decides; this module asks it, and sees to it that two publishers at once
do not leave a champion that was compared with none of the others: the alias moves only if it still
points to the version that the candidate was compared with, and otherwise all is done anew.
"""

from __future__ import annotations

from collections.abc import Callable

from ganlib.config.parts import GateConfig
from ganlib.errors import AliasMoved, RegistryError, UnknownName
from ganlib.ports import ModelRegistry
from ganlib.records import Comparison, Decision, Evaluation, RegisteredGenerator
from ganlib.registry.aliases import whoami
from ganlib.registry.inputs import class_count
from ganlib.release.decision import decide
from ganlib.release.publish import CHAMPION

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
    """Make the candidate the champion if it deserves it. Repeating it changes nothing.

    The decision is written to the tags of both versions before the alias moves; a process that dies
    in between decides again.

    Raises:
        RegistryError: Others moved the champion each time that the candidate had been compared with it.
    """
    for _ in range(_ROUNDS):
        champion = _champion(registry, candidate.model)
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
    """Whether the gate is done with a version: kept it out, or let it in and moved the alias.

    One whose decision was written and whose alias was not moved, because the process died between the two,
    has yet to pass. One that was the champion and was rolled back has passed.
    """
    decision = generator.tags.get(_DECISION)
    if decision != _PROMOTED:
        return decision is not None
    moves = catalog.history(generator.model)
    return any(
        move.effective and move.alias == CHAMPION and move.version == generator.version for move in moves
    )


def _champion(registry: ModelRegistry, model: str) -> RegisteredGenerator | None:
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
    if champion is not None and (differing := _incomparable(candidate, champion)):
        return Decision(
            promoted=False,
            reason=f"version {champion.version} stays: {differing}, so the two cannot be compared; if you "
            f"want the new one, `ganlib model promote {candidate.model}/{candidate.version}`",
        )
    # What the candidate fails by itself, no comparison will mend; it takes half a minute.
    alone = decide(evaluation, None, bounds)
    if champion is None or not alone.promoted:
        return alone
    return decide(evaluation, compare(candidate, champion), bounds)


def _incomparable(candidate: RegisteredGenerator, champion: RegisteredGenerator) -> str:
    """What sets the two apart, as a clause; empty when they make pictures of one kind."""
    new, old = (version.tags.get("ganlib.image_shape") for version in (candidate, champion))
    if None not in (new, old) and new != old:
        return f"it makes pictures {old} (channels, height, width) and the new one {new}"
    if bool(class_count(candidate)) != bool(class_count(champion)):
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
            "ganlib.gate.dataset_digest": comparison.dataset_digest,
            "ganlib.gate.difference": repr(comparison.difference),
            "ganlib.gate.interval": f"{comparison.low!r} {comparison.high!r}",
            "ganlib.gate.kernel_distance": repr(comparison.candidate.kernel_distance),
            "ganlib.gate.champion_kernel_distance": repr(comparison.champion.kernel_distance),
            f"ganlib.gate.{comparison.candidate.metric}": repr(comparison.candidate.value),
            f"ganlib.gate.champion_{comparison.champion.metric}": repr(comparison.champion.value),
        }
    catalog.tag(candidate.model, candidate.version, tags)
    if champion is not None:
        met = {name.replace("ganlib.gate.", "ganlib.challenged."): value for name, value in tags.items()}
        catalog.tag(champion.model, champion.version, {**met, "ganlib.challenged.by": str(candidate.version)})
