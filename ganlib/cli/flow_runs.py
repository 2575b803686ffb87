"""Flows run from the command line, and the web pages that show them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ganlib.config.run import load_config
from ganlib.doctor.preflight import preflight, require_prefect
from ganlib.logins import library_variables
from ganlib.settings import Settings, page_of
from ganlib.sweep.load import load_sweep
from ganlib.sweep.space import parse_search

if TYPE_CHECKING:
    from flows.retrain import Retrained
    from flows.sweep import Swept


def pages(settings: Settings) -> dict[str, str]:
    """The web pages a person looks at, by service."""
    prefect = page_of("prefect", settings.prefect_api_url or "")
    return {"mlflow": settings.mlflow_uri or "", "prefect": prefect, "ray": settings.ray_address or ""}


def point_to_prefect(settings: Settings) -> None:
    """Have flows of this process run against the configured server; to be called before one is imported."""
    # Prefect reads these when it is imported, and nothing but flows imports it.
    os.environ["PREFECT_API_URL"] = settings.require("prefect")
    os.environ.update(library_variables(settings, "prefect"))
    os.environ.setdefault("PREFECT_HOME", str(settings.home / "prefect"))
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")


def retrain(
    settings: Settings, recipe: str, overrides: Mapping[str, Any], *, verbose: bool = False, **options: Any
) -> Retrained:
    """Run the flow ``retrain`` in this process, as a flow run that Prefect's page shows.

    Args:
        settings: Where the services are.
        recipe: Recipe name.
        overrides: Configuration fields to change, by dotted name.
        verbose: Show the lines of Prefect, Ray and other libraries, too.
        options: ``request`` and ``force`` of the flow.

    Raises:
        GanlibError: What :func:`~ganlib.doctor.preflight.preflight` finds; nothing was started.
    """
    require_prefect(settings)
    preflight(settings, load_config(recipe, overrides))
    point_to_prefect(settings)
    from flows.retrain import retrain as flow
    from flows.screen import Screen, on_screen

    with on_screen(Screen(verbose)):
        retrained: Retrained = flow(recipe=recipe, overrides=dict(overrides), **options)
    return retrained


def run_sweep(
    settings: Settings, recipe: str, overrides: Mapping[str, Any], *, verbose: bool = False, **parameters: Any
) -> Swept:
    """Run the flow ``sweep`` in this process, as a flow run that Prefect's page shows.

    Args:
        settings: Where the services are.
        recipe: Recipe name.
        overrides: Configuration fields to change, by dotted name.
        verbose: Show the lines of Prefect, Ray and other libraries, too.
        parameters: The flow's others: ``search``, ``options``, ``publish_best``, ``request``.

    Raises:
        GanlibError: What :func:`~ganlib.doctor.preflight.preflight` finds; nothing was started.
    """
    search, options = parse_search(parameters.get("search") or []), parameters.get("options") or {}
    config = load_sweep(recipe, overrides, search, **options)
    require_prefect(settings)
    preflight(settings, config.trial_config({}))
    point_to_prefect(settings)
    from flows.screen import Screen, on_screen
    from flows.sweep import sweep as flow

    with on_screen(Screen(verbose)):
        swept: Swept = flow(recipe=recipe, overrides=dict(overrides), **parameters)
    return swept
