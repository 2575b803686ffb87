"""The commands ``ganlib sweep`` and ``ganlib sweep-status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ganlib.cli.help import command
from ganlib.cli.interrupts import resumable
from ganlib.cli.options import (
    ModelName,
    Overrides,
    Recipe,
    Verbose,
    complete_field,
    parse_overrides,
    say,
)
from ganlib.config.run import named
from ganlib.settings import load_settings

if TYPE_CHECKING:
    from flows.sweep import Swept

_SEARCH_HELP = (
    "What differs between trials, once for each field. FIELD=0.01,0.03,0.1 is a list of values; "
    "FIELD=log:0.01:0.5, FIELD=uniform:0:1 and FIELD=integers:1:8 are ranges."
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    example = "ganlib sweep fashion-mnist-wgan --search objective.clip=log:0.01:0.5 --dry-run"
    command(app, "sweep", example=example)(sweep)
    command(app, "sweep-status", example="ganlib sweep-status")(sweep_status)
    command(app, "sweep-demo", example="ganlib sweep-demo")(sweep_demo)


def sweep(
    recipe: Recipe,
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            metavar="FIELD=SPEC",
            help=_SEARCH_HELP,
            show_default="cadence.n_critic and objective.clip",
            autocompletion=complete_field,
        ),
    ] = None,
    overrides: Overrides = None,
    name: ModelName = None,
    algorithm: Annotated[
        Literal["grid", "random", "tpe"] | None,
        typer.Option(
            help="Every combination of lists, independent draws, or Optuna's TPE.", show_default="random"
        ),
    ] = None,
    scheduler: Annotated[
        Literal["none", "asha", "median", "pbt"] | None,
        typer.Option(
            help="What stops bad trials early, or replaces them in mid-run (pbt).", show_default="asha"
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            help="Configurations, the recipe itself among them.",
            show_default="all of a grid, else 12 or as many as there are",
        ),
    ] = None,
    budget_kimg: Annotated[
        float | None,
        typer.Option(
            metavar="KIMG", help="Thousand pictures for each trial.", show_default="the recipe's budget"
        ),
    ] = None,
    grace_kimg: Annotated[
        float | None,
        typer.Option(
            metavar="KIMG",
            help="Thousand pictures before a trial may be stopped: the first rung.",
            show_default="a ninth of the budget",
        ),
    ] = None,
    reduction: Annotated[
        float | None,
        typer.Option(
            metavar="FACTOR",
            help="From one rung to the next; one in so many trials passes each.",
            show_default="3",
        ),
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            help="Best trials that are evaluated again with fresh latents.",
            show_default="3",
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help="Trials at a time.", show_default="what the cluster has room for"),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help="Data-parallel workers of a trial.", show_default="1"),
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            metavar="GPUS",
            help="GPUs of a trial's worker where there are any; 0.25 shares one.",
            show_default="1",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Of what the search draws at random.", show_default="0"),
    ] = None,
    train_on: Annotated[
        bool, typer.Option("--train-on", help="Then train the best one on to the recipe's full budget.")
    ] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Then register the best generator.")] = False,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="WORD", help="Tells apart sweeps that are otherwise equal.", show_default="manual"
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the trials and how many the cluster has room for; start nothing."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Train several configurations of RECIPE, and find out which of them generates best.

    Interrupted, the same command goes on where it was: finished trials stay, others resume.
    """
    values = named(parse_overrides(overrides), name)
    options: dict[str, Any] = {
        "algorithm": algorithm,
        "scheduler": scheduler,
        "trials": trials,
        "total_kimg": budget_kimg,
        "grace_kimg": grace_kimg,
        "reduction": reduction,
        "finalists": finalists,
        "concurrency": concurrency,
        "workers": workers,
        "gpus": gpus,
        "seed": seed,
        "train_on": train_on or None,
    }
    options = {name: value for name, value in options.items() if value is not None}
    from ganlib.sweep.load import load_sweep
    from ganlib.sweep.space import parse_search

    config = load_sweep(recipe, values, parse_search(search or []), **options)
    settings = load_settings()
    if dry_run:
        from ganlib.cli.sweep_views import show_plan

        show_plan(settings, config, say)
        return
    from ganlib.cli.flow_runs import run_sweep
    from ganlib.cli.sweep_views import show_result

    with resumable():
        done = run_sweep(
            settings,
            recipe,
            values,
            verbose=verbose,
            search=list(search or []),
            options=options,
            publish_best=publish,
            request=request,
        )
    show_result(settings, done.result, say)
    _show_outcome(done)


def _show_outcome(done: Swept) -> None:
    """Print what was done with the winner, or which options would do more."""
    if done.trained_on is not None:
        kimg = done.trained_on.images_seen / 1000
        say(f"Trained on to {kimg:,.0f} kimg as run {done.trained_on.run}.")
    if done.generator is not None:
        as_alias = f" as {done.generator.alias}" if done.generator.alias else ""
        say(f"Registered {done.generator.model}/{done.generator.version}{as_alias}.")
    if done.decision is not None:
        say(f"The gate: {done.decision.reason}.")
    if done.trained_on is None and done.generator is None:
        say(
            "The same command with --train-on trains the best one on to the recipe's full budget, "
            "and with --publish registers it; no trial is repeated."
        )


def sweep_status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="SWEEP",
            help="A sweep's name, or how it begins.",
            show_default="list the sweeps",
        ),
    ] = None,
) -> None:
    """Show the trials of a sweep, also of one that runs; or list the sweeps there are."""
    from ganlib.cli.sweep_views import show_result, sweep_named, sweeps
    from ganlib.report.table import result_summary
    from ganlib.storage import open_store

    settings = load_settings()
    store = open_store(settings)
    if name is not None:
        show_result(settings, sweep_named(store, name), say)
        return
    listed = sweeps(store)
    if not listed:
        say("there is no sweep yet; `ganlib sweep digits-wgan` starts one")
    for found in listed:
        state = "not ended" if found.status == "running" else found.status
        say(f"{found.sweep}: {state}, {len(found.trials)} trials; {result_summary(found)}")


def sweep_demo(overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Services, Fashion-MNIST, a sweep of twelve configurations, pictures: ten minutes on two cores."""
    from ganlib.cli.sweep_demo import SweepDemo
    from ganlib.config.run import load_config

    values = parse_overrides(overrides)
    load_config("fashion-mnist-wgan", values)  # a wrong field is refused before anything starts
    with resumable():
        SweepDemo(say=say, overrides=values, verbose=verbose).run()
