"""The command line."""

from __future__ import annotations

import gc
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer

from ganlib.cli import sweep as sweep_commands
from ganlib.cli.datasets import dataset_app
from ganlib.cli.generate import generate
from ganlib.cli.interrupts import resumable
from ganlib.cli.look import logs, open_page
from ganlib.cli.models import model_app
from ganlib.cli.options import Json, ModelName, Overrides, Verbose, parse_overrides, say
from ganlib.config.run import load_config, named, recipe_description, recipes
from ganlib.errors import GanlibError
from ganlib.settings import load_settings

# Only light modules above: `ganlib --help` and a refused option must not wait for torch.

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(dataset_app, name="dataset")
app.add_typer(model_app, name="model")

sweep_commands.add_to(app)


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


@app.command()
def up() -> None:
    """Start the embedded services that are not running."""
    from ganlib import stack

    stack.up(load_settings(), report=say)


@app.command()
def down() -> None:
    """End the services that `ganlib up` started; their state stays."""
    from ganlib import stack

    stack.down(load_settings(), report=say)


@app.command()
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


@app.command()
def demo(overrides: Overrides = None, verbose: Verbose = False) -> None:
    """Services, dataset, training, registered generator, picture: everything once."""
    values = parse_overrides(overrides)
    load_config("fashion-mnist-wgan", values)  # a wrong field is refused before anything starts
    from ganlib.cli.demo import Demo

    with resumable():
        Demo(say=say, overrides=values, verbose=verbose).run()


@app.command()
def retrain(
    recipe: str,
    overrides: Overrides = None,
    name: ModelName = None,
    request: Annotated[
        str | None, typer.Option(help="Tells apart runs of equal data and configuration.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Train although nothing has changed.")] = False,
    verbose: Verbose = False,
) -> None:
    """Run the flow `retrain` for RECIPE here, and show its progress."""
    values = named(parse_overrides(overrides), name)
    load_config(recipe, values)
    from ganlib.cli.flow_runs import retrain as run_flow

    with resumable():
        done = run_flow(load_settings(), recipe, values, verbose=verbose, request=request, force=force)
    if done.decision is None:
        say(f"nothing to train: {done.skipped}")
        return
    say(f"registered {done.generator.model}/{done.generator.version} as {done.generator.alias}")
    say(f"gate: {done.decision.reason}")


@app.command("recipes")
def list_recipes() -> None:
    """List the recipes, with what each trains."""
    width = max(map(len, recipes()))
    for name in recipes():
        say(f"{name:<{width}}  {recipe_description(name)}")


@app.command()
def schedule(
    state: Annotated[Literal["on", "off", "status"], typer.Argument(help="on, off or status")],
    cron: Annotated[str | None, typer.Option(help="When, with `on`; default: nightly at 03:00 UTC.")] = None,
) -> None:
    """Turn the nightly retraining on or off."""
    from ganlib import stack

    stack.schedule(load_settings(), state, cron=cron, report=say)


app.command()(generate)
app.command("open")(open_page)
app.command()(logs)


@app.command()
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="Which, by name or row; default: all.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Of measuring in each timed part, instead of the usual.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", help="Where Fashion-MNIST is, when it is not to be looked for."
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
