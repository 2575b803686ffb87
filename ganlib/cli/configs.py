"""The commands ``ganlib recipes`` and ``ganlib config …``: what can be trained, and with which settings."""

from __future__ import annotations

from typing import Annotated

import typer

from ganlib.cli.help import Group, command
from ganlib.cli.options import Json, Overrides, complete_field, complete_recipe, parse_overrides, say
from ganlib.config.run import load_config, recipe_description, recipes

config_app = typer.Typer(
    cls=Group, help="The fields of a recipe: values, defaults, meaning.", no_args_is_help=True
)

_SOURCE = "A recipe, a run's name, NAME@ALIAS or NAME/VERSION."


@command(config_app, "show", example="ganlib config show fashion-mnist-wgan objective")
def show(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help=_SOURCE, autocompletion=complete_recipe)],
    field: Annotated[
        str | None,
        typer.Argument(metavar="FIELD", help="Only this field or part.", show_default="all"),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Print every field of a configuration: value, default, meaning and what is accepted."""
    from ganlib.cli.config_views import configuration_of, field_rows, matching, print_fields
    from ganlib.cli.output import as_json

    values = parse_overrides(overrides)
    config, origin = configuration_of(recipe, values)
    rows = matching(field_rows(config, origin, values), field)
    if json:
        say(as_json([row.values() for row in rows]))
    else:
        print_fields(config, recipe, rows)


@command(config_app, "diff", example="ganlib config diff fashion-mnist-wgan fashion-mnist-wgan-gp")
def diff(
    left: Annotated[str, typer.Argument(metavar="LEFT", help=_SOURCE, autocompletion=complete_recipe)],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="Another.", autocompletion=complete_recipe)],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change a field of RIGHT; any number of times.",
            show_default="RIGHT's own values",
            autocompletion=complete_field,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print the fields in which two configurations differ."""
    from ganlib.cli.config_views import configuration_of, differing, print_differences
    from ganlib.cli.output import as_json

    values = parse_overrides(overrides)
    found = differing(configuration_of(left, {})[0], configuration_of(right, values)[0])
    if json:
        say(as_json(found))
    elif not found:
        say("no difference")
    else:
        print_differences(left, right, found)


def list_recipes(json: Json = False) -> None:
    """List the recipes, with what each trains."""
    found = [
        {"recipe": name, "description": recipe_description(name), "dataset": load_config(name).dataset.name}
        for name in recipes()
    ]
    if json:
        from ganlib.cli.output import as_json

        say(as_json(found))
        return
    width = max(len(each["recipe"]) for each in found)
    for each in found:
        say(f"{each['recipe']:<{width}}  {each['description']}")
    say("\n`ganlib config show RECIPE` prints a recipe's fields, with what each means and accepts.")
