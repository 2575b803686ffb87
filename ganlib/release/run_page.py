"""A run's page and a version's page in MLflow: files, pictures and a description. Without torch.

Everything is written anew by every call, so that a job that died in between leaves nothing half done.
"""

from __future__ import annotations

from collections.abc import Sequence

from ganlib.data.licences import with_licence
from ganlib.data.versions import load_version
from ganlib.ports import ModelRegistry, ObjectStore, RunTracker
from ganlib.quality.film import chosen, film, read_frame
from ganlib.records import Decision, Evaluation, RegisteredGenerator
from ganlib.release.card import model_card, number
from ganlib.tracking.links import artifact_link
from ganlib.training.frames import find_frames
from ganlib.training.spec import RunSpec

SAMPLES, FILM, EVALUATION = "samples.png", "training.gif", "evaluation.json"
"""Artifacts of an evaluated run, beside ``config.json``, which is there from the start."""


def complete_run_page(store: ObjectStore, tracker: RunTracker, run_id: str, evaluation: Evaluation) -> None:
    """Attach an evaluated run's files and pictures to it, and describe it.

    Args:
        store: Where the run has left the grids of its training.
        tracker: The tracker.
        run_id: The tracker's id of the run.
        evaluation: The run's evaluation; ``samples.png`` is the grid of the checkpoint that was evaluated.
    """
    tracker.artifact(run_id, EVALUATION, evaluation.to_json().encode())
    frames = find_frames(store, evaluation.run)
    steps = list(frames)
    if steps:
        at = drawn_at(steps, evaluation)
        grid = store.get(frames[at])
        tracker.artifact(run_id, SAMPLES, grid)
        if (picture := read_frame(grid)) is not None:
            # The only step of its name: MLflow opens a single picture, and a row of them at step 0.
            tracker.image(run_id, "samples", at, picture)
        moving = film([store.get(frames[steps[index]]) for index in chosen(len(steps))])
        if moving is not None:
            tracker.artifact(run_id, FILM, moving)
    tracker.describe(run_id, run_description(run_id, evaluation, frames=steps))


def describe_decision(
    store: ObjectStore,
    tracker: RunTracker,
    registry: ModelRegistry,
    spec: RunSpec,
    evaluation: Evaluation,
    generator: RegisteredGenerator,
    decision: Decision,
) -> None:
    """Tell the gate's decision in the descriptions of a run and of its registered version.

    Args:
        store: Where dataset and run are kept.
        tracker: The tracker.
        registry: The registry.
        spec: The run.
        evaluation: The run's evaluation.
        generator: The version.
        decision: What the gate decided on it.
    """
    run_id, told = generator.tracking_run_id, decision_told(generator, decision)
    frames = list(find_frames(store, spec.run))
    tracker.describe(run_id, run_description(run_id, evaluation, frames=frames, decision=told))
    card = model_card(
        with_licence(store, spec.config),
        load_version(store, spec.dataset_name, spec.dataset_digest),
        evaluation,
        run=spec.run,
        code_version=spec.code_version,
        samples=samples_link(store, spec.run, run_id),
        decision=told,
    )
    registry.describe(generator.model, generator.version, card)


def samples_link(store: ObjectStore, run: str, run_id: str) -> str:
    """Address of a run's ``samples.png`` for descriptions; empty when it has drawn none."""
    return artifact_link(run_id, SAMPLES) if find_frames(store, run) else ""


def decision_told(generator: RegisteredGenerator, decision: Decision) -> str:
    """The gate's decision on a version as one sentence, in Markdown."""
    outcome = "became the champion" if decision.promoted else "did not become the champion"
    return f"**{generator.model} version {generator.version} {outcome}**: {decision.reason}."


def drawn_at(frames: Sequence[int], evaluation: Evaluation) -> int:
    """Images after which the samples on a run's page were drawn: at the evaluated checkpoint, else the last.

    Args:
        frames: Images at each frame of the film, ascending; at least one.
        evaluation: The run's evaluation.
    """
    evaluated = evaluation.checkpoint.images_seen
    return evaluated if evaluated in frames else frames[-1]


def run_description(run_id: str, evaluation: Evaluation, *, frames: Sequence[int], decision: str = "") -> str:
    """The Markdown on a run's page: the decision, the pictures, the distance, and where the rest is.

    MLflow shows its first hundred pixels and folds the rest away, so the pictures come early.

    Args:
        run_id: The tracker's id of the run.
        evaluation: The run's evaluation.
        frames: Images at each frame of the film; with none there are no pictures.
        decision: The gate's decision; empty: there is none.
    """
    steps = f"{evaluation.checkpoint.images_seen:,} images"
    drawn = ""
    if frames:
        after = f"{drawn_at(frames, evaluation):,} images"
        drawn = (
            f"![64 samples after {after}]({artifact_link(run_id, SAMPLES)}) "
            f"![The same samples along the training]({artifact_link(run_id, FILM)})"
        )
    distance = f"`{evaluation.metric}` {number(evaluation.value)} after {steps}"
    if evaluation.value_untrained == evaluation.value_untrained:  # not NaN: it was measured
        distance += f", {number(evaluation.value_untrained)} before training"
    files = "Under *Artifacts*: `config.json` is the whole configuration, `evaluation.json` has all numbers"
    files += f", `{SAMPLES}` the samples, `{FILM}` the same samples along the training." if frames else "."
    return "\n\n".join(filter(None, (decision, drawn, f"{distance}.", files))) + "\n"
