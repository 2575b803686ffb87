"""The command line."""

from __future__ import annotations

import gc
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from ganlib.cli import sweep as sweep_commands
from ganlib.cli.configs import config_app, list_recipes
from ganlib.cli.dataset_files import dataset_app
from ganlib.cli.doctor import doctor
from ganlib.cli.generate import generate
from ganlib.cli.help import Group, command, section_of
from ganlib.cli.interrupts import resumable
from ganlib.cli.look import login, logs, open_page
from ganlib.cli.models import model_app
from ganlib.cli.options import Json, ModelName, Overrides, Recipe, Verbose, parse_overrides, say
from ganlib.cli.runs import list_runs
from ganlib.config.run import load_config, named
from ganlib.errors import GanlibError
from ganlib.settings import load_settings

# Only light modules above: `ganlib --help` and a refused option must not wait for torch.

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="More of a command, with an example:  ganlib retrain -h",
)
app.add_typer(dataset_app, name="dataset", rich_help_panel=section_of("dataset"))
app.add_typer(model_app, name="model", rich_help_panel=section_of("model"))
app.add_typer(config_app, name="config", rich_help_panel=section_of("config"))

sweep_commands.add_to(app)
command(app, "doctor", example="ganlib doctor --recipe fashion-mnist-wgan")(doctor)
command(app, "recipes", example="ganlib recipes")(list_recipes)
command(app, "runs", example="ganlib runs -n 5")(list_runs)
command(app, "generate", example="ganlib generate fashion-mnist-wgan@champion --out grid.png")(generate)
command(app, "open", example="ganlib open mlflow")(open_page)
command(app, "login", example="ganlib login ray")(login)
command(app, "logs", example="ganlib logs mlflow -n 50")(logs)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"ganlib {version('ganlib')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # its callback prints it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Retrain image GANs on a schedule and keep the best generator in a registry."""


@command(app, "up", example="ganlib up")
def up() -> None:
    """Start the embedded services that are not running."""
    from ganlib import stack

    stack.up(load_settings(), report=say)


@command(app, "down", example="ganlib down")
def down() -> None:
    """End the services that `ganlib up` started; their state stays."""
    from ganlib import stack

    stack.down(load_settings(), report=say)


@command(app, "status", example="ganlib status")
def status(json: Json = False) -> None:
    """Show the services: state, address, process, log."""
    from ganlib import stack

    found = stack.status(load_settings())
    if not json:
        say(str(found))
        return
    from ganlib.cli.output import as_json

    services = [
        {name: None if value == "" else value for name, value in service.model_dump(mode="json").items()}
        for service in found.services
    ]
    say(as_json({**found.model_dump(mode="json"), "services": services}))


@command(app, "demo", example="ganlib demo")
def demo(overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Services, dataset, training, registered generator, picture: everything once."""
    values = parse_overrides(overrides)
    load_config("fashion-mnist-wgan", values)  # a wrong field is refused before anything starts
    from ganlib.cli.demo import Demo

    with resumable():
        Demo(say=say, overrides=values, verbose=verbose).run()


@command(app, "retrain", example="ganlib retrain fashion-mnist-wgan --set objective.clip=0.05")
def retrain(
    recipe: Recipe,
    overrides: Overrides = None,
    name: ModelName = None,
    request: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            help="Tells apart runs of equal data and configuration.",
            show_default="manual, or with --force one of its own",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train although nothing has changed.")] = False,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Run the flow `retrain` for RECIPE here, and show its progress."""
    values = named(parse_overrides(overrides), name)
    load_config(recipe, values)
    from ganlib.cli.flow_runs import retrain as run_flow

    with resumable():
        done = run_flow(load_settings(), recipe, values, verbose=verbose, request=request, force=force)
    if json:
        from ganlib.cli.output import as_json

        say(as_json(done.model_dump(mode="json")))
        return
    if done.decision is None:
        say(f"nothing to train: {done.skipped}")
        return
    say(f"registered {done.generator.model}/{done.generator.version} as {done.generator.alias}")
    say(f"gate: {done.decision.reason}")


@command(app, "schedule", example="ganlib schedule status")
def schedule(
    state: Annotated[
        Literal["on", "off", "status"], typer.Argument(metavar="on|off|status", help="What to do.")
    ],
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="CRON",
            help='When, with on, as in "30 4 * * *".',
            show_default="as it was; at first 0 3 * * *, UTC",
        ),
    ] = None,
) -> None:
    """Turn the nightly retraining on or off."""
    from ganlib import stack

    stack.schedule(load_settings(), state, cron=cron, report=say)


@command(app, "bench", example="ganlib bench loop --seconds 1")
def bench(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Which, by name or row.", show_default="all"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="Length of the measurement in each timed part.",
            show_default="each part's own",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FOLDER",
            help="Where Fashion-MNIST is.",
            show_default="looked for in the usual places",
        ),
    ] = None,
) -> None:
    """Measure how ganlib compares with what one would write without it."""
    from ganlib.bench.run import run

    run(load_settings(), names or (), say=say, seconds=seconds, fashion_mnist=source)


def main() -> None:
    """Entry point: our own errors become one message and an exit code."""
    # Imports make millions of objects that all stay; at Python's own 700 they are walked hundreds of times.
    gc.set_threshold(100_000)
    try:
        app()
    except GanlibError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    finally:
        gc.freeze()  # else all of them are walked once more at exit, for a second


if __name__ == "__main__":
    main()
