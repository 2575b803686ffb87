"""``ganlib model``: registered generators and where their aliases point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganlib.cli.help import Group, command
from ganlib.cli.options import Json, say
from ganlib.errors import ConfigError, RequestRefused, ServiceError
from ganlib.settings import load_settings

# Only light modules above: `ganlib --help` must not wait for torch.

if TYPE_CHECKING:
    from ganlib.ports import ModelRegistry
    from ganlib.records import RegisteredGenerator

model_app = typer.Typer(
    cls=Group, help="Registered generators and where their aliases point.", no_args_is_help=True
)

Alias = Annotated[str, typer.Option(metavar="ALIAS", help="Which alias.")]
Who = Annotated[
    str | None,
    typer.Option(metavar="WHO", help="Who does it, for the record.", show_default="user@host"),
]


@command(model_app, "list", example="ganlib model list")
def list_models(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="A model, to list its versions.", show_default="list the models"
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the models, or the versions of one, the newest first."""
    from ganlib.cli.model_lists import model_rows, print_listed, version_rows
    from ganlib.cli.output import as_json

    registry = _registry(ctx)
    rows = model_rows(registry) if name is None else version_rows(registry, name)
    if json:
        say(as_json([asdict(row) for row in rows]))
    elif not rows:
        say("no generator is registered yet; publish one with `ganlib retrain digits-wgan`")
    else:
        print_listed(rows)


@command(model_app, "show", example="ganlib model show fashion-mnist-wgan")
def show(
    ctx: typer.Context,
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="NAME, NAME@ALIAS or NAME/VERSION.")],
    json: Json = False,
) -> None:
    """Show a version: numbers, tags, files, and the history of the model's aliases."""
    from ganlib.cli.model_views import print_description, resolve_or_newest, version_details
    from ganlib.cli.output import as_json
    from ganlib.names import parse_reference

    registry = _registry(ctx)
    parse_reference(generator)
    described = version_details(registry, resolve_or_newest(registry, generator))
    if json:
        say(as_json(described.values()))
    else:
        print_description(described)


@command(model_app, "promote", example='ganlib model promote fashion-mnist-wgan/1 --why "sharper logos"')
def promote(
    ctx: typer.Context,
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="NAME/VERSION or NAME@ALIAS.")],
    why: Annotated[str, typer.Option(metavar="REASON", help="The reason, for the record.")],
    alias: Alias = "champion",
    who: Who = None,
) -> None:
    """Point an alias to a version at once, past the gate; it is recorded."""
    from ganlib.registry.aliases import whoami

    registry = _registry(ctx)
    found = _resolve_explicit(registry, generator)
    present = _pointed(registry, found.model, alias)
    if present == found.version:
        say(f"{alias} of {found.model} is version {present} already")
        return
    move = registry.move(found.model, alias, found.version, expected=present, who=who or whoami(), why=why)
    say(f"{alias} of {found.model} is version {move.version} now{_before(move.previous)}")


@command(model_app, "rollback", example="ganlib model rollback fashion-mnist-wgan")
def rollback(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="MODEL", help="The model.")],
    alias: Alias = "champion",
    why: Annotated[
        str, typer.Option(metavar="REASON", help="The reason, for the record.")
    ] = "rolled back by hand",
    who: Who = None,
) -> None:
    """Point an alias to where it was before its last move; again: one move further back."""
    from ganlib.registry.aliases import rollback_target, whoami

    registry = _registry(ctx)
    present = _pointed(registry, name, alias)
    target = rollback_target(name, registry.history(name), alias, present)
    registry.move(name, alias, target, expected=present, who=who or whoami(), why=why, kind="rollback")
    say(f"{alias} of {name} is version {target} again{_before(present)}")


@command(
    model_app,
    "compare",
    example="ganlib model compare fashion-mnist-wgan/1 fashion-mnist-wgan@champion --out both.png",
)
def compare(
    ctx: typer.Context,
    left: Annotated[str, typer.Argument(metavar="LEFT", help="NAME/VERSION or NAME@ALIAS.")],
    right: Annotated[str, typer.Argument(metavar="RIGHT", help="Another one.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the picture goes, a PNG.")],
    count: Annotated[int, typer.Option(min=1, max=1024, metavar="COUNT", help="Pictures of each.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, metavar="SEED", help="Of the latents.")] = 0,
) -> None:
    """Draw two generators on the same latents side by side, beside their recorded numbers."""
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out} must end with .png")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.absolute().parent}")
    import math

    from ganlib.cli.model_views import compared_rows
    from ganlib.cli.output import print_rows
    from ganlib.generators.fetch import load
    from ganlib.quality.grids import side_by_side, write_png

    _require_alike(_registry(ctx), left, right)
    registry = ctx.obj() if ctx.obj else None
    first, second = load(left, registry), load(right, registry)
    pictures = side_by_side(
        first.sample(count, seed), second.sample(count, seed), columns=math.ceil(math.sqrt(count))
    )
    write_png(out, pictures)
    print_rows(compared_rows(first.registered, second.registered))
    say(f"{count} pictures of each on the same latents in {out}, {left} on the left")


@command(model_app, "fetch", example="ganlib model fetch fashion-mnist-wgan --to champion")
def fetch(
    ctx: typer.Context,
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="NAME, NAME@ALIAS or NAME/VERSION.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="A folder that is not there yet, or empty.")],
) -> None:
    """Bring all files of a version into a folder, verified, whole or not at all."""
    from ganlib.generators.fetch import fetch as fetch_files

    found = fetch_files(generator, to, _registry(ctx))
    say(f"{found.model} version {found.version} in {to}")


def _require_alike(registry: ModelRegistry, left: str, right: str) -> None:
    """Check by their tags, before anything is fetched, that two versions can be drawn side by side.

    Raises:
        ConfigError: They take latents or make pictures of different shapes.
    """
    from ganlib.names import parse_reference

    try:
        first, second = (registry.resolve(*parse_reference(name)).tags for name in (left, right))
    except RequestRefused:
        raise
    except ServiceError:
        return  # the cache may have both
    for tag, what in (
        ("ganlib.latent_dim", "latents of length"),
        ("ganlib.image_shape", "pictures of shape"),
    ):
        if tag in first and tag in second and first[tag] != second[tag]:
            raise ConfigError(
                f"{left} has {what} {first[tag]} and {right} {second[tag]}: they cannot be compared on the "
                "same latents; name two versions that are alike"
            )


def _registry(ctx: typer.Context) -> ModelRegistry:
    # The context carries a way to another registry, where there is one to stand in.
    opened: Callable[[], Any] | None = ctx.obj
    if opened is not None:
        registry: ModelRegistry = opened()
        return registry
    from ganlib.registry.mlflow import MlflowRegistry

    return MlflowRegistry(load_settings())


def _resolve_explicit(registry: ModelRegistry, reference: str) -> RegisteredGenerator:
    from ganlib.names import parse_reference

    model, which = parse_reference(reference)
    if model == reference:
        raise ConfigError(f"{reference!r} does not say which version: give NAME/VERSION or NAME@ALIAS")
    return registry.resolve(model, which)


def _pointed(registry: ModelRegistry, model: str, alias: str) -> int | None:
    from ganlib.names import check_alias

    check_alias(alias)
    return next((found.version for found in registry.versions(model) if alias in found.aliases), None)


def _before(version: int | None) -> str:
    return "" if version is None else f"; it was version {version}"
